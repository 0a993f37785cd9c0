"""Controls take as many network passes as a refined row, in whatever unit the config counts."""

import pytest

from ssimbad.training.schema import learning_rate
from tests.conftest import phase_of, tiny_values

IMAGES = 24
STEPS = {"steps": 12, "epochs": 0, "images": 0, "warmup": 0, "checkpoint_every": 2}
EPOCHS = {"steps": 0, "epochs": 2, "images": 0, "warmup": 1, "checkpoint_every": 1}
SEEN = {"steps": 0, "epochs": 0, "images": 48, "warmup": 8, "checkpoint_every": 8}
"""48 images each, in batches of 4."""


@pytest.mark.parametrize("train", [STEPS, EPOCHS, SEEN])
@pytest.mark.parametrize("refine", [STEPS, EPOCHS, SEEN])
@pytest.mark.parametrize(("single", "passes"), [(0.0, 48 * 3), (0.5, 6 * 4 + 6 * 4 * 3)])
def test_passes_are_counted_from_either_unit(
    train: dict, refine: dict, single: float, passes: int
) -> None:
    values = tiny_values()
    values["train"] |= train
    values["refine"] |= refine
    values["ssimbad"]["refinement"] |= {"steps": 3, "single_step": single}
    regression = phase_of(values, "train", "regression").schedule(IMAGES)
    longer = phase_of(values, "refine", "ssimbad_longer").schedule(IMAGES)
    assert regression.steps * regression.batch == 48 + passes
    assert longer.steps * longer.batch == passes
    assert longer.batch == values["train"]["batch"]
    # A rate that falls to its lowest at the end of its own length.
    for schedule in (regression, longer):
        assert learning_rate(schedule, schedule.steps) == pytest.approx(schedule.min_lr)
    assert phase_of(values, "train", "ssimbad").schedule(IMAGES).steps == 12


def test_a_batch_that_does_not_divide_them_takes_no_fewer() -> None:
    values = tiny_values()
    values["train"] |= STEPS | {"batch": 5}
    values["refine"] |= STEPS
    longer = phase_of(values, "refine", "ssimbad_longer").schedule(IMAGES)
    assert (longer.batch, longer.steps) == (5, 20)  # 96 passes through two steps


def test_a_change_of_refinement_changes_what_its_controls_read() -> None:
    values = tiny_values()
    before = [phase_of(values, "train", row).digest for row in ("regression", "ssimbad")]
    values["ssimbad"]["refinement"]["steps"] = 5
    # What changes no number of passes does not.
    values["refine"]["lr"] = 1.0
    values["train"]["keep"] += 1
    longer = phase_of(values, "refine", "ssimbad_longer")
    values["refine"]["lr"] = 2.0
    assert phase_of(values, "refine", "ssimbad_longer").digest == longer.digest
    values["train"]["keep"] -= 1
    after = [phase_of(values, "train", row).digest for row in ("regression", "ssimbad")]
    assert before[0] != after[0]
    assert before[1] == after[1]
