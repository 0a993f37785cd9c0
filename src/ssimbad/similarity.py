"""Structural similarity of images as tensors: under a uniform window, which search, losses and figures share,
and under a Gaussian one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

C1, C2 = 0.01**2, 0.03**2
"""(0.01 L)² and (0.03 L)² of Wang et al. for data range L = 1."""
WINDOW = 7
"""Side of the uniform window, pixels."""
GAUSSIAN_WINDOW, GAUSSIAN_SIGMA = 11, 1.5
"""Side of the Gaussian window and its standard deviation, pixels."""
UNBIASED = WINDOW**2 / (WINDOW**2 - 1)
"""A window's sample variance over its mean squared deviation."""


def window_mean(values: Tensor) -> Tensor:
    """Mean over every 7×7 window: (…, H, W) → (…, H − 6, W − 6).

    Sums of shifted views, 7 = 4 + 2 + 1, an order of magnitude faster on a CPU than avg_pool2d.
    """
    for dim in (-1, -2):
        length = values.shape[dim]
        twos = values.narrow(dim, 0, length - 1) + values.narrow(dim, 1, length - 1)
        fours = twos.narrow(dim, 0, length - 3) + twos.narrow(dim, 2, length - 3)
        total = fours.narrow(dim, 0, length - 6) + twos.narrow(dim, 4, length - 6)
        values = total.add_(values.narrow(dim, 6, length - 6))
    return values / WINDOW**2


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Mean SSIM per image pair (Wang et al. 2004), 7×7 uniform window, data range 1.

    Equals scikit-image's ``structural_similarity(channel_axis=…, data_range=1)``: sample covariances,
    windows that lie wholly inside the image, mean over positions and channels. Differentiable.

    Args:
        x, y: (B, C, H, W) in [0, 1], H and W at least 7; B may be 1 in one of them.

    Returns:
        (B,) in [−1, 1].
    """
    # Second moments about 1/2 rather than 0: variances of flat regions keep their precision.
    x, y = x - 0.5, y - 0.5
    mean_x, mean_y = window_mean(x), window_mean(y)
    variance_x = window_mean(x * x) - mean_x**2
    variance_y = window_mean(y * y) - mean_y**2
    variances = UNBIASED * (variance_x + variance_y)
    covariance = UNBIASED * (window_mean(x * y) - mean_x * mean_y)
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (variances + C2)
    return (luminance * structure).flatten(1).mean(1)


def gaussian_mean(values: Tensor) -> Tensor:
    """Mean under an 11×11 Gaussian of σ 1.5, windows wholly inside: (B, C, H, W) → (B, C, H − 10, W − 10)."""
    half = GAUSSIAN_WINDOW // 2
    line = [math.exp(-((k - half) ** 2) / (2 * GAUSSIAN_SIGMA**2)) for k in range(GAUSSIAN_WINDOW)]
    # Sums of shifted views: in float64 PyTorch's convolution is many times slower, on GPUs most of all.
    for dim in (-1, -2):
        length = values.shape[dim] - GAUSSIAN_WINDOW + 1
        total = values.narrow(dim, 0, length) * (line[0] / sum(line))
        for k in range(1, GAUSSIAN_WINDOW):
            total.add_(values.narrow(dim, k, length), alpha=line[k] / sum(line))
        values = total
    return values


def gaussian_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Mean SSIM per image pair under the Gaussian window, data range 1, as Wang et al. (2004) have it.

    Weighted, not sample, covariances; windows that lie wholly inside the image; mean over positions and
    channels. Differentiable.

    Args:
        x, y: (B, C, H, W) in [0, 1], H and W at least 11.

    Returns:
        (B,) in [−1, 1].
    """
    mean_x, mean_y = gaussian_mean(x), gaussian_mean(y)
    variances = gaussian_mean(x * x) - mean_x**2 + gaussian_mean(y * y) - mean_y**2
    covariance = gaussian_mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (variances + C2)
    return (luminance * structure).flatten(1).mean(1)
