"""The compiled SSIM under noise against that of tensors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ssimbad.kernels.ssim import degradation
from ssimbad.noise.degradation import tensor_ssim
from ssimbad.similarity import window_mean

MEANS = torch.tensor([1.0, 1.0, 0.7, 0.01])
SIGMAS = torch.tensor([[0.002, 0.3, 0.7, 80.0], [0.01, 0.1, 1.0, 10.0]])


def images_and_noise(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(height)
    coarse = torch.rand(2, 3, 4, 4, generator=generator) * 2 - 1
    images = F.interpolate(coarse, size=(height, width), mode="nearest")
    images[1, 0] = 0.94  # flat, where variances are all rounding
    return images, torch.randn(2, len(MEANS) + 1, 3, height, width, generator=generator)


def compiled(images: torch.Tensor, noise: torch.Tensor, threads: int) -> np.ndarray:
    halves = images.double() / 2
    mean = window_mean(halves)
    windows = (F.pad(v.float(), (0, 6)) for v in (mean, window_mean(halves**2) - mean**2))
    arrays = (v.numpy() for v in (images, *windows, noise, MEANS, SIGMAS))
    return degradation(*arrays, threads=threads)


@pytest.mark.parametrize(("height", "width"), [(7, 7), (16, 23), (32, 48), (40, 131)])
def test_loops_and_tensors_give_the_same(height: int, width: int) -> None:
    images, noise = images_and_noise(height, width)
    expected = tensor_ssim(images, noise, MEANS, SIGMAS).numpy()
    found = compiled(images, noise, 2)
    assert found.dtype == np.float64
    assert found.shape == (2, 2, len(MEANS))
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def test_other_threads_give_the_same() -> None:
    images, noise = images_and_noise(16, 16)
    np.testing.assert_array_equal(compiled(images, noise, 1), compiled(images, noise, 3))
