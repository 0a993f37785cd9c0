"""The DDPM process of AnimeDiffusion and its DDIM sampler (Song et al. 2021).

Each function takes ``predict(x, t)``, the noise ε̂ in x of shape (B, …) at timestep t, an int.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from ssimbad.diffusion.schema import TIMESTEPS, Spacing

Predictor = Callable[[Tensor, int], Tensor]


def alpha_bars() -> Tensor:
    """ᾱ_t = ∏(1 − β), β linear from 1e-6 to 1e-2 over 1000 steps: (1000,) float64."""
    return torch.cumprod(1 - torch.linspace(1e-6, 1e-2, TIMESTEPS, dtype=torch.float64), 0)


_ALPHA_BARS = [1.0, *alpha_bars().tolist()]  # by t + 1, so that t = −1 is the clean image


def _alpha_bar(t: int) -> float:
    return _ALPHA_BARS[t + 1]


def timesteps(steps: int, spacing: Spacing) -> list[int]:
    """Rising timesteps of a sampler with ``steps`` network calls, evenly spaced.

    ``leading``, as published: 1, 101, …, 901 for 10. ``trailing``: 99, 199, …, 999 for 10, which
    starts where images are noise but for ᾱ = 0.0066.
    """
    if spacing == "leading":
        return [min(k * TIMESTEPS // steps + 1, TIMESTEPS - 1) for k in range(steps)]
    return [(k + 1) * TIMESTEPS // steps - 1 for k in range(steps)]


def inversion_timesteps(steps: int, last: int) -> list[int]:
    """Rising timesteps from 1, where next to nothing is noise, to ``last``: the published 1, 101, …, 901
    for 10 steps to 901."""
    return [round(1 + k * (last - 1) / (steps - 1)) for k in range(steps)]


def straight_through_clamp(x: Tensor) -> Tensor:
    """Clamped to [-1, 1], with the gradient of x itself."""
    return x + (x.clamp(-1, 1) - x).detach()


def clamp(x: Tensor) -> Tensor:
    """Clamped to [-1, 1], without gradient where that acts."""
    return x.clamp(-1, 1)


def add_noise(x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """√ᾱ_t x + √(1 − ᾱ_t) ε, for t (B,) of integers."""
    kept = alpha_bars()[t.cpu()].to(x, non_blocking=True)[:, None, None, None]
    return kept.sqrt() * x + (1 - kept).sqrt() * noise


def ddim(
    predict: Predictor,
    x: Tensor,
    times: list[int],
    eta: float,
    noise: Callable[[int], Tensor],
    limit: Callable[[Tensor], Tensor] = clamp,
) -> Tensor:
    """Sample from x at the last of the rising ``times`` down to the clean image.

    x̂_0 = (x − √(1 − ᾱ_t) ε̂)/√ᾱ_t; x ← √ᾱ_p x̂_0 + √(1 − ᾱ_p − s²) ε̂ + s z,
    s² = η² (1 − ᾱ_p)/(1 − ᾱ_t) (1 − ᾱ_t/ᾱ_p), p the timestep before t.

    Args:
        predict: the noise predictor.
        x: (B, …), standard normal but for the signal left at the last timestep.
        times: rising timesteps.
        eta: η; 0 is deterministic, 1 has DDPM's variance.
        noise: z by the number of the step, from 1; not called where s = 0.
        limit: applied to x̂_0; ε̂ is not recomputed.
    """
    falling = [*reversed(times), -1]
    for number, (t, previous) in enumerate(pairwise(falling), 1):
        kept, kept_before = _alpha_bar(t), _alpha_bar(previous)
        epsilon = predict(x, t)
        clean = limit((x - (1 - kept) ** 0.5 * epsilon) / kept**0.5)
        variance = eta**2 * (1 - kept_before) / (1 - kept) * (1 - kept / kept_before)
        rest = max(1 - kept_before - variance, 0.0)
        x = kept_before**0.5 * clean + rest**0.5 * epsilon
        if variance > 0:
            x = x + variance**0.5 * noise(number)
    return x


def ddim_invert(
    predict: Predictor,
    x: Tensor,
    times: list[int],
    noise: Tensor,
    limit: Callable[[Tensor], Tensor] = clamp,
) -> Tensor:
    """Deterministic inversion: the x at the last of the rising ``times`` that DDIM leads back to ``x``.

    As published, the first step adds ``noise``, since a clean image has none to predict; the others
    run DDIM's update upwards.

    Args:
        predict: the noise predictor.
        x: images (B, …).
        times: rising timesteps.
        noise: ε of the first step, as x.
        limit: applied to x̂_0; ε̂ is not recomputed.
    """
    first = _alpha_bar(times[0])
    x = first**0.5 * x + (1 - first) ** 0.5 * noise
    for t, following in pairwise(times):
        kept, kept_after = _alpha_bar(t), _alpha_bar(following)
        epsilon = predict(x, t)
        clean = limit((x - (1 - kept) ** 0.5 * epsilon) / kept**0.5)
        x = kept_after**0.5 * clean + (1 - kept_after) ** 0.5 * epsilon
    return x
