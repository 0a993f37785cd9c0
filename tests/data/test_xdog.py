"""XDoG against scikit-image's difference of Gaussians."""

import numpy as np
import pytest
from skimage.filters import difference_of_gaussians, gaussian

from ssimbad.data.xdog import SIGMAS, draw_sigma, sketch_of, xdog


@pytest.mark.parametrize("sigma", SIGMAS)
def test_equals_the_formula_by_another_library(sigma: float) -> None:
    grey = np.random.default_rng(0).random((40, 30))
    d = gaussian(grey, sigma, mode="mirror") + 10 * difference_of_gaussians(
        grey, sigma, 3.5 * sigma, mode="mirror"
    )
    u = grey * d
    expected = np.where(u >= 0.01, 1, 1 + np.tanh(1e9 * (u - 0.01)))
    clear = np.abs(u - 0.01) > 1e-7
    np.testing.assert_array_equal(xdog(grey, sigma)[clear], (255 * expected).round()[clear])


def test_lines_are_black_and_flat_regions_white() -> None:
    image = np.full((32, 32, 3), (200, 120, 90), np.uint8)
    image[:, 15:17] = 10
    sketch = sketch_of(image, 0, "a")
    assert (sketch[:, 15:17] == 0).all()
    assert (sketch[:, :12] == 255).all()
    assert (sketch[:, 20:] == 255).all()
    assert set(np.unique(sketch)) == {0, 255}


def test_sigma_is_drawn_from_seed_and_name_evenly() -> None:
    drawn = [draw_sigma(5, f"image {i}") for i in range(600)]
    assert drawn == [draw_sigma(5, f"image {i}") for i in range(600)]
    counts = [drawn.count(sigma) for sigma in SIGMAS]
    assert sum(counts) == 600
    assert min(counts) > 150
    assert drawn != [draw_sigma(6, f"image {i}") for i in range(600)]
