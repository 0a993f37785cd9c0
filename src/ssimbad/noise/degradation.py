"""How SSIM falls as noise grows: one compiled pass over each noisy image on a CPU, tensors elsewhere.

The search asks for SSIM tens of thousands of times, each time of a new noisy image, and as tensors most
of a CPU's time goes into moving intermediates. Numba's loops add noise, sum windows and compute SSIM row
by row, within the first-level cache: the arithmetic of :func:`ssimbad.similarity.ssim`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssimbad.similarity import C1, C2, UNBIASED, WINDOW, ssim, window_mean

# In float32, for a plain Python number would make the loops' arithmetic float64.
_C1, _C2, _UNBIASED, _SHARE = map(np.float32, (C1, C2, UNBIASED, 1 / WINDOW**2))
_ZERO, _HALF, _ONE, _TWO = map(np.float32, (0, 0.5, 1, 2))
_MARGIN = WINDOW - 1


@numba.njit(nogil=True, fastmath=True, error_model="numpy")
def _plane_ssim(
    image: np.ndarray,
    mean_x: np.ndarray,
    variance_x: np.ndarray,
    noise: np.ndarray,
    mean: np.float32,
    level: np.float32,
) -> float:
    """SSIM of a plane (H, W) in [-1, 1] and clamp(mean · image + level · noise, −1, 1).

    ``mean_x`` and ``variance_x`` (H − 6, W) are the windows' of x = image / 2, zero past the last window:
    columns go up to W, a whole number of vector registers, of which SSIM's mean takes those with windows.
    Moments are of x and of d = y / 2 − x, so that little noise on a flat region keeps its precision.
    """
    height, width = image.shape
    # The last rows of d, of its square and of its product with x: a ring.
    # Division must not look for zeros (error_model), or the loop would not be vectorised.
    rings = np.empty((3, WINDOW, width), np.float32)
    column_d, column_dd, column_xd = np.zeros((3, width + _MARGIN), np.float32)
    values = np.empty(width, np.float32)
    total = 0.0
    for row in range(height):
        at = row % WINDOW
        for j in range(width):
            y = mean * image[row, j] + level * noise[row, j]
            below = y if y < _ONE else _ONE
            x = image[row, j] * _HALF
            d = (below if below > -_ONE else -_ONE) * _HALF - x
            rings[0, at, j] = d
            rings[1, at, j] = d * d
            rings[2, at, j] = x * d
        if row < _MARGIN:
            continue
        for j in range(width):
            sum_d, sum_dd, sum_xd = _ZERO, _ZERO, _ZERO
            for k in range(WINDOW):
                sum_d += rings[0, k, j]
                sum_dd += rings[1, k, j]
                sum_xd += rings[2, k, j]
            column_d[j], column_dd[j], column_xd[j] = sum_d, sum_dd, sum_xd
        top = row - _MARGIN
        for j in range(width):
            sum_d, sum_dd, sum_xd = _ZERO, _ZERO, _ZERO
            for k in range(WINDOW):
                sum_d += column_d[j + k]
                sum_dd += column_dd[j + k]
                sum_xd += column_xd[j + k]
            mean_d = sum_d * _SHARE
            variance_d = sum_dd * _SHARE - mean_d * mean_d
            shared = variance_x[top, j] + (sum_xd * _SHARE - mean_x[top, j] * mean_d)
            covariance = _UNBIASED * shared
            variances = _UNBIASED * (_TWO * shared + variance_d)
            a = mean_x[top, j] + _HALF
            b = a + mean_d
            values[j] = ((_TWO * a * b + _C1) * (_TWO * covariance + _C2)) / (
                (a * a + b * b + _C1) * (variances + _C2)
            )
        total += values[: width - _MARGIN].sum()
    return total / ((height - _MARGIN) * (width - _MARGIN))


@numba.njit(nogil=True)
def _curves(
    image: np.ndarray,
    mean_x: np.ndarray,
    variance_x: np.ndarray,
    noise: np.ndarray,
    means: np.ndarray,
    levels: np.ndarray,
) -> np.ndarray:
    """(P, K) mean SSIM of the planes of an image (C, H, W) under noise (K, C, H, W) at levels (P, K).

    A plane of noise is read from memory once, for all P.
    """
    curves = np.zeros(levels.shape)
    for k in range(len(means)):
        for plane in range(len(image)):
            for p in range(len(levels)):
                curves[p, k] += _plane_ssim(
                    image[plane],
                    mean_x[plane],
                    variance_x[plane],
                    noise[k, plane],
                    means[k],
                    levels[p, k],
                )
    return curves / len(image)


def tensor_ssim(images: Tensor, noise: Tensor, means: Tensor, sigmas: Tensor) -> Tensor:
    """What :meth:`Degradation.ssim` gives, of tensors on any device: slow on a CPU."""
    curves = []
    for image, own in zip(images, noise[:, : len(means)], strict=True):
        for levels in sigmas:
            mean, level = (v.to(images)[:, None, None, None] for v in (means, levels))
            noisy = torch.addcmul(mean * image, level, own).clamp_(-1, 1)
            curves.append(ssim((noisy + 1) / 2, (image[None] + 1) / 2))
    return torch.stack(curves).double().cpu().reshape(len(images), *sigmas.shape).transpose(0, 1)


class Degradation:
    """Images and the noise they are measured under.

    Args:
        images: (N, C, H, W) float32 in [-1, 1], on the device that is to compute.
        noise: (N, K, C, H, W) float32, standard normal, on the same device.
    """

    def __init__(self, images: Tensor, noise: Tensor) -> None:
        self.images, self.noise = images, noise
        self._planes: list[np.ndarray] = []
        if images.device.type == "cpu":
            halves = images.double() / 2
            mean_x = window_mean(halves)
            variance_x = window_mean(halves * halves) - mean_x**2
            padded = (F.pad(values.float(), (0, _MARGIN)) for values in (mean_x, variance_x))
            self._planes = [v.contiguous().numpy() for v in (images, *padded, noise)]

    def ssim(self, means: Tensor, sigmas: Tensor) -> Tensor:
        """SSIM of every image x and its noisy versions clamp(m_k x + σ_pk n_k, −1, 1).

        Args:
            means: factors m (K',) on the image, K' ≤ K; 1 for variance-exploding noise.
            sigmas: noise levels (P, K'), of P schedules.

        Returns:
            (P, N, K') float64, on the CPU.
        """
        if not self._planes:
            return tensor_ssim(self.images, self.noise, means, sigmas)
        one = partial(_curves, means=means.float().numpy(), levels=sigmas.float().numpy())
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            curves = list(threads.map(one, *self._planes))
        return torch.from_numpy(np.stack(curves, 1))
