"""``ssimbad plan``: what it counts follows the config, and what it refuses is one line."""

import math
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks.machine import peak_mib

from ssimbad.config.files import load
from ssimbad.config.schema import Config, validate
from ssimbad.counting import Cost, Operation, make_fake, measured
from ssimbad.errors import UserError
from ssimbad.methods import Run
from ssimbad.plan.gpus import GPUS
from ssimbad.plan.run import plan
from ssimbad.plan.workload import Workload, make_stepper
from tests.conftest import run_cli, tiny_values

PAPER = "data: {source: folder, size: 256, folder: {path: not-there}}\n" + (
    "unet: {width: 64, blocks: 2, attention: [], groups: 32}\nrows: [ssimbad]\n"
    "sweep: {rows: []}\noracle: {rows: []}\n"
    "train: {batch: 32, optimizer: adamw, precision: 16-mixed}\n"
)
FEW = {"unet": {"multipliers": [1], "blocks": 1, "attention": []}}
"""Few operations: counting takes as long as there are many, however large they are."""


def few_values() -> dict:
    """The tiny config's values with few operations."""
    values = tiny_values()
    return values | {"unet": values["unet"] | FEW["unet"]}


def counts_of(config: Config, *given: int) -> dict[str, int]:
    """Images of each split of the config's source."""
    return config.data.make_source(config.seed).counts(list(given))


def step_cost(stage: str, row: str, batch: int, **changes: bool) -> Cost:
    values = tiny_values()
    values["refine"]["strategy"] = {"mse": 1.0}  # a loss network would outweigh so small a U-Net
    values["ssimbad"]["refinement"] |= {"checkpointing": False} | changes
    with make_fake():
        stepper = make_stepper(validate(values), stage, Run(row), batch)
    return measured(stepper.tensors(), stepper.step)


def test_twice_the_batch_is_twice_the_convolutions() -> None:
    one, two = (step_cost("train", "ssimbad", batch).flops for batch in (2, 4))
    assert two["convolution"] == 2 * one["convolution"] > 0
    # Muon's products are of weights alone.
    assert one["matmul"] < two["matmul"] < 2 * one["matmul"]


def test_checkpointing_costs_operations_and_saves_memory() -> None:
    plain = step_cost("refine", "ssimbad_refined", 4)
    saving = step_cost("refine", "ssimbad_refined", 4, checkpointing=True)
    assert saving.total > 1.2 * plain.total
    assert saving.peak < 0.8 * plain.peak


def test_a_mixed_precision_step_needs_the_memory_and_time_that_it_took_on_a_gpu() -> None:
    loaded = load([Path("config/paper.yaml")])
    with make_fake():
        stepper = make_stepper(loaded, "train", Run("ssimbad"), 32)
    cost = measured(stepper.tensors(), stepper.step)
    # Of docs/gpu.md, on an H200.
    assert cost.peak / 2**20 == pytest.approx(36_536, rel=0.1)
    assert 3600 * GPUS["H200"].hours(cost, 0.3) == pytest.approx(0.25, rel=0.25)


def test_many_unrolled_steps_are_planned_as_if_all_were_counted() -> None:
    values = few_values()
    values["rows"], values["sweep"]["rows"], values["oracle"]["rows"] = ["ssimbad_refined"], [], []
    values["refine"] |= {"precision": "16-mixed", "strategy": {"mse": 1.0}}
    values["ssimbad"]["refinement"] |= {"steps": 7, "single_step": 0.75}
    loaded = validate(values)
    lines = Workload(loaded, counts_of(loaded), 1).lines()
    planned = next(line for line in lines if line.phase == "refine")
    with make_fake():
        whole, single = (
            make_stepper(loaded, "refine", Run("ssimbad_refined"), loaded.refine.batch, steps)
            for steps in (0, 1)
        )
    works = [(whole, whole.step), (single, single.step), (whole, whole.validate)]
    counted = [measured(stepper.tensors(), work) for stepper, work in works]
    assert [cost.total for cost, _ in planned.passes] == [cost.total for cost in counted]
    assert [times for _, times in planned.passes[:2]] == [1, 3]
    assert counted[1].total < counted[0].total / 4
    peaks = [cost.peak for cost, _ in planned.passes]
    assert peaks == pytest.approx([cost.peak for cost in counted], rel=1e-3)


def test_every_phase_of_every_row_has_a_line() -> None:
    rows = ["reference", "fill", "regression", "scft", "ssimbad_longer", "ssimbad_refined"]
    given = few_values() | {"seeds": [1, 2], "rows": rows}
    given["sweep"]["rows"] = ["ssimbad"]
    values = validate(given)
    lines = list(Workload(values, counts_of(values), 1).lines())
    found = {(line.phase, line.row) for line in lines}
    assert {(p, r) for p in ("infer", "evaluate") for r in values.rows} <= found
    assert ("refine", "ssimbad_refined") in found
    assert ("train", "scft") in found
    # Both controls take as many network passes as refined SSIMBaD: 8 steps of 4, and 4 of 4 unrolled twice.
    steps = {(line.phase, line.row): line.passes[0][1] for line in lines}
    assert steps["train", "regression"] == 8 + 4 * 2
    assert steps["refine", "ssimbad_longer"] == 4 * 2
    for line in lines:
        copies = (line.phase, line.row) in (("infer", "reference"), ("infer", "fill"))
        assert (line.total.total == 0) == copies
        assert line.runs == (2 if line.phase in ("train", "refine") else line.runs)


def test_epochs_are_steps_and_a_resampled_row_is_not_trained() -> None:
    values = few_values()
    values["rows"] = ["ssimbad", "ssimbad_few_steps"]
    values["sweep"]["rows"] = values["oracle"]["rows"] = []
    values["train"] |= {"steps": 0, "epochs": 3, "warmup": 0, "checkpoint_every": 1}
    loaded = validate(values)
    counts = counts_of(loaded)
    lines = {(x.phase, x.row): x for x in Workload(loaded, counts, 1).lines()}
    assert lines["train", "ssimbad"].passes[0][1] == -(-3 * counts["train"] // loaded.train.batch)
    assert ("infer", "ssimbad_few_steps") in lines
    assert not {("train", "ssimbad_few_steps"), ("refine", "ssimbad_few_steps")} & set(lines)


def test_gpus_are_slower_where_their_peak_is_lower() -> None:
    products = (
        Operation("convolution", 156 * 10**12 * 3600, 0),
        Operation("matmul", 195 * 10**11 * 3600, 0),
    )
    cost = Cost(Counter(products))
    assert GPUS["A100"].hours(cost, 1.0) == pytest.approx(2)
    assert GPUS["A100"].hours(cost, 0.5) == pytest.approx(4)
    assert GPUS["H100"].hours(cost, 1.0) < 2
    assert not GPUS["RTX4090"].fits(24 * 10**9)


def test_the_papers_size_is_planned_without_its_memory(tmp_path: Path) -> None:
    overlay = tmp_path / "paper.yaml"
    overlay.write_text(PAPER)
    command = [sys.executable, "-m", "ssimbad", "plan", "--config", str(overlay)]
    command += ["--images", "31696", "579", "--gpu", "A100"]
    told, most = tmp_path / "told", 0.0
    with told.open("w") as stream, subprocess.Popen(command, stdout=stream) as process:
        while process.poll() is None:
            most = max(most, peak_mib(process.pid))
            time.sleep(0.02)
    assert process.returncode == 0
    line = next(x for x in told.read_text().splitlines() if re.match(r"train +ssimbad ", x))
    assert "52,301,251" in line
    assert 0 < most < 1.5 * 2**10


def test_the_command_plans_the_rows_asked_for(tmp_path: Path) -> None:
    overlay = tmp_path / "few.yaml"
    rows = ["animediffusion_finetuned", "edm_refined"]
    losses = {"refine": {"strategy": {"mse": 1.0, "lpips-vgg": 0.0}}, "rows": rows}
    overlay.write_text(yaml.safe_dump(FEW | losses))
    given = ["--config", "config/tiny.yaml", "--config", str(overlay)]
    done = run_cli("plan", *given, "--gpu", "A100")
    assert done.returncode == 0, done.stderr
    assert "A100 min" in done.stdout
    assert re.findall(r"^infer +(\w+) ", done.stdout, re.M) == rows


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"utilisation": 0}, "--utilisation 0: must be above 0 and at most 1"),
        ({"utilisation": math.nan}, "--utilisation nan: must be above 0 and at most 1"),
        ({"gpus": 0}, "--gpus 0: must be at least 1"),
        ({"gpu_names": ["abacus"]}, "--gpu abacus: not known: GPUs are A100, H100, H200, RTX4090"),
        ({"images": [100]}, "--images: data.source is faces, whose numbers the config has"),
    ],
)
def test_a_mistake_is_one_line(changes: dict[str, Any], told: str) -> None:
    given = {"images": [], "gpu_names": [], "gpus": 1, "utilisation": 0.3} | changes
    with pytest.raises(UserError) as raised:
        plan(load([]), **given)
    assert str(raised.value) == told


def test_a_folder_that_is_not_there_needs_numbers(tmp_path: Path) -> None:
    overlay = tmp_path / "folder.yaml"
    overlay.write_text("data: {source: folder, folder: {path: not-there}}\n")
    with pytest.raises(UserError, match=r"^data\.folder\.path: not-there: no such folder"):
        plan(load([overlay]), [], [], 1, 0.3)
    expected = {"data": {"folder": {"expect": {"train": 100, "test": 7}}}}
    told = {"train": 95, "validation": 5, "test": 7}
    assert counts_of(load([overlay], expected)) == told
    loaded = load([overlay])
    assert counts_of(loaded, 200) == {"train": 171, "validation": 9, "test": 20}
    assert counts_of(loaded, 100, 7) == {"train": 95, "validation": 5, "test": 7}
