"""Sources of images: what each is asked for, and the one that the documentation adds."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssimbad.config.files import load
from ssimbad.data.sources import sources
from ssimbad.errors import UserError
from ssimbad.methods import Run
from ssimbad.phases.code import code_of
from tests.conftest import REPOSITORY


def documented() -> tuple[str, str]:
    """The module and the section of ``docs/extend.md``."""
    text = (REPOSITORY / "docs/extend.md").read_text().split("\n## A source of images\n")[1]
    module, section = re.findall(r"```(?:python|yaml)\n(.*?)```", text.split("\n## ")[0], re.S)
    return module, section


def test_the_documented_source_runs(tmp_path: Path) -> None:
    module, section = documented()
    shutil.copytree(REPOSITORY / "src", tmp_path / "src")
    (tmp_path / "src/ssimbad/data/sources/stripes.py").write_text(module)
    config = (REPOSITORY / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(config.replace("\ndata:\n", f"\ndata:\n{section}"))
    counts = {"train": 5, "validation": 2, "test": 3}
    overlay = {"data": {"source": "stripes", "size": 32, "stripes": counts}}
    (tmp_path / "overlay.yaml").write_text(json.dumps(overlay))

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path / "src"), "OMP_NUM_THREADS": "1"},
        )

    done = run("-m", "ssimbad", "data", "--config", "overlay.yaml")
    assert done.returncode == 0, done.stderr
    store = tmp_path / "results/data"
    assert json.loads((store / "report.json").read_text())["images"] == counts
    assert json.loads((store / "manifest.json").read_text())["source"] == "stripes"
    images = np.load(store / "train_images.npy")
    assert images.shape == (5, 32, 32, 3)
    assert len({image.tobytes() for image in images}) == 5
    assert (images == images[:, :1]).all()
    assert len(np.load(store / "train_redrawn.npy")) == 0
    assert (store / "ATTRIBUTION.txt").read_text() == ""
    # The data phase is rerun when the module changes.
    asked = "from ssimbad.phases.code import code_of; print(*code_of('data'), sep='\\n')"
    assert "ssimbad.data.sources.stripes" in run("-c", asked).stdout.split()
    # The other source is still there.
    done = run("-m", "ssimbad", "config")
    assert done.returncode == 0, done.stderr
    (tmp_path / "overlay.yaml").write_text("data: {source: dots}")
    done = run("-m", "ssimbad", "config", "--config", "overlay.yaml")
    assert done.stderr.startswith('ssimbad: overlay.yaml: data.source: "dots": ')
    assert "'stripes'" in done.stderr


def test_the_data_phase_runs_every_source_and_training_none() -> None:
    names = {f"ssimbad.data.sources.{name}" for name in sources()}
    assert names
    assert names <= code_of("data").keys()
    for phase, run in (("train", "ssimbad"), ("refine", "ssimbad_refined"), ("infer", "ssimbad")):
        found = code_of(phase, Run(run))
        assert not [name for name in found if name.startswith("ssimbad.data.sources")]
        assert "ssimbad.data.schema" not in found


@pytest.mark.parametrize("name", sources())
def test_a_source_is_cheap_to_ask_what_follows_from_the_config(name: str, tmp_path: Path) -> None:
    config = load([], {"data": {"source": name, "folder": {"path": str(tmp_path / "missing")}}})
    source = config.data.make_source(0)
    assert source.files() == []
    assert 0 <= source.redrawn_share <= 1
    assert source.unvalidated == ""


def test_faces_are_counted_by_the_config_alone() -> None:
    numbers = {"train": 9, "validation": 4, "test": 5}
    source = load([], {"data": {"faces": numbers}}).data.make_source(42)
    assert source.counts([]) == numbers
    assert source.users_paths == {}
    with pytest.raises(UserError, match=r"^--images: data\.source is faces"):
        source.counts([7])


def test_the_files_of_a_folder_are_its_images(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ("a/x.png", "a/b/y.JPG", "a/notes.txt", "a/.hidden.png"):
        (tmp_path / name).write_text("")
    config = load([], {"data": {"source": "folder", "folder": {"path": str(tmp_path / "a")}}})
    source = config.data.make_source(0)
    assert source.files() == [tmp_path / "a/x.png"]  # what lies deeper is not read
    for name in ("train/reference/x.png", "train/sketch/x.png", "test/y.png", "old/z.png"):
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).write_text("")
    names = ("test/y.png", "train/reference/x.png", "train/sketch/x.png")
    assert source.files() == [tmp_path / "a" / name for name in names]
    assert source.users_paths == {"data.folder.path": str(tmp_path / "a")}
