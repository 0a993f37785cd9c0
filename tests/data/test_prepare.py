"""The packed store and what lies beside it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ssimbad.data.image_set import ImageSet
from ssimbad.data.prepare import derangement, prepare
from ssimbad.data.schema import DataConfig
from ssimbad.data.sources.base import Item
from ssimbad.data.sources.faces import Faces, render, svg_of
from ssimbad.data.store import Split, read_pairs, to_pixels, to_unit
from ssimbad.data.xdog import sketch_of
from ssimbad.errors import UserError
from ssimbad.layout import Results
from tests.conftest import NO_COUNTS, picture, tiny_values


def config_of(path: Path, size: int = 32) -> DataConfig:
    values = tiny_values()["data"] | {"source": "folder", "size": size}
    values["folder"] = {"path": str(path), "validation": 0.25, "test": 0.25} | NO_COUNTS
    return DataConfig.model_validate(values)


def test_store_of_faces(prepared: Results) -> None:
    config = DataConfig.model_validate(tiny_values()["data"])
    manifest = json.loads((prepared.data / "manifest.json").read_text())
    assert len(manifest["items"]) == 24 + 4 + 6
    for item in manifest["items"]:
        svg = svg_of(config.faces, manifest["seed"], item["name"])
        assert item["sha256"] == {"image": hashlib.sha256(svg.encode()).hexdigest()}
    split = Split(prepared.data, "test")
    assert isinstance(split.images, np.memmap)
    assert split.images.shape == (6, 32, 32, 3)
    for name, image, sketch in zip(split.names, split.images, split.sketches, strict=True):
        np.testing.assert_array_equal(sketch, sketch_of(image, manifest["seed"], name))
    assert len(split.redrawn) == len(Split(prepared.data, "train").recoloured) == 0
    train, source = Split(prepared.data, "train"), Faces(config.faces, manifest["seed"])
    for name, redrawn in zip(train.names, train.redrawn, strict=True):
        np.testing.assert_array_equal(redrawn, source.redrawn(Item(name, "train"), 32))
    assert "Lisa Wischofsky" in (prepared.data / "ATTRIBUTION.txt").read_text()


def test_manifest_holds_the_source_files_digests(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(8):
        picture(i).save(tmp_path / f"in/{i}.png")
    prepare(config_of(tmp_path / "in"), 0, tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    for item in manifest["items"]:
        file = tmp_path / f"in/{item['name']}.png"
        assert item["sha256"]["image"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert manifest["files"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "out").iterdir()
        if path.name != "manifest.json"
    }


def test_the_report_counts_images_sketches_and_sizes(prepared: Results, tmp_path: Path) -> None:
    for part, names in (("train", "abcd"), ("test", "xy")):
        for kind in ("reference", "sketch"):
            (tmp_path / "in" / part / kind).mkdir(parents=True)
            for i, name in enumerate(names):
                shape = (20, 48) if name == "a" else (40, 40)
                picture(100 * (part == "test") + i, *shape).save(
                    tmp_path / "in" / part / kind / f"{name}.png"
                )
    prepare(config_of(tmp_path / "in"), 0, tmp_path / "out")
    assert json.loads((tmp_path / "out/report.json").read_text()) == {
        "images": {"train": 3, "validation": 1, "test": 2},
        "with_sketch": 6,
        "sizes": {"40×40": 5, "20×48": 1},
        "enlarged": 1,
    }
    faces = json.loads((prepared.data / "report.json").read_text())
    assert faces["images"] == {"train": 24, "validation": 4, "test": 6}
    assert faces["sizes"] == {}


def test_a_store_without_validation_images(tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / "in").mkdir(exist_ok=True)
        picture(i).save(tmp_path / f"in/{i}.png")
    config = config_of(tmp_path / "in")
    folder = config.folder.model_copy(update={"validation": 0.0})
    prepare(config.model_copy(update={"folder": folder}), 0, tmp_path / "out")
    splits = [len(Split(tmp_path / "out", split)) for split in ("train", "validation", "test")]
    assert splits == [6, 0, 2]
    assert len(Split(tmp_path / "out", "train").redrawn) == 0
    assert len(Split(tmp_path / "out", "test").recoloured) == 0
    assert list(ImageSet(tmp_path / "out", "validation", 0).partners) == ["same", "cross"]
    assert ImageSet(tmp_path / "out", "test", 0).partners.keys() == {"same", "cross"}


def test_pairs_are_derangements_of_the_validation_and_of_the_test_images(prepared: Results) -> None:
    pairs = read_pairs(prepared.data)
    for split in ("validation", "test"):
        names = Split(prepared.data, split).names
        partners = [pairs.pop(name) for name in names]
        assert sorted(partners) == names
        assert all(name != partner for name, partner in zip(names, partners, strict=True))
    assert pairs == {}


def test_the_defaults_images_are_the_same_in_every_version(tmp_path: Path) -> None:
    config = DataConfig.model_validate(tiny_values()["data"])
    prepare(config, 42, tmp_path / "store")
    found = hashlib.sha256()
    for path in sorted((tmp_path / "store").glob("*.npy")):
        found.update(path.read_bytes())
    assert found.hexdigest() == "8930ffdf4435063e25952f05025063d25d09ffe2b04ee0ff259857e70f66c0eb"


def test_the_exact_cross_truth_is_the_sketchs_drawing_in_its_partners_colours(
    prepared: Results,
) -> None:
    config = DataConfig.model_validate(tiny_values()["data"])
    seed = json.loads((prepared.data / "manifest.json").read_text())["seed"]
    pairs = read_pairs(prepared.data)
    for split in ("validation", "test"):
        found = ImageSet(prepared.data, split, seed)
        svgs = [svg_of(config.faces, seed, pairs[name], name) for name in found.names]
        expected = np.stack([render(svg, 32) for svg in svgs])
        truth = Split(prepared.data, split).recoloured_pixels(list(range(len(found.names))))
        np.testing.assert_array_equal(truth.permute(0, 2, 3, 1), expected)
        # The drawing is the sketch's: its lines stay where they are, whatever the colours.
        own = found.images(found.names)
        assert (truth != own).float().mean() > 0.3
        assert found.partners["cross"] == {name: pairs[name] for name in found.names}


def test_derangements_are_seeded_and_need_two() -> None:
    names = [str(i) for i in range(30)]
    assert derangement(names, 1) == derangement(names, 1)
    assert derangement(names, 1) != derangement(names, 2)
    assert derangement(["a", "b"], 0) == {"a": "b", "b": "a"}
    assert derangement(["a"], 0) == derangement([], 0) == {}


def test_a_single_test_image_is_refused_a_single_validation_image_has_no_pair(
    tmp_path: Path,
) -> None:
    for split, count in (("train", 3), ("validation", 1), ("test", 2)):
        (tmp_path / "in" / split).mkdir(parents=True)
        for i in range(count):
            picture(10 * len(split) + i).save(tmp_path / f"in/{split}/{split}{i}.png")
    prepare(config_of(tmp_path / "in"), 0, tmp_path / "out")
    assert list(read_pairs(tmp_path / "out")) == ["test0", "test1"]
    assert list(ImageSet(tmp_path / "out", "validation", 0).partners) == ["same"]
    config = DataConfig.model_validate(tiny_values()["data"])
    faces = config.faces.model_copy(update={"test": 1})
    with pytest.raises(UserError, match="at least two test images"):
        prepare(config.model_copy(update={"faces": faces}), 0, tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_pixels_survive_the_way_to_floats_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_pixels(to_unit(pixels)), pixels)
    assert to_unit(pixels).aminmax() == (-1, 1)
    assert to_pixels(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]
