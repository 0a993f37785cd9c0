"""The illustrated faces."""

import json
import re
from importlib import resources
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from skimage.color import rgb2lab

from ssimbad.data.sources.faces import (
    Faces,
    FacesConfig,
    attribution,
    draw_colours,
    draw_style,
    render,
    styles,
    svg_of,
)
from ssimbad.rng import numpy_generator


def config_of(**weights: float) -> FacesConfig:
    placed = {"scale": 1.3, "translate_x": 0.0, "translate_y": 0.0}
    styles = {style.replace("_", "-"): placed | {"weight": w} for style, w in weights.items()}
    counts = {"train": 30, "validation": 4, "test": 6}
    return FacesConfig.model_validate({"styles": styles, "redrawn": 0.5} | counts)


CONFIG = config_of(adventurer=1.0)
MIXED = config_of(adventurer=2.0, micah=1.0, open_peeps=1.0, lorelei=0.0)


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
    for i, j in combinations(range(4), 2):
        assert np.linalg.norm(lab[:, i] - lab[:, j], axis=-1).min() > 24
    hues = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360
    for part in range(4):
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


def test_styles_are_drawn_by_seed_and_name_with_the_weights() -> None:
    names = [f"train_{i:05d}" for i in range(400)]
    drawn = [draw_style(MIXED, 42, name) for name in names]
    shares = {style: drawn.count(style) / len(names) for style in set(drawn)}
    # Four standard errors of a share of 400.
    expected = {"adventurer": 0.5, "micah": 0.25, "open-peeps": 0.25}
    assert shares == pytest.approx(expected, abs=0.1)
    # What else is configured, and in which order, changes no draw.
    reordered = config_of(open_peeps=0.5, adventurer=1.0, micah=0.5)
    assert drawn == [draw_style(reordered, 42, name) for name in names]
    assert drawn != [draw_style(MIXED, 43, name) for name in names]


def test_a_style_is_drawn_as_when_it_stands_alone_whatever_the_others() -> None:
    for name in ("a", "b", "c", "d"):
        alone = config_of(**{draw_style(MIXED, 42, name).replace("-", "_"): 1.0})
        assert svg_of(MIXED, 42, name) == svg_of(alone, 42, name)


def test_a_style_has_its_own_enlargement() -> None:
    values = MIXED.model_dump()
    values["styles"]["micah"]["scale"] = 2.0
    enlarged = FacesConfig.model_validate(values)
    for i in range(20):
        same = svg_of(enlarged, 42, str(i)) == svg_of(MIXED, 42, str(i))
        assert same == (draw_style(MIXED, 42, str(i)) != "micah")


def test_another_styles_drawing_takes_the_colours_of_the_identity() -> None:
    by_style = {draw_style(MIXED, 42, str(i)): str(i) for i in range(20)}
    for name, drawing in combinations(by_style.values(), 2):
        svg, own = svg_of(MIXED, 42, name, drawing), svg_of(MIXED, 42, drawing)
        colours = draw_colours(numpy_generator(42, "colours", name))
        replaced = draw_colours(numpy_generator(42, "colours", drawing))
        assert colours["skin"] in svg
        # Nothing but the parts' colours tells the two apart: it is the drawing's own style and lines.
        for part, colour in replaced.items():
            own = own.replace(colour, colours[part])
        assert re.sub(r"(#[\w-]*?)\d+", r"\1", svg) == re.sub(r"(#[\w-]*?)\d+", r"\1", own)


@pytest.mark.parametrize("style", ["adventurer", "big-smile", "open-peeps"])
def test_attribution_is_the_packages_own(style: str) -> None:
    definition = json.loads(
        resources.files("dicebear_styles").joinpath(f"{style}.json").read_text()
    )
    text = attribution([style])
    assert definition["meta"]["creator"]["name"] in text
    assert definition["meta"]["license"]["name"] in text
    assert definition["meta"]["source"]["url"] in text


def test_the_attribution_names_every_style_that_has_a_share() -> None:
    text = Faces(MIXED, 42).attribution()
    first = text.splitlines()[0]
    for creator in ("Lisa Wischofsky", "Micah Lanier", "Pablo Stanley"):
        assert creator in first
        assert f"Creator: {creator}" in text
    assert "Lorelei" not in text


@pytest.mark.parametrize("style", ["big-ears-neutral", "lorelei", "pixel-art", "dylan"])
def test_other_styles_render_on_the_drawn_background(style: str) -> None:
    assert style in styles()
    image = render(svg_of(config_of(**{style.replace("-", "_"): 1.0}), 0, "a"), 32)
    assert image.std() > 0
    background = rgb(draw_colours(numpy_generator(0, "colours", "a"))["background"])
    assert (np.abs(image - 255 * np.array(background)).max(-1) < 2).mean() > 0.03
