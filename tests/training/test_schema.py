"""Schedules: epochs counted in steps, and the learning rate in closed form."""

import math
from itertools import pairwise

import pytest

from ssimbad.training.schema import Schedule, in_steps, learning_rate

PUBLISHED = {
    "steps": 0,
    "epochs": 300,
    "images": 0,
    "batch": 32,
    "lr": 1e-4,
    "min_lr": 1e-8,
    "warmup": 1,
    "schedule": "cosine",
    "weight_decay": 0.01,
    "clip": 1.0,
    "clip_scaled": False,
    "ema": 0.0,
    "precision": "32-true",
    "checkpoint_every": 1,
    "keep": 3,
    "choose_by": "validation",
}
IMAGES = 3200  # a hundred steps an epoch


def schedule(**changes: object) -> Schedule:
    return Schedule.model_validate(PUBLISHED | changes)


def test_epochs_become_steps() -> None:
    counted = in_steps(schedule(), IMAGES)
    assert (counted.steps, counted.warmup, counted.checkpoint_every) == (30_000, 100, 100)
    # The published set: 990.5 batches an epoch, which run over its end.
    counted = in_steps(schedule(), 31_696)
    assert (counted.steps, counted.warmup) == (300 * 31_696 / 32, 991)
    plain = schedule(steps=20, epochs=0, warmup=4)
    assert in_steps(plain, IMAGES) == plain


def test_images_seen_become_steps_of_any_batch() -> None:
    for batch, expected in ((8, (1250, 50, 250)), (64, (157, 7, 32))):
        config = schedule(epochs=0, images=10_000, warmup=400, checkpoint_every=2000, batch=batch)
        counted = in_steps(config, IMAGES)
        assert (counted.steps, counted.warmup, counted.checkpoint_every) == expected


def test_learning_rate_warms_up_once_and_falls_along_one_cosine() -> None:
    config = schedule(steps=20, epochs=0, warmup=4, lr=0.1, min_lr=0.001)
    rates = [learning_rate(config, step) for step in range(21)]
    assert rates[:5] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert rates[12] == pytest.approx((0.1 + 0.001) / 2)
    assert rates[20] == pytest.approx(0.001)
    assert all(a > b for a, b in pairwise(rates[4:]))


def test_learning_rate_falls_in_a_straight_line() -> None:
    config = schedule(steps=20, epochs=0, warmup=4, lr=0.1, min_lr=0.001, schedule="linear")
    rates = [learning_rate(config, step) for step in (3, 4, 8, 12, 16, 20)]
    assert rates == pytest.approx([0.1, 0.1, 0.07525, 0.0505, 0.02575, 0.001])


def test_counted_once_300_epochs_are_one_cosine() -> None:
    config = in_steps(schedule(), IMAGES)
    rates = [learning_rate(config, epoch * 100) for epoch in range(1, 301)]
    assert all(a > b for a, b in pairwise(rates))
    assert learning_rate(config, 30_000) == pytest.approx(1e-8)
    expected = 1e-8 + (1e-4 - 1e-8) * (1 + math.cos(math.pi * 149 / 299)) / 2
    assert rates[149] == pytest.approx(expected)


def test_counted_twice_the_rate_is_lowest_at_epoch_150_and_full_again_at_300() -> None:
    config = in_steps(schedule(schedule="cosine-counted-twice"), IMAGES)
    assert config.schedule == "cosine-counted-twice"
    rates = [learning_rate(config, step) for step in range(config.steps)]
    # Within the warm-up epoch nothing is counted twice yet.
    assert rates[:101:50] == pytest.approx([0.0, 0.5e-4, rates[100]])
    assert rates.index(min(rates[100:])) // 100 in (149, 150)
    assert rates[15_000] == pytest.approx(1e-8)
    assert rates[29_900] > 0.999e-4
    for epoch in (1, 40, 150, 222, 299):
        for k in (0, 37):
            position = epoch + epoch + k / 100
            cosine = (1 + math.cos(math.pi * (position - 1) / 299)) / 2
            expected = 1e-8 + (1e-4 - 1e-8) * cosine
            assert rates[epoch * 100 + k] == pytest.approx(expected, rel=1e-6)
