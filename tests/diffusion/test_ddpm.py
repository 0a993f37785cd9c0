"""DDIM against the analytic noise predictor of Gaussian images."""

from itertools import pairwise

import pytest
import torch

from ssimbad.diffusion.ddpm import (
    add_noise,
    alpha_bars,
    clamp,
    ddim,
    ddim_invert,
    inversion_timesteps,
    straight_through_clamp,
    timesteps,
)

SPREAD = 0.5
"""Standard deviation of the images."""


def analytic(x: torch.Tensor, t: int) -> torch.Tensor:
    """E[ε | x_t] where images are N(0, SPREAD²)."""
    kept = alpha_bars()[t].item()
    return (1 - kept) ** 0.5 * x / (kept * SPREAD**2 + 1 - kept)


def unlimited(x: torch.Tensor) -> torch.Tensor:
    return x


def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return SPREAD * torch.randn(4, 3, 8, 8, generator=generator, dtype=torch.float64)


def no_noise(_: int) -> torch.Tensor:
    raise AssertionError("a deterministic sampler draws no noise")


def test_the_process_has_the_published_signal() -> None:
    kept = alpha_bars()
    assert kept[901].item() == pytest.approx(0.0169, abs=1e-4)
    assert kept[999].item() == pytest.approx(0.0066, abs=1e-4)
    x, noise = images(), torch.ones(4, 3, 8, 8, dtype=torch.float64)
    t = torch.tensor([0, 10, 500, 999])
    noisy = add_noise(x, t, noise)
    for i in range(4):
        a = kept[t[i]]
        torch.testing.assert_close(noisy[i], a.sqrt() * x[i] + (1 - a).sqrt())


def test_timesteps() -> None:
    assert timesteps(10, "leading") == [1, 101, 201, 301, 401, 501, 601, 701, 801, 901]
    assert timesteps(50, "leading")[-1] == 981
    assert timesteps(4, "trailing") == [249, 499, 749, 999]
    assert timesteps(1000, "leading")[-2:] == [999, 999]
    # Numbers that do not divide 1000 span the whole of it too.
    assert timesteps(3, "leading") == [1, 334, 667]
    assert timesteps(3, "trailing") == [332, 665, 999]
    assert timesteps(600, "leading")[-1] > 990
    assert timesteps(600, "trailing")[0] == 0
    assert inversion_timesteps(10, 901) == timesteps(10, "leading")
    assert inversion_timesteps(3, 999) == [1, 500, 999]


def test_a_trailing_sampler_undoes_an_inversion_to_its_own_start() -> None:
    x = images()
    times = timesteps(200, "trailing")
    start = ddim_invert(
        analytic, x, inversion_timesteps(200, times[-1]), torch.zeros_like(x), unlimited
    )
    back = ddim(analytic, start, times, 0.0, no_noise, limit=unlimited)
    assert (back - x).abs().max() / x.abs().max() < 0.1


def test_inversion_and_sampling_reconstruct_an_image() -> None:
    x = images()
    errors = []
    for steps in (25, 50, 100, 200):
        times = timesteps(steps, "leading")
        start = ddim_invert(analytic, x, times, torch.zeros_like(x), unlimited)
        back = ddim(analytic, start, times, 0.0, no_noise, limit=unlimited)
        errors.append(((back - x).abs().max() / x.abs().max()).item())
    assert errors[-1] < 0.02
    for coarse, fine in pairwise(errors):
        assert 1.7 < coarse / fine < 2.3  # first order


def test_the_inversions_end_is_standard_normal_but_for_the_signal_left() -> None:
    times = timesteps(200, "leading")
    start = ddim_invert(analytic, images(), times, torch.zeros_like(images()), unlimited)
    kept = alpha_bars()[times[-1]].item()
    assert start.std().item() == pytest.approx((kept * SPREAD**2 + 1 - kept) ** 0.5, rel=0.1)


def test_ddpm_variance_samples_the_images_distribution() -> None:
    generator = torch.Generator().manual_seed(1)

    def noise(_: int) -> torch.Tensor:
        return torch.randn(64, 3, 8, 8, generator=generator, dtype=torch.float64)

    found = ddim(analytic, noise(0), timesteps(200, "trailing"), 1.0, noise, limit=unlimited)
    assert found.std().item() == pytest.approx(SPREAD, rel=0.03)
    assert abs(found.mean().item()) < 0.02


def test_the_straight_through_clamp_keeps_the_gradient() -> None:
    for limit, expected in ((clamp, [0, 1, 0]), (straight_through_clamp, [1, 1, 1])):
        x = torch.tensor([-3.0, 0.5, 2.0], requires_grad=True)
        limited = limit(x)
        assert limited.tolist() == [-1, 0.5, 1]
        limited.sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == expected


def test_the_estimate_is_clamped() -> None:
    x = torch.full((1, 3, 4, 4), 5.0, dtype=torch.float64)
    zero = torch.zeros_like(x)
    found = ddim(lambda x, t: zero, x, [1], 0.0, no_noise)
    torch.testing.assert_close(found, torch.ones_like(x))


def test_the_inversion_is_the_plain_recursion_and_clamps_its_estimate() -> None:
    generator = torch.Generator().manual_seed(2)
    x, noise = torch.randn(2, 1, 3, 4, 4, generator=generator, dtype=torch.float64) * 0.7
    kept = alpha_bars()

    def predict(x: torch.Tensor, t: int) -> torch.Tensor:
        return x * (1 + t / 1000)

    x1 = kept[1] ** 0.5 * x + (1 - kept[1]) ** 0.5 * noise
    expected, times = x1, [1, 401, 801]
    for t, after in pairwise(times):
        epsilon = predict(expected, t)
        clean = ((expected - (1 - kept[t]) ** 0.5 * epsilon) / kept[t] ** 0.5).clamp(-1, 1)
        expected = kept[after] ** 0.5 * clean + (1 - kept[after]) ** 0.5 * epsilon
    torch.testing.assert_close(ddim_invert(predict, x, times, noise), expected)
    assert not torch.allclose(ddim_invert(predict, x, times, noise, unlimited), expected)
