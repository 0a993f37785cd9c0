"""The workflow killed at many moments and started again: it ends, with the numbers of a run left alone."""

import csv
import fcntl
import itertools
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from ssimbad.evaluation.metrics import METRICS
from ssimbad.layout import Results
from tests.workflow.conftest import planned, snakemake, snakemake_command

KILLS = int(os.environ.get("KILLS", "5"))
"""How many times the run is interrupted."""


def jobs_of(process: psutil.Process) -> list[psutil.Process]:
    """The ssimbad commands a Snakemake runs."""
    found = []
    for child in process.children(recursive=True):
        try:
            command = child.cmdline()[:2]
        except psutil.Error:
            continue
        if any(Path(part).name == "ssimbad" for part in command):
            found.append(child)
    return found


def interrupt(how: str, process: subprocess.Popen[bytes]) -> None:
    if how == "kill the tree":
        os.killpg(process.pid, signal.SIGKILL)
    elif how == "kill snakemake":
        process.kill()
    elif how == "kill the job":
        for job in jobs_of(psutil.Process(process.pid)):
            job.kill()
    elif how == "terminate the tree":
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.terminate()


WAYS = (
    *("kill the tree", "kill snakemake", "kill the job"),
    *("terminate the tree", "terminate snakemake"),
)


def lines(root: Path) -> dict[tuple[str, ...], dict[str, str]]:
    with (root / "table.csv").open() as stream:
        keys = ("method", "setting", "metric", "seed")
        return {tuple(line[k] for k in keys): line for line in csv.DictReader(stream)}


def test_a_run_interrupted_again_and_again_ends_with_the_same_numbers(
    finished: Results, tmp_path: Path
) -> None:
    again = tmp_path / "results"
    overlay = "rows: [ssimbad_refined]\nseeds: [42, 7]\nsweep: {rows: []}\noracle: {rows: []}\n"
    delays = random.Random(0)
    survived = 0
    for how in itertools.islice(itertools.cycle(WAYS), KILLS):
        process = subprocess.Popen(
            snakemake_command(again, overlay=overlay),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and not jobs_of(psutil.Process(process.pid)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(delays.uniform(0, 8))
        if process.poll() is None:
            interrupt(how, process)
            # Jobs that are left leave by themselves, while the next run begins.
            survived += process.wait(timeout=120) != 0
    assert survived > KILLS / 2
    done = snakemake(again, overlay=overlay)
    assert done.returncode == 0, done.stderr
    assert planned(snakemake(again, "-n", overlay=overlay)) == set()

    whole, found = lines(finished.root), lines(again)
    assert len(found) == 3 * 3 * len(METRICS)
    for (method, setting, metric, seed), line in found.items():
        if seed == "42":
            assert line["value"] == whole[method, setting, metric, ""]["value"]
        elif seed == "" and line["value"]:
            values = [float(found[method, setting, metric, s]["value"]) for s in ("42", "7")]
            assert values[0] != values[1] or metric != "psnr"  # others may be 0 for both
            assert float(line["value"]) == pytest.approx(np.mean(values), abs=2e-6)
            assert float(line["spread"]) == pytest.approx(np.std(values, ddof=1), abs=2e-6)
    own = Results(again)
    for row in ("ssimbad", "ssimbad_refined"):
        assert own.checkpoint(row).read_bytes() == finished.checkpoint(row).read_bytes()
        assert own.history(row).read_bytes() == finished.history(row).read_bytes()
    left = [p for p in again.rglob("*") if p.name.endswith(".part") or p.name == "last.ckpt"]
    assert left == []


def test_a_run_beside_a_running_one_is_one_line(finished: Results) -> None:
    with (finished.root / "work/owner").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        done = snakemake(finished.root, "--forcerun", "report")
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if line.startswith("snakemake: ")]
    (line,) = told
    assert line.startswith("snakemake: results: another run is at work here: ")
    assert "Traceback" not in done.stderr
    assert (finished.root / "table.csv").exists()
