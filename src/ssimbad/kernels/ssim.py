"""SSIM of images and their noisy versions, in one compiled pass over each.

As tensors, most of a CPU's time goes into moving intermediates. These loops add noise, sum windows and
compute SSIM row by row, within the first-level cache. The window's side and the constants are SSIM's
usual ones, those of :mod:`ssimbad.similarity`: what is known when loops are compiled unrolls them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from ssimbad.kernels import compiled

# Sums in any order, divisions that look for no zeros: arithmetic in vectors.
_FAST: Any = {"nogil": True, "fastmath": True, "error_model": "numpy"}
_WINDOW = 7
_MARGIN = _WINDOW - 1
# In float32, for a plain Python number would make the loops' arithmetic float64.
_C1, _C2, _SHARE = map(np.float32, (0.01**2, 0.03**2, 1 / _WINDOW**2))
_UNBIASED = np.float32(_WINDOW**2 / (_WINDOW**2 - 1))
_ZERO, _HALF, _ONE, _TWO = map(np.float32, (0, 0.5, 1, 2))


@numba.njit(**_FAST)
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
    rings = np.empty((3, _WINDOW, width), np.float32)
    column_d, column_dd, column_xd = np.zeros((3, width + _MARGIN), np.float32)
    values = np.empty(width, np.float32)
    total = 0.0
    for row in range(height):
        at = row % _WINDOW
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
            for k in range(_WINDOW):
                sum_d += rings[0, k, j]
                sum_dd += rings[1, k, j]
                sum_xd += rings[2, k, j]
            column_d[j], column_dd[j], column_xd[j] = sum_d, sum_dd, sum_xd
        top = row - _MARGIN
        for j in range(width):
            sum_d, sum_dd, sum_xd = _ZERO, _ZERO, _ZERO
            for k in range(_WINDOW):
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


_CURVES = (
    "float64[:,::1](float32[:,:,::1], float32[:,:,::1], float32[:,:,::1],"
    " float32[:,:,:,::1], float32[::1], float32[:,::1])"
)


@compiled(_CURVES, nogil=True)
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


def degradation(
    images: np.ndarray,
    mean_x: np.ndarray,
    variance_x: np.ndarray,
    noise: np.ndarray,
    means: np.ndarray,
    levels: np.ndarray,
    *,
    threads: int,
) -> np.ndarray:
    """Mean SSIM of every image x in [-1, 1] and its noisy versions clamp(m_k x + σ_pk n_k, −1, 1).

    Args:
        images: (N, C, H, W), H and W at least 7.
        mean_x, variance_x: (N, C, H − 6, W), the mean and the variance of x / 2 over every 7×7 window; the
            last six columns, which no window begins in, are zero.
        noise: (N, K, C, H, W).
        means: (K',), K' ≤ K.
        levels: (P, K').
        threads: how many images are worked on at once.

    Returns:
        (P, N, K') float64. All arrays given are float32 and contiguous.
    """
    with ThreadPoolExecutor(threads) as pool:
        curves = pool.map(
            lambda *one: _curves(*one, means, levels), images, mean_x, variance_x, noise
        )
        return np.stack(list(curves), 1)
