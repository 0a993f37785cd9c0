"""Warps of images in one pass, and whether a warp's map folds, in compiled loops.

As tensors, a warp's map, weights and sixteen taps a pixel go through memory one after the other. These
loops keep a row of them within the first-level cache. The arithmetic is that of :mod:`ssimbad.data.warp`.

A map of x or y is a thin-plate spline: its weights are of the kernels of C control points that every warp
has, then of those of M points of its own, then of 1, x and y. Its *basis* is what all warps share, at
every point of a grid: the C kernels, 1, x and y.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from ssimbad.kernels import compiled

# Sums in any order, divisions that look for no zeros: arithmetic in vectors.
_FAST: Any = {"nogil": True, "fastmath": True, "error_model": "numpy"}
_BORDER = 4  # black pixels around an image: whatever is read from outside the frame is read there

_F = np.float32
# In float32, for a plain Python number would make the loops' arithmetic float64.
_ZERO, _HALF, _ONE, _TWO, _THREE, _WHITE = map(np.float32, (0, 0.5, 1, 2, 3, 255))
_THIRD, _FIFTH, _SEVENTH, _NINTH, _ELEVENTH = (np.float32(1 / n) for n in (3, 5, 7, 9, 11))
_LN2, _TINY, _REGULAR = map(np.float32, (np.log(2), 1e-30, 1e-6))
_SCALE = _TWO / _WHITE
_CUBIC = np.float32(-0.75)  # the cubic's parameter, PyTorch's and OpenCV's


@numba.njit(**_FAST)
def _add(values: np.ndarray, a: np.float32, b: np.float32, xs: np.ndarray, ys: np.ndarray) -> None:
    """Add a and b times a row of values to a row of points."""
    for x in range(len(values)):
        xs[x] += a * values[x]
        ys[x] += b * values[x]


@numba.njit(**_FAST)
def _add_kernel(
    squared: np.ndarray, a: np.float32, b: np.float32, xs: np.ndarray, ys: np.ndarray
) -> None:
    """Add a and b times r² ln(r + 1e-6) of a row of squared distances r² to a row of points.

    ln r² = ln m + e ln 2 with 1 ≤ m < 2, ln m = 2 artanh((m − 1) / (m + 1)) by its series, which errs by
    1e-7 at most; ln(r + ε) = ln r + ε / r.
    """
    bits = squared.view(np.int32)
    mantissas = np.empty_like(squared)
    mantissa_bits = mantissas.view(np.int32)
    for x in range(len(squared)):
        mantissa_bits[x] = (bits[x] & 0x7FFFFF) | 0x3F800000
    for x in range(len(squared)):
        exponent = np.float32((bits[x] >> 23) - 127)
        t = (mantissas[x] - _ONE) / (mantissas[x] + _ONE)
        s = t * t
        series = _ONE + s * (_THIRD + s * (_FIFTH + s * (_SEVENTH + s * (_NINTH + s * _ELEVENTH))))
        value = _HALF * squared[x] * (_TWO * t * series + exponent * _LN2)
        value += _REGULAR * np.sqrt(squared[x])
        xs[x] += a * value
        ys[x] += b * value


@numba.njit(**_FAST)
def _taps(points: np.ndarray, size: int, first: np.ndarray, weights: np.ndarray) -> None:
    """Of a row of coordinates in pixels: the first of the four bordered pixels read, and their weights."""
    furthest = np.float32(size + _BORDER + 1)
    for x in range(len(points)):
        at = points[x] + np.float32(_BORDER)
        at = min(max(at, _ONE), furthest)
        whole = np.int32(at)
        first[x] = whole - 1
        t = at - np.float32(whole)
        u = _ONE - t
        weights[0, x] = _CUBIC * t * u * u
        weights[1, x] = ((_CUBIC + _TWO) * t - (_CUBIC + _THREE)) * t * t + _ONE
        weights[2, x] = ((_CUBIC + _TWO) * u - (_CUBIC + _THREE)) * u * u + _ONE
        weights[3, x] = _CUBIC * u * t * t


@numba.njit(**_FAST)
def _read(
    bordered: np.ndarray,
    column: np.ndarray,
    row: np.ndarray,
    wx: np.ndarray,
    wy: np.ndarray,
    line: np.ndarray,
) -> None:
    """Fill a row (S, 4) with what each pixel's taps (S,) and weights (4, S) read of ``bordered``."""
    one = np.uintp(1)
    for x in range(len(line)):
        # Unsigned: of signed indices Numba asks whether they count from the end.
        j0 = np.uintp(column[x])
        j1, j2, j3 = j0 + one, j0 + one + one, j0 + one + one + one
        w0, w1, w2, w3 = wx[0, x], wx[1, x], wx[2, x], wx[3, x]
        red, green, blue, none = _ZERO, _ZERO, _ZERO, _ZERO
        for k in range(4):
            w, taps = wy[k, x], bordered[np.uintp(row[x] + k)]
            red += w * (w0 * taps[j0, 0] + w1 * taps[j1, 0] + w2 * taps[j2, 0] + w3 * taps[j3, 0])
            green += w * (w0 * taps[j0, 1] + w1 * taps[j1, 1] + w2 * taps[j2, 1] + w3 * taps[j3, 1])
            blue += w * (w0 * taps[j0, 2] + w1 * taps[j1, 2] + w2 * taps[j2, 2] + w3 * taps[j3, 2])
            # The fourth channel is there for the vector's sake alone.
            none += w * (w0 * taps[j0, 3] + w1 * taps[j1, 3] + w2 * taps[j2, 3] + w3 * taps[j3, 3])
        line[x, 0], line[x, 1], line[x, 2], line[x, 3] = red, green, blue, none


@numba.njit(**_FAST)
def _write(line: np.ndarray, out: np.ndarray, y: int) -> None:
    """A row (S, 4) of [0, 255], clamped, into row ``y`` of (3, S, S) in [-1, 1]."""
    values = line.reshape(-1)
    for k in range(len(values)):
        values[k] = min(max(values[k], _ZERO), _WHITE) * _SCALE - _ONE
    for c in range(3):
        for x in range(len(line)):
            out[c, y, x] = line[x, c]


@numba.njit(**_FAST)
def _map_row(
    y: int,
    across: np.ndarray,
    weights: np.ndarray,
    moved: np.ndarray,
    basis: np.ndarray,
    squared: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
) -> None:
    """Where the pixels of row ``y`` are read from, into ``xs`` and ``ys`` (S,)."""
    size, shared, own = len(xs), len(basis) - 3, len(moved)
    xs[:], ys[:] = _ZERO, _ZERO
    for k in range(shared + 3):
        place = k if k < shared else k + own
        _add(basis[k, y * size : (y + 1) * size], weights[0, place], weights[1, place], xs, ys)
    for p in range(own):
        down = across[y] - moved[p, 1]
        aside = down * down + _TINY
        for x in range(size):
            right = across[x] - moved[p, 0]
            squared[x] = right * right + aside
        _add_kernel(squared, weights[0, shared + p], weights[1, shared + p], xs, ys)


# Only the SLP pass computes a pixel's four channels as one vector.
@compiled(
    "void(uint8[:,:,::1], float32[:,::1], float32[:,::1], float32[:,::1],"
    " float32[:,:,::1], float32[:,:,::1], float32[:,:,::1])",
    slp=True,
    **_FAST,
)
def _warp_one(
    image: np.ndarray,
    weights: np.ndarray,
    moved: np.ndarray,
    basis: np.ndarray,
    bordered: np.ndarray,
    warped: np.ndarray,
    mapped: np.ndarray,
) -> None:
    """Fill ``warped`` (3, S, S) and ``mapped`` (S, S, 2) of an image (S, S, 3), as :func:`warp_pixels`.

    ``bordered`` (S + 8, S + 8, 4) is black, or was an earlier image's.
    """
    size = len(image)
    last = np.float32(size - 1)
    for y in range(size):
        for x in range(size):
            for c in range(3):
                bordered[y + _BORDER, x + _BORDER, c] = image[y, x, c]
    across = np.arange(size).astype(np.float32) / last
    # One by one: parts of one array have a layout of which Numba does not know that it has no gaps.
    squared, xs, ys = np.empty(size, _F), np.empty(size, _F), np.empty(size, _F)
    column, row = np.empty(size, np.int32), np.empty(size, np.int32)
    wx, wy = np.empty((4, size), _F), np.empty((4, size), _F)
    line = np.empty((size, 4), _F)
    for y in range(size):
        _map_row(y, across, weights, moved, basis, squared, xs, ys)
        for x in range(size):
            mapped[y, x, 0], mapped[y, x, 1] = xs[x], ys[x]
            xs[x] *= last
            ys[x] *= last
        _taps(xs, size, column, wx)
        _taps(ys, size, row, wy)
        _read(bordered, column, row, wx, wy, line)
        _write(line, warped, y)


@compiled(
    "bool_[::1](float64[:,:,::1], float64[:,:,::1], float64[:,::1], int64)", slp=True, **_FAST
)
def fold(coefficients: np.ndarray, moved: np.ndarray, basis: np.ndarray, side: int) -> np.ndarray:
    """(B,) bool: whether each map's Jacobian determinant is ≤ 0 anywhere on a grid of ``side`` points a side.

    Args:
        coefficients: (B, C + M + 3, 2), the maps' weights.
        moved: (B, M, 2), the warps' own control points (x, y) in [0, 1].
        basis: (C + 3, side²) of the grid. All three arrays are float64 and contiguous.
        side: points a side.
    """
    shared, points = len(basis) - 3, moved.shape[1]
    found = np.zeros(len(coefficients), np.bool_)
    rows = np.empty((2, 2, side))  # x and y of the last two rows of the grid, as they are mapped
    for warp in range(len(coefficients)):
        own = coefficients[warp]
        for y in range(side):
            above, row = rows[(y + 1) % 2], rows[y % 2]
            row[:] = 0
            for k in range(shared + 3):
                place = k if k < shared else k + points
                along = basis[k, y * side : (y + 1) * side]
                _add(along, own[place, 0], own[place, 1], row[0], row[1])
            for p in range(points):
                a, b = own[shared + p, 0], own[shared + p, 1]
                down = basis[shared + 2, y * side] - moved[warp, p, 1]
                for x in range(side):
                    right = basis[shared + 1, x] - moved[warp, p, 0]
                    squared = right * right + down * down
                    value = squared * np.log(np.sqrt(squared) + 1e-6)
                    row[0, x] += a * value
                    row[1, x] += b * value
            if y == 0:
                continue
            for x in range(side - 1):
                ax, ay = above[0, x + 1] - above[0, x], above[1, x + 1] - above[1, x]
                bx, by = row[0, x] - above[0, x], row[1, x] - above[1, x]
                if ax * by - ay * bx <= 0:
                    found[warp] = True
                    break
            if found[warp]:
                break
    return found


def warp_pixels(
    pixels: np.ndarray, weights: np.ndarray, moved: np.ndarray, basis: np.ndarray, *, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Warp square images: bicubic, black outside the frame.

    Args:
        pixels: (B, S, S, 3) uint8.
        weights: (B, 2, C + M + 3) float32, those of the map's x and y.
        moved: (B, M, 2) float32, the warps' own control points (x, y) in [0, 1].
        basis: (C + 3, S²) float32, of the pixels' centres. All arrays given are contiguous.
        threads: how many images are worked on at once.

    Returns:
        (B, 3, S, S) in [-1, 1], and the map (B, S, S, 2), where each of its pixels was read; float32.
    """
    count, size = pixels.shape[:2]
    warped = np.empty((count, 3, size, size), np.float32)
    mapped = np.empty((count, size, size, 2), np.float32)

    side = size + 2 * _BORDER

    def some(chosen: range) -> None:
        # Four channels, so that a tap is one vector register.
        bordered = np.zeros((side, side, 4), np.float32)
        for k in chosen:
            _warp_one(pixels[k], weights[k], moved[k], basis, bordered, warped[k], mapped[k])

    shares = [range(first, count, threads) for first in range(min(threads, count))]
    with ThreadPoolExecutor(len(shares)) as pool:
        list(pool.map(some, shares))
    return warped, mapped
