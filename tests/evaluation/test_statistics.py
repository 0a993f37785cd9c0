"""Two-level bootstrap and Holm's correction, against closed forms and by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from ssimbad.evaluation.compare import last_fall
from ssimbad.evaluation.statistics import bootstrap, bootstrap_means, holm


def test_of_one_seed_only_images_are_resampled() -> None:
    values = np.random.default_rng(0).normal(5, 2, (1, 400))
    mean = bootstrap(values, 4000, seed=1)
    half = 1.96 * values.std() / 20
    assert mean.value == pytest.approx(values.mean())
    assert (mean.low, mean.high) == pytest.approx((mean.value - half, mean.value + half), abs=0.02)


@pytest.mark.parametrize(("of_seeds", "of_images"), [(1.0, 0.0), (0.0, 1.0), (0.5, 2.0)])
def test_seeds_and_images_both_enter(of_seeds: float, of_images: float) -> None:
    generator = np.random.default_rng(2)
    seeds, images = generator.normal(size=(30, 1)), generator.normal(size=(1, 50))
    values = of_seeds * seeds + of_images * images
    means = bootstrap_means(values, 20000, seed=3)
    # Of additive effects, the variances of two plain bootstraps add.
    expected = of_seeds**2 * seeds.var() / 30 + of_images**2 * images.var() / 50
    assert means.var() == pytest.approx(expected, rel=0.05)
    assert means.mean() == pytest.approx(values.mean(), abs=0.01)


def test_all_seeds_of_a_resample_have_the_same_images() -> None:
    # What one seed gains from image to image the other loses, so with both drawn every image counts alike.
    ramp = np.arange(40.0)
    means = bootstrap_means(np.stack([ramp, -ramp]), 2000, seed=0)
    both = np.abs(means) < 1e-12
    assert both.mean() == pytest.approx(0.5, abs=0.05)  # the chance of drawing each seed once
    assert np.abs(means[~both]).min() > 5


def test_p_is_the_normal_tests_of_many_values() -> None:
    values = np.random.default_rng(4).normal(0.2, 1, (1, 200))
    z = values.mean() / (values.std() / math.sqrt(200))
    assert bootstrap(values, 20000, seed=0).p == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.2)
    same = bootstrap(np.zeros((1, 9)), 100, seed=0)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert bootstrap(np.ones((2, 9)), 100, seed=0).p == 0


def test_p_is_even_where_nothing_differs() -> None:
    generator = np.random.default_rng(5)
    p = [bootstrap(generator.normal(size=(1, 60)), 300, seed=k).p for k in range(400)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.035)
    assert np.mean(p) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([], []),
        ([0.03], [0.03]),
        # Sorted 0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1, and never below the one before.
        ([0.03, 0.01, 0.04, 0.02], [0.06, 0.04, 0.06, 0.06]),
        ([0.5, 0.6, 0.001], [1.0, 1.0, 0.003]),
        ([0.01, 0.01], [0.02, 0.02]),
    ],
)
def test_holm_by_hand(p: list[float], expected: list[float]) -> None:
    assert holm(p) == pytest.approx(expected)


def test_the_last_fall_is_of_the_last_interval(tmp_path: Path) -> None:
    first, second, none = (tmp_path / f"{k}.csv" for k in range(3))
    first.write_text("step,lr,validation\n1,0.1,9.0\n2,0.1,2.0\n3,0.1,1.5\n")
    second.write_text("step,lr,validation\n1,0.1,2.0\n2,0.1,2.1\n")
    none.write_text("step,lr\n1,0.1\n2,0.1\n")
    assert last_fall([first]) == pytest.approx(0.25)
    assert last_fall([first, second]) == pytest.approx((0.25 - 0.05) / 2)
    assert last_fall([none]) is None
