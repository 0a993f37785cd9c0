"""`ssimbad run` on a machine without Snakemake, and what it left taken over by Snakemake on another."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssimbad.layout import Results
from tests.workflow.conftest import enter, planned_jobs

pytestmark = pytest.mark.workflow

CONFIG = """
extends: config/tiny.yaml
results: made
rows: [reference, regression, ssimbad, ssimbad_refined]
oracle: {rows: []}
sweep: {rows: [ssimbad]}
"""


def ssimbad(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ssimbad", *arguments, "--config", "few.yaml"]
    return subprocess.run(command, capture_output=True, text=True)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What is said of each job."""
    lines = [line.partition(" ")[2] for line in done.stdout.splitlines()]
    return dict(line.rsplit(": ", 1) for line in lines)


def test_what_one_machine_made_is_finished_on_another_and_nothing_is_made_anew(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        shutil.copytree(
            project, folder, ignore=shutil.ignore_patterns("results*", ".snakemake", "made")
        )
        (folder / "few.yaml").write_text(CONFIG)
    enter(one, monkeypatch)
    stopped = ssimbad("run", "--minutes", "0.03")
    assert stopped.returncode == 143, stopped.stderr
    done = ssimbad("run")
    assert done.returncode == 0, done.stderr
    jobs = list(told(done))
    assert jobs.index("infer regression") < jobs.index("train ssimbad")  # row after row
    assert jobs.index("sweep ssimbad") < jobs.index("infer ssimbad")
    again = ssimbad("run")
    assert set(told(again).values()) == {"is there"}

    # The store is large and can be made anywhere; the rest is brought.
    shutil.copytree(one / "made", other / "made", ignore=shutil.ignore_patterns("data", "work"))
    enter(other, monkeypatch)
    assert ssimbad("data").returncode == 0
    adopted = ssimbad("adopt")
    assert (adopted.returncode, adopted.stdout) == (0, f"{len(jobs)} of {len(jobs)} jobs adopted\n")
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "2", "--configfile", "few.yaml"]
    plan = planned_jobs(subprocess.run(command, capture_output=True, text=True))
    assert {rule for rule, _ in plan} == {"evaluate", "report"}

    # What has been measured meanwhile stays so.
    measured = [*command[:3], "made/metrics/reference/same.json", *command[3:]]
    measured.remove("-n")
    assert subprocess.run(measured).returncode == 0
    assert ssimbad("adopt").returncode == 0
    plan = planned_jobs(subprocess.run(command, capture_output=True, text=True))
    assert ("evaluate", "ssimbad") in plan
    assert ("evaluate", "reference") not in plan

    # What another config would make is not taken.
    edited = CONFIG + "refine: {muon_lr: 0.01}\n"
    (other / "few.yaml").write_text(edited)
    # Regression is trained for as many passes, which the refinement's rate does not change.
    assert ssimbad("adopt").stdout == f"{len(jobs) - 2} of {len(jobs)} jobs adopted\n"
    plan = planned_jobs(subprocess.run(command, capture_output=True, text=True))
    assert {("refine", "ssimbad_refined"), ("infer", "ssimbad_refined")} <= plan
    assert not {rule for rule, _ in plan} & {"data", "phi", "sweep"}
    assert ("train", "ssimbad") not in plan


def test_a_job_that_fails_is_told_and_the_others_are_done(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(
        project, tmp_path / "p", ignore=shutil.ignore_patterns("results*", ".snakemake")
    )
    enter(tmp_path / "p", monkeypatch)
    text = CONFIG.replace("ssimbad, ssimbad_refined]", "scft, fill]").replace("[ssimbad]", "[]")
    Path("few.yaml").write_text(text + "weights: official\nrefine: {strategy: {lpips-vgg: 0}}\n")
    monkeypatch.setenv("SSIMBAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody listens
    done = ssimbad("run")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()[-1:]
    assert line.startswith("ssimbad: train scft: ")
    results = Results(Path("made"))
    assert set(json.loads(results.conducted.read_text())) == {
        *("data", "phi", "train regression"),
        *(f"infer {row}" for row in ("reference", "regression", "fill")),
    }
