"""Plain regression: one call, the refined rows' losses, and as many network passes as refined SSIMBaD."""

import shutil
from pathlib import Path

import pytest
import torch

from ssimbad.layout import Results
from ssimbad.methods.regression.model import Regression
from ssimbad.noise.transforms import RATIONAL, Phi
from ssimbad.similarity import ssim
from ssimbad.training.checkpoint import read_header
from ssimbad.training.objective import objectives
from ssimbad.training.schema import RefineConfig
from tests.conftest import (
    SMALL_UNET,
    batch_of,
    draws_of,
    noise_of,
    phase_of,
    run_phase,
    tiny_values,
)


def make() -> Regression:
    torch.manual_seed(0)
    return Regression(None, SMALL_UNET, Phi(RATIONAL, 0.1, 0.002, 80.0))


def test_its_image_is_one_call_of_the_network_and_depends_on_no_noise() -> None:
    method, batch = make().eval(), batch_of(3)
    calls = []
    method.network.register_forward_pre_hook(lambda _, given: calls.append(given[0]))
    made = [
        method.colorize(batch.sketch, batch.reference, noise_of(names), None)
        for names in (batch.names, ["a", "b", "c"])
    ]
    assert len(calls) == 2
    assert torch.equal(calls[0], torch.cat([batch.sketch, batch.reference], 1))
    assert torch.equal(*made)
    assert made[0].shape == (3, 3, 16, 16)
    assert made[0].abs().max() <= 1


def test_every_parameter_is_trained() -> None:
    method, batch = make(), batch_of(2)
    method.rollout(batch, draws_of(batch), None).mean().backward()
    assert all(p.grad is not None for p in method.parameters())


def test_its_losses_are_those_of_the_refined_rows() -> None:
    phase = phase_of(tiny_values(), "train", "regression")
    refined = phase_of(tiny_values(), "refine", "ssimbad_refined").refine
    schedule = phase.train
    assert isinstance(schedule, RefineConfig)
    assert isinstance(refined, RefineConfig)
    assert (schedule.strategy, schedule.clamp) == (refined.strategy, refined.clamp)
    assert schedule.lr == tiny_values()["train"]["lr"]
    schedule = schedule.model_copy(update={"strategy": {"mse": 1.0, "ssim": 0.1}})
    method, batch = make(), batch_of(3)
    at, validation, networks = objectives(method, schedule, None, "auto", torch.device("cpu"))
    images, truth = method.rollout(batch, draws_of(batch), None), batch.target
    expected = {
        "mse": (((images + 1) / 2 - (truth + 1) / 2) ** 2).mean(),
        "ssim": 0.1 * (1 - ssim((images + 1) / 2, (truth + 1) / 2)).mean(),
    }
    for objective in (at(0.0), validation):
        torch.testing.assert_close(objective(batch, draws_of(batch)), expected)
    assert networks == []


@pytest.fixture
def controls(prepared: Results, tmp_path: Path) -> dict[str, dict]:
    """The checkpoints' headers of refined SSIMBaD and its two controls, by row."""
    results, headers = Results(tmp_path), {}
    for part in ("data", "phi"):
        shutil.copytree(prepared.root / part, results.root / part)
    values = tiny_values()
    values["refine"]["strategy"] = {"mse": 1.0, "ssim": 0.1}
    values["refine"] |= {"steps": 0, "epochs": 1, "warmup": 0, "checkpoint_every": 1}
    for phase, row in (
        *(("train", "regression"), ("train", "ssimbad")),
        *(("refine", "ssimbad_refined"), ("refine", "ssimbad_longer")),
    ):
        run_phase(values, phase, results, row)
        headers[row] = read_header(results.checkpoint(row))
    return headers


def test_the_controls_take_as_many_passes_as_refined_ssimbad(controls: dict[str, dict]) -> None:
    passes = {
        row: sum(stage["network_passes"] for stage in header["stages"])
        for row, header in controls.items()
    }
    # 8 steps of 4 images, and one pass over 24 images through two steps.
    assert passes.pop("ssimbad") == 8 * 4
    assert set(passes.values()) == {8 * 4 + 24 * 2}
    longer = controls["ssimbad_longer"]
    assert "refinement" not in longer
    assert longer["pretrained"] == controls["ssimbad_refined"]["pretrained"]
    (_, continued) = longer["stages"]
    assert (continued["stage"], continued["lr"]) == ("refine", tiny_values()["train"]["lr"])
