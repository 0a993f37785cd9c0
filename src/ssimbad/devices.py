"""Where tensors are computed, and by whose kernels."""

from __future__ import annotations

import os
import re
import warnings

import torch
from torch import nn

from ssimbad.distributed import SINGLE, World
from ssimbad.errors import UserError, shown
from ssimbad.schema import DEVICES

_CUBLAS = ":4096:8"  # a workspace with which cuBLAS adds in a fixed order
# Channels of a kernel larger than a pixel up to which channels-last is the faster layout on a CPU.
_WIDEST = 256


def _fix_sums() -> None:
    """Have a GPU's kernels add in the same order in every run, but for the few that have no such kernel."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", _CUBLAS)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    warnings.filterwarnings("ignore", message=".* does not have a deterministic implementation")


def has_device(name: str) -> bool:
    """Whether there is the device of a name here."""
    if name == "mps":
        return torch.backends.mps.is_available()
    index = int(name.partition(":")[2] or 0)
    return not name.startswith("cuda") or index < torch.cuda.device_count()


def device_of(name: str, world: World = SINGLE, *, mps: bool = False) -> torch.device:
    """The device of a name; ``auto`` is a GPU where there is one. Processes of a node have one each.

    Once a GPU was asked for, this process's runs on it are repeatable.

    Args:
        name: of the device.
        world: the processes that share the work.
        mps: whether ``mps``, Apple's GPUs, will do. They lack float64, which training and metrics need.

    Raises:
        UserError: it is no device's name, or there is no such GPU.
    """
    if not (re.search(DEVICES, name) or (mps and name == "mps")):
        names = "auto, cpu, mps, cuda or cuda:N" if mps else "auto, cpu, cuda or cuda:N"
        raise UserError(f"device: {shown(name)}: must be {names}")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if world.size > 1 and name == "cuda":
        name = f"cuda:{world.local_rank}"
    device = torch.device(name)
    if not has_device(name):
        if name == "mps":
            raise UserError("device: mps: torch can use no GPU of Apple's here")
        raise UserError(f"device: {name}: torch can use {torch.cuda.device_count()} GPUs here")
    if device.type == "cuda":
        _fix_sums()
    return device


def training_layout(network: nn.Module, device: torch.device) -> torch.memory_format:
    """The layout of weights and images in which a convolutional network's training steps are fastest."""
    kernels = (m for m in network.modules() if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1)
    widest = max((kernel.out_channels for kernel in kernels), default=0)
    # On a GPU, PyTorch's group normalisation copies channels-last images to its own layout and back.
    if device.type == "cpu" and widest <= _WIDEST:
        return torch.channels_last
    return torch.contiguous_format


def compile_in_place(network: nn.Module, device: torch.device) -> None:
    """Have torch.compile translate a network when it is first called; its weights keep their names.

    Raises:
        UserError: torch.compile does not work for that device here, which a small function is to show.
    """
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8, device=device))
    except Exception as error:  # torch raises many kinds: no compiler, no Triton, no Python headers
        reason = shown(next(iter(str(error).splitlines()), type(error).__name__))
        raise UserError(
            f"compile: true: torch.compile does not work for {device.type} here ({reason})"
        ) from None
    network.compile()
