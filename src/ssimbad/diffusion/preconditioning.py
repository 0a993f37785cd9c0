"""EDM preconditioning (Karras et al. 2022, Table 1) and the loss weight that goes with it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def per_image(values: Tensor) -> Tensor:
    """(B,) → (B, 1, 1, 1), to scale images with."""
    return values[:, None, None, None]


def precondition(
    network: Callable[[Tensor], Tensor], x: Tensor, sigma: Tensor, sigma_data: float
) -> Tensor:
    """Denoised images D = c_skip x + c_out F(c_in x).

    c_skip = σ_d²/(σ² + σ_d²), c_out = σσ_d/√(σ² + σ_d²), c_in = 1/√(σ² + σ_d²).

    Args:
        network: F, from scaled noisy images (B, 3, S, S) to the same shape.
        x: noisy images (B, 3, S, S).
        sigma: noise levels (B,).
        sigma_data: σ_d, standard deviation of the data.
    """
    s = per_image(sigma)
    total = s**2 + sigma_data**2
    return sigma_data**2 / total * x + s * sigma_data * total.rsqrt() * network(x * total.rsqrt())


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """λ(σ) = (σ² + σ_d²)/(σσ_d)² = 1/c_out², which weighs the network's own error evenly."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
