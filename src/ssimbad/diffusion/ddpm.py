"""The DDPM forward process of AnimeDiffusion."""

from __future__ import annotations

import torch
from torch import Tensor

TIMESTEPS = 1000


def alpha_bars() -> Tensor:
    """ᾱ_t = ∏(1 − β), β linear from 1e-6 to 1e-2 over 1000 steps: (1000,) float64."""
    return torch.cumprod(1 - torch.linspace(1e-6, 1e-2, TIMESTEPS, dtype=torch.float64), 0)
