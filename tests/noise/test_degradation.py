"""SSIM under noise against scikit-image."""

import itertools

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from ssimbad.noise.degradation import Degradation

MEANS = torch.tensor([1.0, 1.0, 0.7, 0.01])
SIGMAS = torch.tensor([[0.002, 0.3, 0.7, 80.0], [0.01, 0.1, 1.0, 10.0]])


def images_and_noise(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(height)
    coarse = torch.rand(2, 3, 4, 4, generator=generator) * 2 - 1
    images = torch.nn.functional.interpolate(coarse, size=(height, width), mode="nearest")
    images[1, 0] = 0.94  # flat, where variances are all rounding
    return images, torch.randn(2, len(MEANS) + 1, 3, height, width, generator=generator)


@pytest.mark.parametrize(("height", "width"), [(7, 7), (16, 23), (64, 64), (40, 131)])
def test_equals_scikit_image(height: int, width: int) -> None:
    images, noise = images_and_noise(height, width)
    found = Degradation(images, noise).ssim(MEANS, SIGMAS)
    assert found.shape == (2, 2, len(MEANS))
    for p, i, k in itertools.product(range(2), range(2), range(len(MEANS))):
        image = images[i].double().numpy()
        noisy = np.clip(MEANS[k].item() * image + SIGMAS[p, k].item() * noise[i, k].numpy(), -1, 1)
        expected = structural_similarity(
            (image + 1) / 2, (noisy + 1) / 2, channel_axis=0, data_range=1
        )
        assert found[p, i, k].item() == pytest.approx(expected, abs=1e-5)


def test_images_in_another_layout_and_other_threads_give_the_same() -> None:
    images, noise = images_and_noise(16, 16)
    expected = Degradation(images, noise).ssim(MEANS, SIGMAS)
    last = images.contiguous(memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert torch.equal(Degradation(last, noise).ssim(MEANS, SIGMAS), expected)
    finally:
        torch.set_num_threads(threads)
