"""Metrics against independent references and closed forms."""

import numpy as np
import pytest
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy.stats import wasserstein_distance
from skimage.color import rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure
from torchmetrics.image.kid import poly_mmd

from ssimbad.evaluation.metrics import (
    frechet_distance,
    kernel_distance,
    ms_ssim,
    ms_ssim_scales,
    palette_distance,
    psnr,
)

RNG = np.random.default_rng(0)


def images(count: int, size: int) -> torch.Tensor:
    return torch.from_numpy(RNG.random((count, 3, size, size), dtype=np.float32))


def test_psnr_equals_scikit_image() -> None:
    x, y = images(4, 20), images(4, 20)
    expected = [
        peak_signal_noise_ratio(b.numpy().astype(float), a.numpy().astype(float), data_range=1)
        for a, b in zip(x, y, strict=True)
    ]
    assert psnr(x, y).tolist() == pytest.approx(expected, abs=1e-4)
    assert psnr(x, x).tolist() == [100, 100, 100, 100]


@pytest.mark.parametrize(
    ("size", "scales"),
    [(256, 5), (176, 5), (175, 4), (88, 4), (87, 3), (64, 3), (32, 2), (16, 1)],
)
def test_ms_ssim_scales(size: int, scales: int) -> None:
    assert ms_ssim_scales(size) == scales
    x = images(1, size)
    assert ms_ssim(x, x).item() == pytest.approx(1, abs=1e-5)


def test_ms_ssim_of_equal_images_is_one_and_falls_with_noise() -> None:
    x = torch.nn.functional.interpolate(images(2, 8), size=(64, 64), mode="bilinear")
    torch.testing.assert_close(ms_ssim(x, x), torch.ones(2))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    values = [ms_ssim(x, (x + s * noise).clamp(0, 1)).mean().item() for s in (0.02, 0.1, 0.4)]
    assert 1 > values[0] > values[1] > values[2] > 0


def test_ms_ssim_of_one_scale_is_scikit_images_gaussian_ssim() -> None:
    x = torch.nn.functional.interpolate(images(2, 4), size=(16, 16), mode="bilinear")
    y = (x + 0.1 * (images(2, 16) - 0.5)).clamp(0, 1)
    expected = [
        structural_similarity(
            a.numpy().astype(float),
            b.numpy().astype(float),
            channel_axis=0,
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(x, y, strict=True)
    ]
    assert ms_ssim(x, y).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [64, 176])
def test_ms_ssim_is_near_torchmetrics_which_pads_the_coarsest_scale(size: int) -> None:
    x = torch.nn.functional.interpolate(images(2, 16), size=(size, size), mode="bilinear")
    y = (x + 0.3 * (images(2, size) - 0.5)).clamp(0, 1)
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)[: ms_ssim_scales(size)]
    theirs = multiscale_structural_similarity_index_measure(
        x,
        y,
        reduction="none",
        data_range=1.0,
        betas=tuple(w / sum(weights) for w in weights),
        normalize="relu",
    )
    assert ms_ssim(x, y).tolist() == pytest.approx(theirs.tolist(), abs=0.01)


def test_palette_ignores_places_and_knows_shifts_of_colour() -> None:
    x = images(2, 16)
    shuffled = x.flatten(2)[:, :, torch.from_numpy(RNG.permutation(256))].reshape(x.shape)
    assert palette_distance(x, shuffled).max() < 1e-4
    # Grey against grey: clouds on the L axis, whose distance is |ΔL| times the mean |cos| of the
    # directions with that axis, 1/2 on the sphere.
    dark, light = torch.full((1, 3, 8, 8), 0.2), torch.full((1, 3, 8, 8), 0.8)
    lightness = [rgb2lab(np.full((1, 1, 3), v))[0, 0, 0] for v in (0.2, 0.8)]
    expected = (lightness[1] - lightness[0]) / 2
    assert palette_distance(dark, light).item() == pytest.approx(expected, rel=0.15)


def test_palette_is_the_sliced_wasserstein_distance() -> None:
    x, y = images(1, 12), images(1, 12) * 0.5
    generator = np.random.default_rng(5)
    a, b = (rgb2lab(t[0].permute(1, 2, 0).numpy()).reshape(-1, 3) for t in (x, y))
    directions = generator.normal(size=(2000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    plain = np.mean([wasserstein_distance(a @ d, b @ d) for d in directions])
    assert palette_distance(x, y).item() == pytest.approx(plain, rel=0.15)


@pytest.mark.parametrize(("n", "m"), [(400, 300), (12, 30)])
def test_frechet_distance_equals_pytorch_fids(n: int, m: int) -> None:
    x = RNG.normal(size=(n, 16)) @ RNG.normal(size=(16, 16))
    y = RNG.normal(size=(m, 16)) @ RNG.normal(size=(16, 16)) + 0.5
    expected = calculate_frechet_distance(
        x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False)
    )
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-3)


def test_frechet_distance_closed_form_and_zero() -> None:
    x = RNG.normal(size=(50, 64))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(x, x + 0.25) == pytest.approx(64 * 0.25**2)
    centred = x - x.mean(0)
    trace = np.trace(np.cov(x, rowvar=False))
    assert frechet_distance(centred, 3 * centred) == pytest.approx((3 - 1) ** 2 * trace)


@pytest.mark.parametrize(("n", "m"), [(40, 40), (30, 50)])
def test_kernel_distance_is_the_unbiased_estimate(n: int, m: int) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(n, 16))
    y = generator.normal(0.5, 1.2, size=(m, 16))
    kernel = (np.concatenate([x, y]) @ np.concatenate([x, y]).T / 16 + 1) ** 3
    within = [
        [block[i, j] for i in range(len(block)) for j in range(len(block)) if i != j]
        for block in (kernel[:n, :n], kernel[n:, n:])
    ]
    expected = np.mean(within[0]) + np.mean(within[1]) - 2 * kernel[:n, n:].mean()
    assert kernel_distance(x, y) == pytest.approx(expected)
    if n == m:
        theirs = poly_mmd(torch.from_numpy(x), torch.from_numpy(y)).item()
        assert kernel_distance(x, y) == pytest.approx(theirs)


def test_kernel_distance_of_one_distribution_is_zero_on_average() -> None:
    generator = np.random.default_rng(1)
    found = [
        kernel_distance(generator.normal(size=(50, 8)), generator.normal(size=(50, 8)))
        for _ in range(200)
    ]
    assert abs(np.mean(found)) < 3 * np.std(found) / 200**0.5
    assert min(found) < 0
