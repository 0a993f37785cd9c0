"""Preconditioning against the Gaussian closed form."""

import pytest
import torch

from ssimbad.diffusion.preconditioning import edm_weight, per_image, precondition

SIGMA = torch.tensor([0.002, 0.3, 80.0], dtype=torch.float64)


def test_a_silent_network_is_the_ideal_denoiser_of_gaussian_data() -> None:
    x = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    denoised = precondition(torch.zeros_like, x, SIGMA, 0.5)
    torch.testing.assert_close(denoised, per_image(0.25 / (0.25 + SIGMA**2)) * x)


def test_the_network_sees_unit_variance_and_needs_to_answer_with_unit_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = 0.5 * torch.randn(3, 3, 200, 200, generator=generator, dtype=torch.float64)
    noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    x = clean + per_image(SIGMA) * noise
    seen = []

    def network(scaled: torch.Tensor) -> torch.Tensor:
        seen.append(scaled)
        return torch.zeros_like(scaled)

    skip = precondition(network, x, SIGMA, 0.5)
    assert seen[0].std((1, 2, 3)).tolist() == pytest.approx([1, 1, 1], rel=0.01)
    unit = precondition(torch.ones_like, x, SIGMA, 0.5) - skip
    wanted = (clean - skip) / unit
    assert wanted.std((1, 2, 3)).tolist() == pytest.approx([1, 1, 1], rel=0.01)
    torch.testing.assert_close(edm_weight(SIGMA, 0.5), unit[:, 0, 0, 0] ** -2)
