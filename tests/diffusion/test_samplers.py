"""Samplers against the exact solution for Gaussian data, and golden sums of a dummy denoiser.

The sums were computed by the algorithms as their papers print them, in scalar NumPy.
"""

import pytest
import torch
from torch import Tensor

from ssimbad.diffusion.samplers import SAMPLERS
from ssimbad.noise.transforms import RATIONAL, Phi

DATA = 0.7  # standard deviation of the Gaussian data


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """The ideal denoiser of N(0, DATA²)."""
    return DATA**2 / (DATA**2 + sigma**2) * x


def error(sampler: str, sigmas: Tensor) -> float:
    start = torch.tensor([1.0, -0.3, 2.0], dtype=torch.float64) * sigmas[0]
    exact = start * DATA / (DATA**2 + sigmas[0] ** 2).sqrt()
    return (SAMPLERS[sampler](gaussian, start, sigmas) - exact).abs().max().item()


def linear(steps: int) -> Tensor:
    return torch.linspace(3, 0, steps + 1, dtype=torch.float64)


def logarithmic(steps: int) -> Tensor:
    falling = torch.logspace(1, -5, steps, dtype=torch.float64)
    return torch.cat([falling, falling.new_zeros(1)])


@pytest.mark.parametrize(
    ("sampler", "grid", "order"),
    [
        ("euler", linear, 1),
        ("heun", linear, 2),
        ("euler", logarithmic, 1),
        ("dpmpp_2m", logarithmic, 2),
    ],
)
def test_order_of_convergence(sampler: str, grid, order: int) -> None:
    coarse, fine = error(sampler, grid(80)), error(sampler, grid(160))
    assert coarse / fine == pytest.approx(2**order, rel=0.15)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_step_is_the_denoiser(sampler: str) -> None:
    x = torch.tensor([40.0], dtype=torch.float64)
    sigmas = torch.tensor([80.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(SAMPLERS[sampler](gaussian, x, sigmas), gaussian(x, sigmas[0]))


@pytest.mark.parametrize(("sampler", "stated"), [("euler", 9), ("heun", 17), ("dpmpp_2m", 9)])
def test_network_calls_are_as_stated(sampler: str, stated: int) -> None:
    calls = []

    def counting(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append(sigma)
        return gaussian(x, sigma)

    SAMPLERS[sampler](counting, torch.ones(1), Phi(RATIONAL, 0.3, 0.002, 80.0).sampling_sigmas(9))
    assert len(calls) == stated


@pytest.mark.parametrize(
    ("sampler", "golden"),
    [("euler", 1.085955), ("heun", 1.115867), ("dpmpp_2m", 1.183612)],
)
def test_golden_sum(sampler: str, golden: float) -> None:
    def dummy(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.tanh(x) / (1 + sigma)

    x = 5 * torch.linspace(-1, 2, 7, dtype=torch.float64)
    sigmas = torch.tensor([5.0, 2.0, 1.0, 0.4, 0.1, 0.0], dtype=torch.float64)
    assert SAMPLERS[sampler](dummy, x, sigmas).sum().item() == pytest.approx(golden, abs=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_step_waits_for_a_value(sampler: str) -> None:
    # Tensors without values: whatever asked for one, as a GPU would be asked, fails.
    sigmas = linear(4).to("meta")
    assert SAMPLERS[sampler](gaussian, torch.empty(2, 3, device="meta"), sigmas).shape == (2, 3)
