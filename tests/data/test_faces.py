"""The illustrated faces."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from skimage.color import rgb2lab

from ssimbad.data.sources.faces import (
    Faces,
    FacesConfig,
    attribution,
    draw_colours,
    render,
    styles,
    svg_of,
)
from ssimbad.rng import numpy_generator

CONFIG = FacesConfig(
    style="adventurer",
    scale=1.3,
    translate_x=0,
    translate_y=0,
    train=30,
    validation=4,
    test=6,
    redrawn=0.5,
)


def rgb(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def test_identities_differ_between_and_within_splits(tmp_path: Path) -> None:
    items, faults = Faces(CONFIG, 42).items(tmp_path)
    assert faults == []
    assert [sum(i.split == s for i in items) for s in ("train", "validation", "test")] == [30, 4, 6]
    assert len({item.name for item in items}) == 40
    assert len({svg_of(CONFIG, 42, item.name) for item in items}) == 40


def test_an_identity_depends_on_seed_and_name_only() -> None:
    assert svg_of(CONFIG, 1, "a") == svg_of(CONFIG, 1, "a")
    assert svg_of(CONFIG, 1, "a") != svg_of(CONFIG, 2, "a")


def test_parts_have_their_own_colours_from_a_wide_palette() -> None:
    drawn = [draw_colours(numpy_generator(0, i)) for i in range(200)]
    lab = rgb2lab(np.array([[rgb(c) for c in d.values()] for d in drawn]))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.linalg.norm(lab[:, i] - lab[:, j], axis=-1).min() > 24
    hues = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360
    for part in range(3):
        assert (np.histogram(hues[:, part], bins=6, range=(0, 360))[0] > 0).all()


def test_the_drawn_colours_are_on_the_picture() -> None:
    colours = draw_colours(numpy_generator(42, "colours", "a"))
    image = render(svg_of(CONFIG, 42, "a"), 96)
    assert image.shape == (96, 96, 3)
    for part in ("skin", "background"):
        same = np.abs(image - 255 * np.array(rgb(colours[part]))).max(-1) < 2
        assert same.mean() > 0.03, part


def test_only_training_identities_are_redrawn_as_another_face_in_their_colours(
    tmp_path: Path,
) -> None:
    source = Faces(CONFIG, 42)
    items = {item.name: item for item in source.items(tmp_path)[0]}
    assert source.redrawn(items["test_00000"], 64) is None
    assert source.redrawn(items["validation_00000"], 64) is None
    none = Faces(CONFIG.model_copy(update={"redrawn": 0.0}), 42)
    assert none.redrawn(items["train_00000"], 64) is None
    for name in ("train_00000", "train_00001"):
        image, _, _ = source.load(items[name], 64)
        redrawn = source.redrawn(items[name], 64)
        assert redrawn is not None
        assert (np.abs(image.astype(int) - redrawn).max(-1) > 50).mean() > 0.1
        colours = draw_colours(numpy_generator(42, "colours", name))
        for part in ("skin", "background"):
            same = np.abs(redrawn - 255 * np.array(rgb(colours[part]))).max(-1) < 2
            assert same.mean() > 0.03, part


@pytest.mark.parametrize("style", ["adventurer", "big-smile", "open-peeps"])
def test_attribution_is_the_packages_own(style: str) -> None:
    definition = json.loads(
        resources.files("dicebear_styles").joinpath(f"{style}.json").read_text()
    )
    text = attribution(style)
    assert definition["meta"]["creator"]["name"] in text
    assert definition["meta"]["license"]["name"] in text
    assert definition["meta"]["source"]["url"] in text


@pytest.mark.parametrize("style", ["big-ears-neutral", "lorelei", "pixel-art"])
def test_other_styles_render(style: str) -> None:
    assert style in styles()
    svg = svg_of(CONFIG.model_copy(update={"style": style}), 0, "a")
    assert render(svg, 32).std() > 0
