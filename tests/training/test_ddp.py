"""Two real processes on this machine's CPU, against one process with the same whole batch."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from ssimbad.distributed import SINGLE, launch
from ssimbad.layout import Results
from ssimbad.phases import infer, train
from tests.conftest import (
    REPOSITORY,
    config_file,
    phase_of,
    run_cli,
    saved_state,
    tiny_values,
)
from tests.training import shared_run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched on Linux")


def two(prepared: Results, folder: Path, *what: str) -> None:
    # Where the module is: an earlier test may have left this process elsewhere.
    os.chdir(REPOSITORY)
    command = [sys.executable, "-m", "tests.training.shared_run"]
    launch([*command, str(prepared.data), str(folder), json.dumps(what)], devices=2, nodes=1)


def gradients(folder: Path, what: str, rank: int = 0) -> dict[str, torch.Tensor]:
    return torch.load(folder / f"{what}-gradients-{rank}.pt", weights_only=True)


def history(folder: Path, what: str, rank: int = 0) -> dict[str, list[float]]:
    return json.loads((folder / f"{what}-{rank}.json").read_text())["history"]


@pytest.fixture(scope="module")
def both(prepared: Results, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What one and what two processes leave of the same trainings."""
    one, shared = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    for what in ("train", "refine"):
        shared_run.run(prepared.data, one, what, SINGLE)
    two(prepared, shared, "train", "refine", "scft")
    return one, shared


@pytest.mark.parametrize("what", ["train", "refine"])
def test_gradients_are_those_of_the_whole_batch(both: tuple[Path, Path], what: str) -> None:
    one, shared = (gradients(folder, what) for folder in both)
    assert one.keys() == shared.keys()
    largest = max(g.abs().max().item() for g in one.values())
    difference = max((one[k] - shared[k]).abs().max().item() for k in one)
    assert largest > 0
    assert difference <= 1e-5 * largest
    print(f"{what}: gradients up to {largest:.3g}, differ by at most {difference:.3g}")


@pytest.mark.parametrize("what", ["train", "refine"])
def test_a_short_run_is_that_of_one_process(both: tuple[Path, Path], what: str) -> None:
    one, shared = (torch.load(folder / f"{what}.pt", weights_only=True) for folder in both)
    difference = max((one[k] - shared[k]).abs().max().item() for k in one)
    assert difference <= 1e-3
    print(f"{what}: weights differ by at most {difference:.3g}")
    alone, together = (history(folder, what) for folder in both)
    assert together == history(both[1], what, 1)  # both processes know the same
    for name, values in alone.items():
        assert together[name] == pytest.approx(values, rel=1e-4), name
    kept = [sorted(p.name for p in (folder / what).glob("*/best-*")) for folder in both]
    assert kept[0] == kept[1] != []


def test_a_gan_with_batch_normalisation_trains_together(both: tuple[Path, Path]) -> None:
    first, second = (gradients(both[1], "scft", rank) for rank in range(2))
    assert {k.split(".")[0] for k in first} == {"generator", "discriminator"}
    assert all(torch.equal(first[k], second[k]) for k in first)
    told = [history(both[1], "scft", rank) for rank in range(2)]
    assert told[0] == told[1]
    assert np.isfinite(np.array(list(told[0].values()))).all()


def test_a_loss_that_is_not_finite_in_one_process_ends_all_with_one_line(
    prepared: Results, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        two(prepared, tmp_path, "poisoned")
    assert ended.value.code == 1
    lines = [line for line in re.split(r"[\r\n]+", capfd.readouterr().err) if "|" not in line]
    assert [line for line in lines if line] == [
        "ssimbad: train: the loss is not finite at step 2; the last good state is kept"
    ]


def start(results: Results, values: dict) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ssimbad", "train", "ssimbad"]
    command += ["--config", config_file(values, results)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def wait_for_state(process: subprocess.Popen[bytes], results: Results, before: int = 0) -> int:
    """Until the saved state is another than the one of that time; its time."""
    deadline = time.monotonic() + 120
    while not (state := saved_state(results, "ssimbad")) or state.stat().st_mtime_ns == before:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    return state.stat().st_mtime_ns


def second_process(process: subprocess.Popen[bytes]) -> psutil.Process:
    children = psutil.Process(process.pid).children()
    (found,) = [child for child in children if child.environ().get("RANK") == "1"]
    return found


@pytest.mark.kill
def test_a_stopped_and_killed_process_ends_all_and_the_rerun_goes_on(
    prepared: Results, tmp_path: Path
) -> None:
    values = tiny_values() | {"devices": 2}
    values["train"] |= {"steps": 60, "checkpoint_every": 6}
    whole, ended = Results(tmp_path / "whole"), Results(tmp_path / "ended")
    for results in (whole, ended):
        results.root.mkdir()
        for part in ("data", "phi"):
            (results.root / part).symlink_to(prepared.root / part)
    assert start(whole, values).wait() == 0

    process = start(ended, values)
    wait_for_state(process, ended)
    second_process(process).send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143
    (step,) = re.findall(
        rb"train ssimbad: stopped by SIGTERM after step (\d+), which is saved", told
    )
    state = torch.load(saved_state(ended, "ssimbad"), weights_only=True)
    assert state["global_step"] == int(step)

    saved = saved_state(ended, "ssimbad").stat().st_mtime_ns
    process = start(ended, values)
    wait_for_state(process, ended, saved)
    others = psutil.Process(process.pid).children()
    second_process(process).kill()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"Traceback" not in told
    lines = [line for line in told.decode().splitlines() if line.startswith("ssimbad: ")]
    assert lines == [
        "ssimbad: process 1 of 2 was ended by SIGKILL, and the others with it:"
        " the same command goes on from what is saved"
    ]
    assert not any(child.is_running() for child in others)
    assert not ended.checkpoint("ssimbad").exists()

    assert start(ended, values).wait() == 0
    summary = json.loads(ended.history("ssimbad").with_suffix(".json").read_text())
    assert (summary["resumed"], summary["processes"]) == (True, 2)
    assert ended.checkpoint("ssimbad").read_bytes() == whole.checkpoint("ssimbad").read_bytes()
    assert ended.history("ssimbad").read_bytes() == whole.history("ssimbad").read_bytes()


def test_images_of_two_processes_are_those_of_one(prepared: Results, tmp_path: Path) -> None:
    values = tiny_values() | {"devices": 2}
    values["sweep"]["choose_by"] = "config"
    results = Results(tmp_path)
    for part in ("data", "phi"):
        (tmp_path / part).symlink_to(prepared.root / part)
    training = phase_of(values, "train", "ssimbad")
    training.devices = (
        1  # of a config that says 2, as the checkpoint notes: one process is quicker here
    )
    train.run(training, results)
    done = run_cli("infer", "ssimbad", "--config", config_file(values, results))
    assert done.returncode == 0, done.stderr
    shared = {path: np.array(Image.open(path), int) for path in images(results)}
    record = json.loads((results.images("ssimbad") / "infer.json").read_text())
    phase = phase_of(values, "infer", "ssimbad")
    phase.devices = 1
    infer.run(phase, results)
    assert shared.keys() == set(images(results))
    assert len(shared) == 2 * 6
    for path, image in shared.items():
        assert np.abs(image - np.array(Image.open(path), int)).max() <= 1, path
    alone = json.loads((results.images("ssimbad") / "infer.json").read_text())
    assert (record["processes"], alone["processes"]) == (2, 1)
    assert record["network_calls"] == alone["network_calls"]


def images(results: Results) -> list[Path]:
    return sorted(results.images("ssimbad").glob("*/*.png"))
