"""DVC beside Snakemake, both for real: neither redoes what the other did, and results travel."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ssimbad.config.files import load
from ssimbad.phases import PHASES
from tests.conftest import REPOSITORY
from tests.workflow.conftest import copy_project, planned_jobs

OVERLAY = {
    "results": "results",
    "rows": ["reference", "ssimbad", "ssimbad_refined"],
    "sweep": {"rows": []},
    "oracle": {"rows": []},
}
JOBS = {
    *(
        ("data", ""),
        ("phi", ""),
        ("report", ""),
        ("train", "ssimbad"),
        ("refine", "ssimbad_refined"),
    ),
    *((phase, row) for phase in ("infer", "evaluate") for row in OVERLAY["rows"]),
}


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of this environment in ``folder``."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    identity = {
        f"GIT_{who}_{what}": "test@test"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | identity | {"PATH": path, "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
    )


def ran(folder: Path, *command: str) -> str:
    """The output of a command that must succeed."""
    done = run(folder, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def plan(folder: Path) -> set[tuple[str, str]]:
    return planned_jobs(run(folder, "snakemake", "--cores", "all", "--nocolor", "-n"))


def change(folder: Path, section: str, key: str, value: object) -> None:
    values = yaml.safe_load((folder / "config.yaml").read_text())
    values[section][key] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def work(folder: Path) -> list[str]:
    """The jobs Snakemake has logged since the last call."""
    logs = sorted((folder / ".snakemake/log").glob("*.log"))
    started = [
        line.split()[-1].rstrip(":")
        for log in logs
        for line in log.read_text().splitlines()
        if line.startswith(("rule ", "localrule ")) and not line.endswith(("all:", "d:", "swept:"))
    ]
    for log in logs:
        log.unlink()
    return sorted(started)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a tiny config and a remote, run by ``dvc repro`` (killed once), committed, pushed."""
    os.chdir(REPOSITORY)
    folder = tmp_path_factory.mktemp("dvc") / "project"
    folder.mkdir()
    copy_project(folder)
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy2(REPOSITORY / name, folder / name)
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy2(REPOSITORY / ".dvc" / name, folder / ".dvc" / name)
    values = load([Path("config/tiny.yaml")]).model_dump(mode="json")
    for key, value in OVERLAY.items():
        values[key] = values[key] | value if isinstance(value, dict) else value
    (folder / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    ran(folder, "git", "init", "-q")
    ran(folder, "dvc", "remote", "add", "-d", "here", str(folder.parent / "remote"))
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder / "src"),
    }
    for how in ("dvc", "tree"):
        log = (folder.parent / f"{how}.log").open("w+")
        process = subprocess.Popen(
            ["dvc", "repro"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        awaited = folder / (
            "results/data/manifest.json" if how == "dvc" else "results/phi/phi.json"
        )
        deadline = time.monotonic() + 240
        while not awaited.exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, Path(log.name).read_text()
            time.sleep(0.05)
        time.sleep(3)
        if how == "dvc":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    ran(folder, "dvc", "repro")
    ran(folder, "git", "add", "-A")
    ran(folder, "git", "commit", "-qm", "run")
    ran(folder, "dvc", "push")
    work(folder)
    return folder


@pytest.fixture
def clone(project: Path, tmp_path: Path) -> Path:
    """A fresh clone with what DVC brings."""
    ran(tmp_path, "git", "clone", "-q", str(project), "clone")
    ran(tmp_path / "clone", "dvc", "pull")
    return tmp_path / "clone"


def adopted_plan(folder: Path) -> set[tuple[str, str]]:
    """What is left to do once Snakemake has taken over what DVC brought."""
    ran(folder, "ssimbad", "adopt")
    return plan(folder)


def test_neither_redoes_what_the_other_did(project: Path) -> None:
    assert "Nothing to be done" in ran(project, "snakemake", "--cores", "all")
    assert "up to date" in ran(project, "dvc", "repro")
    assert json.loads(ran(project, "dvc", "status", "--json").splitlines()[-1]) == {}
    change(project, "evaluate", "resamples", 100)
    ran(project, "snakemake", "--cores", "all")
    assert work(project) == ["evaluate"] * 3 + ["report"]
    ran(project, "dvc", "repro")
    assert work(project) == []


def test_metrics_plots_and_params_say_something(project: Path) -> None:
    shown = json.loads(ran(project, "dvc", "metrics", "show", "--json").splitlines()[-1])
    (metrics,) = (v["data"] for v in shown[""]["data"].values())
    assert metrics["ssimbad_refined"]["cross"]["palette"] > 0
    assert "fid" not in metrics["reference"]["same"]
    change(project, "evaluate", "resamples", 300)
    assert "evaluate.resamples" in ran(project, "dvc", "params", "diff")
    ran(project, "dvc", "plots", "show", "-o", "plots")
    page = (project / "plots/index.html").read_text()
    assert "validation" in page
    assert "qualitative_cross.png" in page
    shutil.rmtree(project / "plots")


def test_a_clone_with_what_dvc_brings_has_nothing_to_do(clone: Path) -> None:
    before = (clone / "results/table.csv").stat()
    done = run(clone, "snakemake", "--cores", "all")
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if "`ssimbad adopt`" in line]
    assert line.startswith("snakemake: results/")
    assert (clone / "results/table.csv").stat() == before
    assert adopted_plan(clone) == set()
    assert "Nothing to be done" in ran(clone, "snakemake", "--cores", "all")
    assert "up to date" in ran(clone, "dvc", "repro")


def rows_of(phase: str, *rows: str) -> set[tuple[str, str]]:
    return {(phase, row) for row in rows}


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("data", "size", 40, JOBS),
        (
            "phi",
            "points",
            13,
            JOBS
            - {("data", ""), *rows_of("infer", "reference"), *rows_of("evaluate", "reference")},
        ),
        (
            "refine",
            "lr",
            0.002,
            {(p, "ssimbad_refined") for p in ("refine", "infer", "evaluate")} | {("report", "")},
        ),
    ],
)
def test_an_edit_before_a_clones_first_run_is_noticed(
    clone: Path, section: str, key: str, value: object, expected: set[tuple[str, str]]
) -> None:
    change(clone, section, key, value)
    assert adopted_plan(clone) == expected


def test_edited_code_before_a_clones_first_run_is_noticed(clone: Path) -> None:
    for name in ("report/page.py", "phases/slices.py"):
        module = clone / "src/ssimbad" / name
        module.write_text(module.read_text() + "# edited\n")
    assert adopted_plan(clone) == {("report", "")}
    module = clone / "src/ssimbad/diffusion/samplers.py"
    module.write_text(module.read_text() + "# edited\n")
    assert adopted_plan(clone) >= rows_of("infer", "ssimbad", "ssimbad_refined")


def test_dvc_yaml_names_the_code_that_the_package_says_each_stage_runs(tmp_path: Path) -> None:
    shutil.copy2(REPOSITORY / "dvc.yaml", tmp_path / "dvc.yaml")
    script = [sys.executable, str(REPOSITORY / "workflow/dvc_stages.py"), "dvc.yaml"]
    subprocess.run(script, cwd=tmp_path, check=True)
    written = (tmp_path / "dvc.yaml").read_text()
    assert written == (REPOSITORY / "dvc.yaml").read_text(), "run python workflow/dvc_stages.py"
    stages = yaml.safe_load(written)["stages"]
    assert set(stages) | {"oracle"} == set(PHASES)
