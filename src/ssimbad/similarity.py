"""Structural similarity of images as tensors: the one SSIM that search, losses and figures share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

_C1, _C2 = 0.01**2, 0.03**2
_WINDOW = 7


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Mean SSIM per image pair (Wang et al. 2004), 7×7 uniform window, data range 1.

    Equals scikit-image's ``structural_similarity(channel_axis=…, data_range=1)``: sample covariances,
    windows that lie wholly inside the image, mean over positions and channels. Differentiable.

    Args:
        x, y: (B, C, H, W) in [0, 1], H and W at least 7.

    Returns:
        (B,) in [−1, 1].
    """

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, _WINDOW, stride=1)

    # Second moments about 1/2 rather than 0: variances of flat regions keep their precision.
    x, y = x - 0.5, y - 0.5
    unbiased = _WINDOW**2 / (_WINDOW**2 - 1)
    mean_x, mean_y = mean(x), mean(y)
    variances = unbiased * (mean(x * x + y * y) - mean_x**2 - mean_y**2)
    covariance = unbiased * (mean(x * y) - mean_x * mean_y)
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variances + _C2)
    return (luminance * structure).flatten(1).mean(1)
