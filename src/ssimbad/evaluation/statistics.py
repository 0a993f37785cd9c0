"""Intervals of means over images."""

from __future__ import annotations

import numpy as np

from ssimbad.rng import numpy_generator


def bootstrap_interval(
    values: np.ndarray, resamples: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of (N,) values."""
    draws = numpy_generator(seed, "bootstrap").integers(len(values), size=(resamples, len(values)))
    means = values[draws].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
