"""Metrics against independent references and closed forms."""

import numpy as np
import pytest
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy.stats import wasserstein_distance
from skimage.color import lab2rgb, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure
from torchmetrics.image.kid import poly_mmd

from ssimbad.data.xdog import sketch_of
from ssimbad.evaluation.metrics import (
    flat_regions,
    frechet_distance,
    kernel_distance,
    kernel_interval,
    ms_ssim,
    ms_ssim_scales,
    palette_distance,
    psnr,
    region_errors,
    sketch_adherence,
)
from ssimbad.evaluation.pairs import Networks, Pairs

RNG = np.random.default_rng(0)
CPU = torch.device("cpu")


def images(count: int, size: int) -> torch.Tensor:
    return torch.from_numpy(RNG.random((count, 3, size, size), dtype=np.float32))


def as_images(picture: np.ndarray) -> torch.Tensor:
    """A picture (H, W, 3) uint8 as images (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


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
    # A shift of 10 ΔE reads 10, whatever its direction.
    grey = np.array([60.0, 0, 0])
    for direction in RNG.normal(size=(20, 3)):
        shifted = grey + 10 * direction / np.linalg.norm(direction)
        colours = lab2rgb(np.stack([grey, shifted])).astype(np.float32)
        a, b = torch.from_numpy(colours)[:, None, :, None, None].expand(-1, -1, -1, 8, 8)
        assert palette_distance(a, b).item() == pytest.approx(10, rel=0.02)


def test_palette_is_twice_the_sliced_wasserstein_distance() -> None:
    x, y = images(1, 12), images(1, 12) * 0.5
    generator = np.random.default_rng(5)
    a, b = (rgb2lab(t[0].permute(1, 2, 0).numpy()).reshape(-1, 3) for t in (x, y))
    directions = generator.normal(size=(2000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    plain = np.mean([wasserstein_distance(a @ d, b @ d) for d in directions])
    assert palette_distance(x, y).item() == pytest.approx(2 * plain, rel=0.03)


def drawn() -> np.ndarray:
    """40 px: a blue square, a green patch of 6 pixels and a ramp on a red ground."""
    picture = np.full((40, 40, 3), (200, 30, 40), np.uint8)
    picture[5:15, 5:15] = (30, 60, 180)
    picture[25:27, 5:8] = (20, 160, 60)
    picture[25:35, 20:30] = 100 + 2 * np.arange(10)[:, None]  # neighbours differ by 2 of 255
    return picture


def test_flat_regions_are_connected_and_of_some_size() -> None:
    (labels,) = flat_regions(as_images(drawn()))
    ground, square, ramp = labels[0, 0], labels[10, 10], labels[25, 20]
    assert len({ground, square, ramp, -1}) == 4
    assert (labels[5:15, 5:15] == square).all()
    assert (labels[25:35, 20:30] == ramp).all()
    assert (labels[25:27, 5:8] == -1).all()  # below 0.5 % of 1600 pixels
    assert set(np.unique(labels)) == {ground, square, ramp, -1}
    # Two squares of a colour that do not touch are two; of two pictures too.
    twice = drawn()
    twice[20:24, 20:24] = twice[10, 10]
    pair = flat_regions(torch.cat([as_images(twice), as_images(drawn())]))
    assert pair[0, 21, 21] != pair[0, 10, 10]
    assert not set(np.unique(pair[0])) & set(np.unique(pair[1])) - {-1}
    # Of noise nothing is flat: all of it is one region.
    assert len(np.unique(flat_regions(images(1, 20)))) == 1


def test_region_errors_are_their_pixels_median_colour_differences() -> None:
    truth, output = drawn(), drawn()
    output[5:15, 5:15] = (30, 160, 80)
    output[5, 5:15] = (255, 255, 255)  # a tenth of the square: the median does not care
    output[25:27, 5:8] = 0
    (errors,) = region_errors(as_images(output), as_images(truth))
    wrong = np.linalg.norm(
        rgb2lab(np.array([30, 160, 80]) / 255) - rgb2lab(np.array([30, 60, 180]) / 255)
    )
    assert sorted(errors) == pytest.approx([0, 0, wrong], abs=1e-3)
    pairs = Pairs(*(as_images(p) for p in (output, truth, truth)), Networks("auto", CPU))
    found = pairs.measured(["region", "regions_right"])
    assert found["region"].item() == 0
    assert found["regions_right"].item() == pytest.approx(2 / 3)


def test_line_f1_is_that_of_the_lines_with_a_pixels_tolerance() -> None:
    def lines(*columns: int) -> np.ndarray:
        picture = np.full((40, 40, 3), 255, np.uint8)
        picture[:, list(columns)] = 0
        return picture

    def f1(image: np.ndarray, sketch: np.ndarray) -> float:
        return sketch_adherence(as_images(image), as_images(sketch)[:, :1]).item()

    own = sketch_of(lines(5, 15, 25), 0, "any")
    assert np.array_equal(own == 0, lines(5, 15, 25)[..., 0] == 0)  # XDoG finds just these
    assert f1(lines(5, 15, 25), lines(5, 15, 25)) == 1
    assert f1(lines(6, 16, 26), lines(5, 15, 25)) == 1
    assert f1(lines(7, 17, 27), lines(5, 15, 25)) == 0
    # One of two lines is right, and one of three is found.
    assert f1(lines(5, 30), lines(5, 15, 25)) == pytest.approx(2 * (1 / 2) * (1 / 3) / (5 / 6))
    assert f1(lines(), lines()) == 1
    assert f1(lines(), lines(5)) == f1(lines(5), lines()) == 0


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


def test_the_kernel_distances_interval_compares_no_image_with_itself() -> None:
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(12, 8)), generator.normal(0.4, 1.3, size=(12, 8))
    draws = generator.integers(12, size=(200, 12))

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (a @ b / 8 + 1) ** 3

    values = []
    for draw in draws:
        others = [(i, j) for i in draw for j in draw if i != j]
        within = [np.mean([kernel(s[i], s[j]) for i, j in others]) for s in (x, y)]
        met = others + [(i, i) for i in draw]  # its own truth, as often as it was drawn
        across = np.mean([kernel(x[i], y[j]) for i, j in met])
        values.append(within[0] + within[1] - 2 * across)
    expected = np.quantile(values, [0.025, 0.975])
    assert kernel_interval(x, y, draws) == pytest.approx(tuple(expected))
    assert expected[0] < kernel_distance(x, y) < expected[1]
    # Images near their own truths: counting those as often as draws repeat would pull all below the value.
    near = x + 0.05 * generator.normal(size=x.shape)
    low, high = kernel_interval(x, near, draws)
    assert low < kernel_distance(x, near) < high
    # Of two pairs, the resamples of one of them alone say nothing.
    alone = kernel_interval(x[:2], y[:2], np.array([[0, 0], [0, 1], [1, 1]]))
    assert alone == pytest.approx((kernel_distance(x[:2], y[:2]),) * 2)


def test_kernel_distance_of_one_distribution_is_zero_on_average() -> None:
    generator = np.random.default_rng(1)
    found = [
        kernel_distance(generator.normal(size=(50, 8)), generator.normal(size=(50, 8)))
        for _ in range(200)
    ]
    assert abs(np.mean(found)) < 3 * np.std(found) / 200**0.5
    assert min(found) < 0
