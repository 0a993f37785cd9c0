"""Addressed randomness: every draw is a function of (seed, address), never of what was drawn before.

An address is whatever names the thing the draw is for: ("warp", image name, epoch),
("noise", image name, draw), ("train", "noise", step). Order, batch size and number of processes
therefore cannot change a number, and a resumed run is the same run.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def _digest(seed: int, address: tuple[str | int, ...]) -> int:
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in (seed, *address))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def numpy_generator(seed: int, *address: str | int) -> np.random.Generator:
    """Return a NumPy generator that depends on ``seed`` and ``address`` only."""
    return np.random.Generator(np.random.PCG64(_digest(seed, address)))


def torch_generator(seed: int, *address: str | int) -> torch.Generator:
    """Return a CPU torch generator that depends on ``seed`` and ``address`` only."""
    import torch

    return torch.Generator().manual_seed(_digest(seed, address) % 2**63)


def image_noise(
    seed: int, names: list[str], size: int, draw: int = 0, device: torch.device | str = "cpu"
) -> Tensor:
    """Standard normal noise of shape (len(names), 3, size, size), each image's own by its name.

    It is drawn on the CPU, so that it is the same on every device.
    """
    import torch

    generators = [torch_generator(seed, "noise", name, draw) for name in names]
    noise = torch.stack([torch.randn((3, size, size), generator=g) for g in generators])
    return noise.to(device)
