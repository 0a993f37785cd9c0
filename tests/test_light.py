"""What starts quickly: commands and phases that load no package they have no use for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

HEAVY = {
    *("torch", "pytorch_lightning", "pandas", "matplotlib"),
    *("skimage", "cv2", "dicebear", "resvg_py"),
}
BLOCKED = """
import os, sys
from pathlib import Path

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise AssertionError("torch is imported")

sys.meta_path.insert(0, Blocked())
Path(os.environ["STARTED"], str(os.getpid())).write_text(" ".join(sys.orig_argv))
"""


def loaded_by(code: str) -> set[str]:
    """The heavy packages that a fresh process has loaded after ``code``."""
    told = f"\nprint(*{HEAVY!r} & sys.modules.keys(), sep='\\n', file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}{told}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "module",
    [
        "ssimbad",
        "ssimbad.config.files",
        "ssimbad.phases",
        "ssimbad.phases.slices",
        "ssimbad.phases.code",
        "ssimbad.data.schema",
    ],
)
def test_what_every_command_imports_is_light(module: str) -> None:
    assert loaded_by(f"import {module}") == set()


@pytest.mark.parametrize("arguments", [["config"], ["config", "--describe"], ["--help"]])
def test_a_command_that_only_tells_is_light(arguments: list[str]) -> None:
    code = f"""
from ssimbad.cli import main
sys.argv = ["ssimbad", *{arguments!r}]
try:
    main()
except SystemExit as ended:
    assert not ended.code"""
    assert loaded_by(code) == set()


def test_the_api_loads_pytorch_once_it_is_asked_for() -> None:
    assert loaded_by("import ssimbad; ssimbad.Colorizer") == {"torch", "cv2"}


def test_a_heavy_import_would_be_seen() -> None:
    assert loaded_by("import cv2") == {"cv2"}


def test_the_data_phase_and_its_workers_import_no_torch(tmp_path: Path) -> None:
    started = tmp_path / "started"
    started.mkdir()
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(f"results: {tmp_path / 'results'}\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ssimbad", "data", "--config", "config/tiny.yaml"),
            *("--config", str(overlay)),
        ],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "2", "STARTED": str(started)},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/data/manifest.json").exists()
    commands = [file.read_text() for file in started.iterdir()]
    assert sum("spawn_main" in command for command in commands) == 2
    assert sum("-m ssimbad data" in command for command in commands) == 1
