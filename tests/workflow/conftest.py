"""The real workflow with config/tiny.yaml, run once for all tests that read or copy what it leaves."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssimbad.layout import Results
from tests.conftest import REPOSITORY

ROWS = (
    *("reference", "scft", "animediffusion", "animediffusion_finetuned"),
    *("edm", "edm_refined", "ssimbad", "ssimbad_refined"),
)


def copy_project(folder: Path) -> None:
    """Copy what the workflow consists of into ``folder``."""
    for name in ("Snakefile", "config.yaml", "environment.yml"):
        shutil.copy2(REPOSITORY / name, folder / name)
    for name in ("config", "workflow", "profiles", "src"):
        shutil.copytree(
            REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the workflow consists of, so that a test may edit it; tests run inside it."""
    folder = tmp_path_factory.mktemp("copy")
    copy_project(folder)
    return folder


@pytest.fixture(autouse=True)
def _in_copy(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy)
    monkeypatch.setenv("PYTHONPATH", str(copy / "src"))


def snakemake_command(results: Path, *arguments: str, overlay: str = "") -> list[str]:
    """The command that runs the workflow into ``results`` with the tiny config and an overlay on it."""
    extra = results.with_suffix(".yaml")
    extra.write_text(f"results: {results}\n{overlay}")
    cores = os.environ.get("CORES", "all")
    command = [sys.executable, "-m", "snakemake", "--cores", cores, "--nocolor"]
    # At this size most of a job is its start: as many at a time as there are cores.
    command += ["--set-threads", "train=1", "refine=1"]
    return [*command, *arguments, "--configfile", "config/tiny.yaml", str(extra)]


def snakemake(
    results: Path, *arguments: str, overlay: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the workflow."""
    command = snakemake_command(results, *arguments, overlay=overlay)
    return subprocess.run(command, capture_output=True, text=True, env=environment(Path.cwd()))


def environment(project: Path) -> dict[str, str]:
    """In which a project's own package is the one that runs."""
    return os.environ | {"PYTHONPATH": str(project / "src")}


def planned_jobs(done: subprocess.CompletedProcess[str]) -> set[tuple[str, str]]:
    """The jobs a dry run would run, each with its run (row, or row@seed) where it has one."""
    assert done.returncode == 0, done.stderr
    jobs = re.findall(
        r"^(?:local)?rule (\w+):(.*?)^    resources:", done.stdout + done.stderr, re.M | re.S
    )
    found = set()
    for rule, body in jobs:
        run = re.search(r"^    wildcards: row=(\S+)$", body, re.M)
        found.add((rule, run[1] if run else ""))
    return found - {("all", "")}


def planned(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The rules a dry run would run."""
    return {rule for rule, _ in planned_jobs(done)}


@pytest.fixture(scope="session")
def finished(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    root = tmp_path_factory.mktemp("workflow") / "results"
    os.chdir(copy)
    done = snakemake(root)
    assert done.returncode == 0, done.stderr
    return Results(root)
