"""Regions filled with the reference's colours, against what one can count by hand."""

import numpy as np
import torch

from ssimbad.methods import model_of
from ssimbad.methods.fill.model import filled
from tests.conftest import batch_of, noise_of


def test_each_region_takes_its_median_colour_and_lines_are_black() -> None:
    sketch = np.ones((5, 7), dtype=np.float32)
    sketch[:, 3] = -1  # a line parts left from right
    sketch[1, 1] = 0.2  # nearly white is white
    reference = np.full((3, 5, 7), 0.5, dtype=np.float32)
    reference[0, :, :3] = np.linspace(-1, 0, 15).reshape(5, 3)
    reference[1, :, 4:] = [0.9, -0.25, -0.75]
    image = filled(sketch, reference)
    assert (image[:, :, 3] == -1).all()
    assert np.allclose(image[0, :, :3], -0.5)
    assert np.allclose(image[1, :, 4:], -0.25)
    assert np.allclose(image[1, :, :3], 0.5)


def test_regions_that_touch_at_corners_are_two() -> None:
    sketch = np.array([[1, -1], [-1, 1]], dtype=np.float32)
    reference = np.arange(12, dtype=np.float32).reshape(3, 2, 2) / 12
    image = filled(sketch, reference)
    assert image[0].tolist() == [[reference[0, 0, 0], -1], [-1, reference[0, 1, 1]]]


def test_a_sketch_of_one_colour_is_filled_whole() -> None:
    reference = np.random.default_rng(0).random((3, 4, 4), dtype=np.float32)
    assert (filled(np.full((4, 4), -1, dtype=np.float32), reference) == -1).all()
    white = filled(np.ones((4, 4), dtype=np.float32), reference)
    assert np.allclose(white, np.median(reference, (1, 2))[:, None, None])


def test_the_row_fills_each_image_of_a_batch() -> None:
    batch = batch_of(3)
    images = model_of("fill")().colorize(batch.sketch, batch.reference, noise_of([]), None)
    assert (images.shape, images.dtype) == (batch.target.shape, torch.float32)
    for image, sketch, reference in zip(images, batch.sketch, batch.reference, strict=True):
        assert np.array_equal(image, filled(sketch[0].numpy(), reference.numpy()))
