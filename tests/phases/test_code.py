"""Which modules a phase runs: all that running it imports or calls, and no others' business."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import REPOSITORY, config_file, tiny_values

from ssimbad.config.schema import validate
from ssimbad.layout import Results
from ssimbad.methods import Run, methods
from ssimbad.phases import PHASES, jobs
from ssimbad.phases.code import code_of
from ssimbad.provenance import digests, packages

CONDUCT = re.compile(
    r"ssimbad(\.phases(\.code|\.slices)?|\.provenance|\.config(\..*)?|\.schema|(\.\w+)+\.schema)?"
    rf"|ssimbad\.methods\.(declaration|{'|'.join(methods())})|ssimbad\.data\.sources(\..*)?|ssimbad\.training\.state"
    r"|ssimbad\.(layout|files|errors|interruption|machine)"
)
"""What brings values to a phase or notes what it ran: config, schemas, declarations, places of files."""
ROWS = ["reference", "ssimbad", "ssimbad_refined"]


def values() -> dict:
    changed = tiny_values() | {"rows": ROWS}
    for schedule in (changed["train"], changed["refine"], changed["scft"]["recipe"]):
        schedule |= {"steps": 1, "checkpoint_every": 1, "warmup": 0}
    changed["data"]["faces"] |= {"train": 8, "test": 3}
    changed["refine"]["strategy"] = {"mse": 1.0}
    changed["sweep"] |= {"steps": [1], "images": 1}
    changed["sweep"]["rows"], changed["oracle"]["rows"] = ["ssimbad"], ["ssimbad_refined"]
    return changed


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """By phase, and run where it is of one: the modules that running it imported or called."""
    config = config_file(values(), Results(tmp_path_factory.mktemp("ran") / "results"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.phases.ran", config],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.workflow
def test_what_is_listed_holds_all_that_running_a_phase_runs(ran: dict[str, list[str]]) -> None:
    config = validate(values())
    assert {name for name, _ in jobs(config)} | {"report"} == set(PHASES)
    for name, run in [*jobs(config), ("report", None)]:
        found = ran[f"{name} {run or ''}".strip()]
        assert found, name
        missing = set(found) - set(code_of(name, run))
        assert {m for m in missing if not CONDUCT.fullmatch(m)} == set(), (name, run)
        assert any(m.startswith("ssimbad.phases.") for m in set(found) & set(code_of(name, run)))


@pytest.mark.parametrize(
    ("module", "phases"),
    [
        ("ssimbad.data.store", {"phi", "train", "refine", "infer", "evaluate", "sweep", "oracle"}),
        ("ssimbad.devices", {"phi", "train", "refine", "infer", "evaluate", "sweep", "oracle"}),
        ("ssimbad.data.xdog", {"data", "sweep", "evaluate", "oracle"}),
        ("ssimbad.noise.search", {"phi"}),
        ("ssimbad.training.loop", {"train", "refine"}),
        ("ssimbad.phases.train", {"train"}),
        ("ssimbad.networks.unet", {"train", "refine", "infer", "sweep", "oracle"}),
        ("ssimbad.networks.scft", set()),
        ("ssimbad.methods.edm.model", set()),
        ("ssimbad.paper", set()),
        ("ssimbad.methods.ssimbad", set()),
        ("ssimbad.files", set()),
        ("ssimbad.training.state", set()),
        ("ssimbad.phases.slices", set()),
    ],
)
def test_a_module_is_the_business_of_the_phases_that_run_it(module: str, phases: set[str]) -> None:
    run = Run("ssimbad_refined")
    listed = {n: code_of(n, run if p.suits else None) for n, p in PHASES.items() if n != "report"}
    assert {name for name, code in listed.items() if module in code} == phases


def test_titles_are_the_reports_business() -> None:
    assert {f"ssimbad.methods.{name}" for name in methods()} <= code_of("report").keys()


def test_a_model_is_its_own_rows_business_alone() -> None:
    for name, method in methods().items():
        for row in method.rows:
            models = [m for m in code_of("infer", Run(row)) if m.endswith(".model")]
            assert models == [f"ssimbad.methods.{name}.model"]


def test_digests_are_of_the_files_and_packages_of_the_project() -> None:
    code = code_of("report")
    assert all(path.is_file() for path in code.values())
    assert "ssimbad.report/templates/page.css" in code
    assert digests({"a": Path(__file__)}) != digests({"a": code["ssimbad.report"]})
    assert {"torch", "numba", "dicebear-styles", "scipy"} <= packages().keys()
    assert not {"pytest", "mypy", "transformers"} & packages().keys()
