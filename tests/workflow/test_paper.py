"""The paper's protocol, planned without its data, a GPU or a cluster."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from ssimbad.phases import PHASES
from tests.conftest import REPOSITORY, run_cli
from tests.workflow.conftest import planned_jobs
from tests.workflow.test_dvc import run

JOBS = {
    **{"data": 1, "phi": 1, "report": 1, "oracle": 1},
    **{"train": 4, "refine": 3, "sweep": 4, "infer": 9, "evaluate": 9},
}
USE_A_GPU = {"phi", "train", "refine", "infer", "evaluate", "sweep", "oracle"}


def dry_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "-n", "--nocolor", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def resources(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    """What each rule's jobs ask for."""
    found = re.findall(r"^rule (\w+):.*?^    resources: (.*?)$", done.stdout, re.M | re.S)
    return {rule: dict(re.findall(r"(\w+)=([^,]+)", asked)) for rule, asked in found}


@pytest.mark.parametrize("config", ["paper", "paper-as-published"])
def test_the_whole_protocol_is_planned_without_the_data(project: Path, config: str) -> None:
    done = dry_run("--cores", "all", "--configfile", f"config/{config}.yaml")
    jobs = planned_jobs(done)
    # Without images held out, nothing is measured on them.
    expected = JOBS if config == "paper" else {k: n for k, n in JOBS.items() if k != "sweep"}
    assert Counter(rule for rule, _ in jobs) == expected
    assert ("infer", "ssimbad_few_steps") in jobs
    assert ("refine", "ssimbad_few_steps") not in jobs
    assert not (project / f"results-{config}").exists()


def test_on_slurm_every_job_asks_for_what_it_needs(project: Path) -> None:
    done = dry_run("--profile", "profiles/slurm", "--configfile", "config/paper.yaml")
    assert Counter(rule for rule, _ in planned_jobs(done)) == JOBS
    asked = resources(done)
    for rule in JOBS:
        assert int(asked[rule]["mem_mb"]) >= 8000, rule
        assert int(asked[rule]["runtime"]) >= 60, rule
        assert asked[rule].get("gpu") == ("1" if rule in USE_A_GPU else None), rule
        assert asked[rule]["slurm_extra"] == "--signal=TERM@300", rule


def test_the_slurm_profile_names_phases() -> None:
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text())
    assert set(profile["set-threads"]) == set(PHASES) - {"report"}


def test_seeds_multiply_what_can_run_side_by_side(project: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"extends: {project}/config/paper.yaml\nseeds: [1, 2, 3]\n")
    done = dry_run("--cores", "all", "--configfile", str(tmp_path / "mine.yaml"))
    counts = Counter(rule for rule, _ in planned_jobs(done))
    assert (counts["train"], counts["refine"], counts["infer"]) == (12, 9, 25)


def test_without_a_gpu_none_is_asked_for() -> None:
    done = dry_run("--cores", "all", "--config", "device=cpu")
    assert all("gpu" not in asked or asked["gpu"] == "0" for asked in resources(done).values())


def test_the_data_missing_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        f"extends: {REPOSITORY}/config/paper.yaml\nresults: {tmp_path / 'results'}\n"
        f"data: {{folder: {{path: {tmp_path / 'faces.tar'}}}}}\n"
    )
    done = run_cli("data", "--config", str(tmp_path / "mine.yaml"))
    assert done.returncode == 1
    assert done.stderr == f"ssimbad: data.folder.path: {tmp_path / 'faces.tar'}: no such file\n"


def test_dvc_plans_the_papers_run_once_its_config_is_merged(tmp_path: Path) -> None:
    """The commands of docs/gpu.md."""
    for name in ("Snakefile", "dvc.yaml", "config.yaml"):
        shutil.copy2(REPOSITORY / name, tmp_path / name)
    for name in ("workflow", "src"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    merged = run_cli("config", "--config", "config/paper.yaml")
    (tmp_path / "config.yaml").write_text(merged.stdout)
    run(tmp_path, "git", "init", "-q")
    run(tmp_path, "dvc", "init", "-q")
    done = run(tmp_path, "dvc", "stage", "list")
    assert done.returncode == 0, done.stderr
    stages = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert list(stages) == [
        "data",
        "phi",
        "train",
        "refine",
        "sweep",
        "infer",
        "evaluate",
        "report",
    ]
    assert all("results-paper/" in outputs for outputs in stages.values())
    done = run(tmp_path, "dvc", "repro", "--dry", "data")
    assert done.returncode == 0, done.stderr
    assert "> snakemake --cores all data" in done.stdout
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["train"]["epochs"] == 300


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("[reference, edm, ssimbad, ssimbad_refined]", 2),
        ("[reference, ssimbad, ssimbad_refined]", 4),
    ],
)
def test_two_trainings_on_processors_share_the_cores_and_one_has_them_all(
    project: Path, tmp_path: Path, rows: str, expected: int
) -> None:
    (tmp_path / "mine.yaml").write_text(
        f"device: cpu\nrows: {rows}\nresults: {tmp_path / 'none'}\n"
        "sweep: {rows: [ssimbad]}\noracle: {rows: [ssimbad_refined]}\n"
    )
    done = dry_run("--cores", "4", "--configfile", str(tmp_path / "mine.yaml"))
    assert done.returncode == 0, done.stderr
    blocks = re.findall(r"^rule (?:train|refine):.*?^    resources:", done.stdout, re.M | re.S)
    assert len(blocks) >= 2
    assert all(f"    threads: {expected}\n" in block for block in blocks)
