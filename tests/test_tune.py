"""`ssimbad tune`: every trained row's learning rates, chosen among the same factors by validation losses."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from ssimbad.config.files import load
from ssimbad.config.schema import validate
from ssimbad.errors import UserError
from ssimbad.files import sha256_file
from ssimbad.layout import Results
from ssimbad.methods import Run
from ssimbad.phases.slices import PhaseConfig
from ssimbad.training.checkpoint import read_header
from ssimbad.tune import tune
from tests.conftest import REPOSITORY, config_file, run_cli, tiny_values

RATES = ("rates.csv", "rates.json", "rates.yaml")


def values(**changes: object) -> dict:
    """The tiny config, its losses without frozen networks."""
    found = tiny_values()
    found["refine"]["strategy"] = {"mse": 1.0}
    found["scft"] |= {"perceptual": 0.0, "style": 0.0}
    return found | changes


def results_of(prepared: Results, folder: Path) -> Results:
    """A copy of what the data and phi phases left, but for the test split."""
    results = Results(folder / "results")
    shutil.copytree(prepared.root, results.root)
    for path in results.data.glob("test_*"):
        path.unlink()
    return results


def files_of(results: Results) -> dict[str, str]:
    paths = (p for p in results.root.rglob("*") if p.is_file() and p.name != "owner")
    return {str(path): sha256_file(path) for path in paths}


@pytest.fixture(scope="module")
def tuned(prepared: Results, tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    """A search at half of the budgets, and its config's file. The highest factor leads nowhere."""
    results = results_of(prepared, tmp_path_factory.mktemp("tuned"))
    rows = ["fill", "scft", "ssimbad_refined"]
    given = values(rows=rows, seeds=[42, 43], lr_factors={"ssimbad": 2.0, "edm": 3.0})
    config = Path(config_file(given, results))
    before = files_of(results)
    options = ("--config", str(config), "--share", "0.5", "--factors", "1e30", "1", "0.01")
    done = run_cli("tune", *options)
    assert done.returncode == 0, done.stderr
    assert files_of(results) == before
    (results.tune / "said").write_text(done.stdout)
    return results, config


def test_each_stage_of_each_row_tries_the_same_factors_on_its_own_rates(
    tuned: tuple[Results, Path],
) -> None:
    results, config = tuned
    table = pd.read_csv(results.tune / "rates.csv").set_index(["row", "factor"])
    rows = {"scft": "train", "ssimbad": "train", "ssimbad_refined": "refine"}
    assert list(table.index) == [(row, factor) for row in rows for factor in (0.01, 1, 1e30)]
    base = load([config])
    configured = {
        "scft": (base.section("scft").recipe.lr, float("nan"), 2),
        "ssimbad": (2 * base.train.lr, 2 * base.train.muon_lr, 4),
        "ssimbad_refined": (base.refine.lr, base.refine.muon_lr, 2),
    }
    for (row, factor), line in table.iterrows():
        lr, muon_lr, steps = configured[row]
        assert line["stage"] == rows[row]
        expected = pytest.approx([factor * lr, factor * muon_lr, steps], nan_ok=True)
        assert [line["lr"], line["muon_lr"], line["steps"]] == expected


def test_the_lowest_validation_loss_at_the_end_is_chosen(tuned: tuple[Results, Path]) -> None:
    results, _ = tuned
    known = json.loads((results.tune / "rates.json").read_text())
    assert (known["split"], known["images"], known["share"]) == ("validation", 4, 0.5)
    for row in ("scft", "ssimbad", "ssimbad_refined"):
        trials = [trial for trial in known["trials"] if trial["row"] == row]
        for trial in trials[:2]:
            history = Results(results.tune / trial["folder"]).history(row)
            assert trial["validation"] == pd.read_csv(history)["validation"].iloc[-1]
        assert trials[2]["validation"] is None
        (chosen,) = [trial for trial in trials if trial["chosen"]]
        assert chosen["validation"] == min(trial["validation"] for trial in trials[:2])


def test_a_refinement_starts_from_what_was_chosen_of_its_pretraining(
    tuned: tuple[Results, Path],
) -> None:
    results, _ = tuned
    trials = json.loads((results.tune / "rates.json").read_text())["trials"]
    (start,) = [t for t in trials if t["row"] == "ssimbad" and t["chosen"]]
    checkpoint = Results(results.tune / start["folder"]).checkpoint("ssimbad")
    for trial in [t for t in trials if t["row"] == "ssimbad_refined"][:2]:
        refined = Results(results.tune / trial["folder"]).checkpoint("ssimbad_refined")
        assert read_header(refined)["pretrained"] == sha256_file(checkpoint)


def test_the_overlay_has_a_run_train_with_what_was_chosen(tuned: tuple[Results, Path]) -> None:
    results, config = tuned
    trials = json.loads((results.tune / "rates.json").read_text())["trials"]
    merged = load([config, results.tune / "rates.yaml"])
    assert merged.lr_factors["edm"] == 3  # nobody searched it
    for trial in trials:
        if trial["chosen"]:
            stage = trial["stage"]
            schedule = getattr(PhaseConfig(merged, stage, Run(trial["row"])), stage)
            assert schedule.lr == trial["lr"]
    said = (results.tune / "said").read_text()
    assert said.endswith((results.tune / "rates.yaml").read_text())
    ends = [t["row"] for t in trials if t["chosen"] and t["factor"] in (0.01, 1e30)]
    told = [line for line in said.splitlines() if "at the end of what was tried" in line]
    assert [line.split()[2].rstrip(":") for line in told] == ends


@pytest.mark.workflow
def test_what_is_there_is_not_tried_again_until_it_is_of_another_config(
    prepared: Results, tmp_path: Path
) -> None:
    results, given = results_of(prepared, tmp_path), values(rows=["ssimbad"])

    def summaries(steps: int) -> dict[str, int]:
        given["train"]["steps"] = steps
        options = ("--config", config_file(given, results), "--factors", "0.5", "1")
        assert run_cli("tune", *options, "--share", "0.5").returncode == 0
        return {str(p): p.stat().st_mtime_ns for p in results.tune.rglob("ssimbad.json")}

    first = summaries(4)
    tables = {name: (results.tune / name).read_bytes() for name in RATES}
    both = summaries(8)
    assert len(both.keys() - first.keys()) == 2
    assert pd.read_csv(results.tune / "rates.csv")["steps"].tolist() == [4, 4]
    assert summaries(4) == both
    assert first.items() <= both.items()
    assert {name: (results.tune / name).read_bytes() for name in RATES} == tables


@pytest.mark.kill
def test_a_killed_search_goes_on_to_the_same_table(prepared: Results, tmp_path: Path) -> None:
    given = values(rows=["ssimbad"])
    given["train"] |= {"steps": 30, "checkpoint_every": 5}
    tables = {}
    for name in ("whole", "killed"):
        results = results_of(prepared, tmp_path / name)
        command = [sys.executable, "-m", "ssimbad", "tune", "--share", "1", "--factors", "0.5", "1"]
        command += ["--config", config_file(given, results)]
        if name == "killed":
            process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
            second = results.tune / "trials" / "ssimbad"
            deadline = time.monotonic() + 120
            while not list(second.glob("1.0-*/work/*/*/last.ckpt")):
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
            (ended,) = results.tune.rglob("ssimbad.json")
            before = ended.stat().st_mtime_ns
            assert not (results.tune / "rates.csv").exists()
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        tables[name] = (results.tune / "rates.csv").read_bytes()
    assert tables["killed"] == tables["whole"]
    assert ended.stat().st_mtime_ns == before
    (resumed,) = results.tune.glob("trials/ssimbad/1.0-*/history/train/ssimbad.json")
    assert json.loads(resumed.read_text())["resumed"]


def unvalidated() -> dict:
    given = values(rows=["reference"])
    given["data"]["source"] = "folder"
    given["data"]["folder"]["validation"] = 0.0
    for recipe in (given["train"], given["refine"], given["scft"]["recipe"]):
        recipe["choose_by"] = "last_batch"
    given["sweep"]["rows"] = []
    return given


@pytest.mark.parametrize(
    ("given", "factors", "share", "line"),
    [
        (values, [1.0, 0.0], 1.0, "--factors: 0 1: must be above 0"),
        (values, [float("nan")], 1.0, "--factors: nan: must be above 0"),
        (values, [1.0], 0.0, "--share: 0: must be above 0 and at most 1"),
        (values, [1.0], 1.5, "--share: 1.5: must be above 0 and at most 1"),
        (lambda: values(devices=2), [1.0], 1.0, "devices × nodes is 2: `ssimbad tune` is one"),
        (unvalidated, [1.0], 1.0, "data.folder.validation (0) leaves no images to judge"),
        (lambda: values(rows=["fill"]), [1.0], 1.0, "rows: none of them is trained"),
        (values, [1.0], 1.0, "manifest.json: no such file"),
    ],
)
def test_what_cannot_be_searched_is_a_line_before_any_work(
    given: object, factors: list[float], share: float, line: str, tmp_path: Path
) -> None:
    results = Results(tmp_path / "made")
    assert callable(given)
    with pytest.raises(UserError) as caught:
        tune(validate(given()), results, factors, share)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_rates_that_all_lead_nowhere_are_told(prepared: Results, tmp_path: Path) -> None:
    results = results_of(prepared, tmp_path)
    with pytest.raises(UserError, match=r"^1/1 train ssimbad: no loss is finite"):
        tune(validate(values(rows=["ssimbad"])), results, [1e30], 0.5)
    assert not (results.tune / "rates.yaml").exists()
