"""Intervals of means over images."""

from __future__ import annotations

import numpy as np

from ssimbad.rng import numpy_generator


def resampled(count: int, resamples: int, seed: int) -> np.ndarray:
    """(R, N) indices of the images in each of R bootstrap resamples of N images."""
    return numpy_generator(seed, "bootstrap").integers(count, size=(resamples, count))


def bootstrap_interval(
    values: np.ndarray, resamples: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of (N,) values."""
    means = values[resampled(len(values), resamples, seed)].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
