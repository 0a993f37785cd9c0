"""Means over images and training seeds: intervals, and the correction of many tests."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ssimbad.rng import numpy_generator


@dataclass(frozen=True)
class Mean:
    """A mean with its uncertainty.

    Attributes:
        value: the mean.
        low, high: ends of its interval.
        p: two-sided, of its being 0.
    """

    value: float
    low: float
    high: float
    p: float


def resampled(count: int, resamples: int, seed: int) -> np.ndarray:
    """(R, N) indices of the images in each of R bootstrap resamples of N images."""
    return numpy_generator(seed, "bootstrap").integers(count, size=(resamples, count))


def bootstrap_means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means (R,) of two-level bootstrap resamples of (S, N) values.

    S training seeds are drawn with replacement, then N images. All seeds were tested on the same images, so a
    resample has the same images of each of its seeds.
    """
    count = len(values)
    seeds = numpy_generator(seed, "bootstrap", "seeds").integers(count, size=(resamples, count))
    images = resampled(values.shape[1], resamples, seed)
    return np.take_along_axis(values[seeds].mean(1), images, 1).mean(1)


def bootstrap(values: np.ndarray, resamples: int, seed: int, level: float = 0.95) -> Mean:
    """The mean of (S, N) values of S training seeds and N images.

    The interval is the bootstrap's percentiles. p is the normal distribution's, of the mean over the
    bootstrap's standard deviation: percentiles alone cannot tell a p below 1 / resamples.
    """
    means = bootstrap_means(values, resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    value, deviation = float(values.mean()), float(means.std())
    p = math.erfc(abs(value) / deviation / math.sqrt(2)) if deviation else float(value == 0)
    return Mean(value, float(low), float(high), p)


def bootstrap_interval(
    values: np.ndarray, resamples: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of (N,) values."""
    mean = bootstrap(values[None], resamples, seed, level)
    return mean.low, mean.high


def holm(p: list[float]) -> list[float]:
    """p values corrected by Holm's step-down method (1979), so that of all tests none is wrong but by the
    level's chance."""
    adjusted, least = [0.0] * len(p), 0.0
    for rank, k in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - rank) * p[k]))
        adjusted[k] = least
    return adjusted
