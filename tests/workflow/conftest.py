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
    *("reference", "fill", "regression", "scft", "animediffusion", "animediffusion_finetuned"),
    *("edm", "edm_refined", "ssimbad", "ssimbad_longer", "ssimbad_refined"),
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
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the workflow consists of, in which tests run; what they edit they put back."""
    folder = tmp_path_factory.mktemp("workflow") / "project"
    folder.mkdir()
    copy_project(folder)
    return folder


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(project, monkeypatch)


def enter(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a project, with its own package."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("PYTHONPATH", str(project / "src"))


@pytest.fixture
def extended(
    project: Path, finished: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of the project with its finished run, that a test may change; in which it runs."""
    shutil.copytree(project, tmp_path / "project", symlinks=True)
    enter(tmp_path / "project", monkeypatch)
    return tmp_path / "project"


def snakemake_command(results: Path, *arguments: str, overlay: str = "") -> list[str]:
    """The command that runs the workflow into ``results`` with the tiny config and an overlay on it."""
    # As seen from the project: its copy's run is a finished one too.
    results = results.relative_to(Path.cwd()) if results.is_relative_to(Path.cwd()) else results
    extra = results.with_suffix(".overlay.yaml")
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
    return subprocess.run(command, capture_output=True, text=True)


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
def finished(project: Path) -> Results:
    """The tiny run, finished. Tests read or copy it."""
    with pytest.MonkeyPatch.context() as patch:
        enter(project, patch)
        done = snakemake(project / "results")
    assert done.returncode == 0, done.stderr
    return Results(project / "results")
