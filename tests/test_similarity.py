"""SSIM against scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from ssimbad.similarity import gaussian_ssim, ssim


def pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(1)
    noise = rng.random((3, 40, 33)).astype(np.float32)
    flat = np.full((3, 40, 33), 0.97, np.float32)
    steps = np.repeat(np.repeat(rng.random((3, 5, 5)), 8, 1), 8, 2).astype(np.float32)
    return {
        "noise and noise": (noise, rng.random((3, 40, 33)).astype(np.float32)),
        "image and noisy image": (steps, np.clip(steps + 0.1 * rng.normal(size=steps.shape), 0, 1)),
        "flat and nearly flat": (flat, flat + 0.002 * noise),
        "flat and noise": (flat, noise),
        "equal": (noise, noise),
    }


@pytest.mark.parametrize("name", pairs())
def test_equals_scikit_image(name: str) -> None:
    x, y = (a.astype(np.float32) for a in pairs()[name])
    expected = structural_similarity(
        x.astype(np.float64), y.astype(np.float64), channel_axis=0, data_range=1
    )
    result = ssim(torch.from_numpy(x)[None], torch.from_numpy(y)[None]).item()
    assert result == pytest.approx(expected, abs=1e-5)


def test_each_pair_of_a_batch_stands_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(4, 3, 16, 16, generator=generator) for _ in range(2))
    alone = torch.cat([ssim(a[None], b[None]) for a, b in zip(x, y, strict=True)])
    torch.testing.assert_close(ssim(x, y), alone)


def test_gradient_raises_similarity() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, 16, 16, generator=generator, requires_grad=True)
    y = torch.rand(1, 3, 16, 16, generator=generator)
    (gradient,) = torch.autograd.grad(ssim(x, y).sum(), x)
    assert ssim(x + 0.01 * gradient / gradient.norm(), y) > ssim(x, y)


@pytest.mark.parametrize("name", pairs())
def test_under_the_gaussian_window_equals_scikit_image(name: str) -> None:
    x, y = (a.astype(np.float64) for a in pairs()[name])
    _, whole = structural_similarity(
        *(x, y),
        channel_axis=0,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    result = gaussian_ssim(torch.from_numpy(x)[None], torch.from_numpy(y)[None]).item()
    assert result == pytest.approx(whole[:, 5:-5, 5:-5].mean(), abs=1e-6)
