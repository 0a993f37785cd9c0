"""Deterministic samplers of the probability-flow ODE dx/dσ = (x − D(x; σ))/σ.

Each takes a ``denoise(x, sigma)``, with sigma a scalar tensor, a start x of shape (B, …) with standard
deviation sigmas[0], and decreasing sigmas that end in 0; it returns x at σ = 0. No step's course depends on a
value, so that nothing waits for a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    Denoiser = Callable[[Tensor, Tensor], Tensor]


def euler(denoise: Denoiser, x: Tensor, sigmas: Tensor) -> Tensor:
    """First order; one network call a step. Stable for steps of any size."""
    for sigma, following in pairwise(sigmas):
        denoised = denoise(x, sigma)
        x = denoised + (following / sigma) * (x - denoised)
    return x


def heun(denoise: Denoiser, x: Tensor, sigmas: Tensor) -> Tensor:
    """Second order (Karras et al. 2022, Algorithm 2 without churn); 2N − 1 network calls.

    Few steps from a high σ_max diverge: the correction multiplies a slope's error by half the
    first, huge step.
    """
    for sigma, following in pairwise(sigmas[:-1]):
        slope = (x - denoise(x, sigma)) / sigma
        predicted = x + (following - sigma) * slope
        corrected = (predicted - denoise(predicted, following)) / following
        x = x + (following - sigma) * (slope + corrected) / 2
    sigma, following = sigmas[-2:]
    return x + (following - sigma) * ((x - denoise(x, sigma)) / sigma)


def dpmpp_2m(denoise: Denoiser, x: Tensor, sigmas: Tensor) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022): exponential, multistep; one network call a step."""
    previous: Tensor | None = None
    last_h: Tensor | None = None
    for sigma, following in pairwise(sigmas[:-1]):
        denoised = denoise(x, sigma)
        h = (sigma / following).log()
        extrapolated = denoised
        if previous is not None and last_h is not None:
            extrapolated = denoised + (denoised - previous) * h / (2 * last_h)
        x = (following / sigma) * x - (-h).expm1() * extrapolated
        previous, last_h = denoised, h
    return denoise(x, sigmas[-2])


SAMPLERS = {"euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}
"""Samplers by their config name."""
