"""The shipped model: what it makes of faces that it was not trained on, its card, and how it is put there."""

import importlib
import re
import shutil
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from ssimbad.colorize import colorize
from ssimbad.colorizer import SHIPPED
from ssimbad.config.files import load
from ssimbad.data.sources.faces import FacesConfig, attribution, draw_style, render, svg_of
from ssimbad.data.xdog import sketch_of
from ssimbad.errors import UserError
from ssimbad.files import read_json, write_json
from ssimbad.layout import Results
from ssimbad.training import checkpoint
from tests.conftest import REPOSITORY, picture, run_phase, tiny_values

SIZE, SEED = 128, 42


def faces() -> FacesConfig:
    """Of the run that the model is of."""
    return load([Path("config/gpu.yaml")]).data.faces


def a_face_of_each_style() -> list[str]:
    """Names of validation images."""
    names = [f"validation_{i:05d}" for i in range(60)]
    styles = {draw_style(faces(), SEED, name): name for name in reversed(names)}
    assert styles.keys() == faces().shares.keys()
    return sorted(styles.values())


def rendered(*names: str) -> np.ndarray:
    """The face in the first one's colours, drawn as the last one."""
    return render(svg_of(faces(), SEED, names[0], names[-1]), SIZE)


def run(folder: Path, out: str, **changes: Any) -> None:
    given: dict[str, Any] = {
        "checkpoint_path": None,
        "sketch": None,
        "image": folder / "faces",
        "references": [folder / "faces"],
        "out": folder / out,
        "layers": False,
        "crop": None,
        "steps": None,
        "guidance": None,
        "seed": SEED,
        "device_name": "cpu",
        "quiet": True,
    }
    colorize(**(given | changes))


def made(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(float)


def psnr(image: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    return -10 * np.log10((((image - truth) / 255)[where] ** 2).mean())


def test_faces_of_every_style_take_their_reference_s_colours(tmp_path: Path) -> None:
    drawings = a_face_of_each_style()
    colours = drawings[1:3]
    (tmp_path / "faces").mkdir()
    for name in drawings:
        Image.fromarray(rendered(name)).save(tmp_path / f"faces/{name}.png")
    run(tmp_path, "out", references=[tmp_path / f"faces/{name}.png" for name in colours])
    reached = []
    for drawing in drawings:
        # The output has black lines where XDoG found any; what lies between them is the network's.
        between = sketch_of(rendered(drawing), SEED, drawing) > 0
        truths = {c: rendered(c, drawing).astype(float) for c in drawings}
        for reference in colours:
            image = made(tmp_path / f"out/{drawing}_{reference}.png")
            values = {c: psnr(image, truth, between) for c, truth in truths.items()}
            assert max(values, key=values.__getitem__) == reference
            reached.append(values[reference])
    assert np.mean(reached) > 24
    assert min(reached) > 16


def test_the_same_command_makes_the_same_bytes(tmp_path: Path) -> None:
    picture(5, 150, 90).save(tmp_path / "drawing.png")
    picture(6).save(tmp_path / "reference.png")
    given = {"image": tmp_path / "drawing.png", "references": [tmp_path / "reference.png"]}
    for out in ("one.png", "two.png"):
        run(tmp_path, out, **given)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    # The header says how to sample, wherever the file lies.
    sampling = checkpoint.read_header(SHIPPED)["sampling"]
    run(tmp_path, "asked.png", **given, steps=sampling["steps"], guidance=sampling["guidance"])
    assert (tmp_path / "asked.png").read_bytes() == (tmp_path / "one.png").read_bytes()


def test_the_file_is_small_and_says_whose_it_is() -> None:
    assert SHIPPED.stat().st_size <= 24e6
    assert {weights.dtype for weights in load_file(SHIPPED).values()} == {torch.float16}
    header = checkpoint.read_header(SHIPPED)
    # Its styles as the source of images credits them, but for the version of what rendered them.
    credits = attribution(list(faces().shares)).splitlines()[:-1]
    assert header["attribution"].splitlines()[:-1] == credits
    card = SHIPPED.with_name("README.md").read_text("utf-8")
    front, text = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL).groups()
    assert yaml.safe_load(front)["license"] == header["license"].lower()
    assert all(line in text for line in header["attribution"].splitlines())
    assert header["full_precision"] in text
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert header["license"] in project["license"]


@pytest.fixture
def ship(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / "docs")
    return importlib.import_module("ship_model")


def test_a_row_of_a_run_is_shipped(prepared: Results, tmp_path: Path, ship: ModuleType) -> None:
    results = Results(tmp_path / "results")
    for part in ("data", "phi"):
        shutil.copytree(prepared.root / part, results.root / part)
    values = tiny_values()
    values["train"] |= {"steps": 2, "checkpoint_every": 1, "warmup": 0}
    run_phase(values, "train", results, "edm")
    run_phase(values, "sweep", results, "edm")
    out = tmp_path / "model.safetensors"
    header = ship.ship(results, "edm", out)
    assert header == checkpoint.read_header(out)
    assert checkpoint.read_header(results.checkpoint("edm")).items() <= header.items()
    assert header["sampling"] == read_json(results.choice("edm"))["sampling"]
    # Halved once, read as float32.
    whole, half = load_file(results.checkpoint("edm")), checkpoint.load(out)[0].state_dict()
    for key, weights in whole.items():
        assert half[key].dtype == torch.float32
        assert torch.equal(half[key], weights.half().float())
    told = ship.records(results, "edm", header)
    assert "2 steps of" in told
    assert f"`{header['full_precision']}`" in told
    # A file that was halved to be carried is shipped as the one that it was made from.
    shutil.copyfile(out, results.checkpoint("edm"))
    assert ship.ship(results, "edm", tmp_path / "again.safetensors") == header
    assert (tmp_path / "again.safetensors").read_bytes() == out.read_bytes()
    record = read_json(results.choice("edm"))
    write_json(results.choice("edm"), record | {"checkpoint": "another"})
    with pytest.raises(UserError, match=r"edm\.json: is of another checkpoint"):
        ship.ship(results, "edm", out)
    history = results.history("edm").with_suffix(".json")
    write_json(history, read_json(history) | {"validation": 1.0})
    with pytest.raises(UserError, match="is not of the run whose history and data lie in"):
        ship.ship(results, "edm", out)
