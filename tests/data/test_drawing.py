"""Drawings at the network's size, and its colours at theirs."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ssimbad.data.drawing import (
    Frame,
    enlarged,
    is_cut_out,
    lines_of_picture,
    lines_of_sketch,
    network_sketch,
    spread,
)
from ssimbad.data.layers import Layers
from ssimbad.data.xdog import sketch_of
from tests.conftest import picture


def circles(width: int, height: int, line: int, *, paper: int = 255, ink: int = 0) -> np.ndarray:
    """A sketch (H, W, 3): a large circle, a smaller one in it, and a dot."""
    image = Image.new("RGB", (width, height), (paper,) * 3)
    draw = ImageDraw.Draw(image)
    unit = min(width, height) / 20
    x, y = width / 2, height / 2
    for radius in (8, 4):
        box = (x - radius * unit, y - radius * unit, x + radius * unit, y + radius * unit)
        draw.ellipse(box, outline=(ink,) * 3, width=line)
    draw.ellipse((x - unit, y - unit, x + unit, y + unit), fill=(ink,) * 3)
    return np.asarray(image)


@pytest.mark.parametrize("shape", [(64, 64), (640, 640), (300, 100), (50, 75), (7, 3), (1, 500)])
def test_a_frame_holds_the_whole_drawing_in_the_middle(shape: tuple[int, int]) -> None:
    frame = Frame.of(shape, 64)
    assert max(frame.width, frame.height) == 64
    assert frame.width / frame.height == pytest.approx(
        shape[1] / shape[0], rel=0.5 / frame.height * 2
    )
    for part, length in ((frame.rows, frame.height), (frame.columns, frame.width)):
        assert part.stop - part.start == length
        assert abs(part.start - (64 - part.stop)) <= 1
    squared = frame.squared(np.asarray(picture(1, shape[1], shape[0])))
    assert squared.shape == (64, 64, 3)
    left, top = frame.columns.start, frame.rows.start
    assert (squared[:, : left + 1] == squared[:, [left]]).all()
    assert (squared[: top + 1] == squared[[top]]).all()


def test_a_sketch_by_xdog_is_shown_as_it_is() -> None:
    for seed in range(5):
        name = f"picture {seed}"
        sketch = sketch_of(np.asarray(picture(seed, 64, 64)), 42, name)
        assert np.array_equal(network_sketch(sketch, 64, 42, name), sketch)


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize(
    ("width", "height", "line"), [(1200, 900, 2), (900, 1600, 3), (500, 500, 9)]
)
def test_the_lines_of_a_large_sketch_reach_the_network(
    width: int, height: int, line: int, size: int
) -> None:
    shown = network_sketch(lines_of_sketch(circles(width, height, line)), size, 42, "circles")
    assert set(np.unique(shown)) == {0, 255}
    unit = min(width, height) / 20 * size / max(width, height)
    y, x = np.mgrid[:size, :size] + 0.5 - size / 2
    distance = np.hypot(x, y)
    angle = (np.arctan2(y, x) * 16 / np.pi).astype(int)
    for radius in (8 * unit, 4 * unit):
        ring = (np.abs(distance - radius) < 1.5) & (shown == 0)
        assert set(angle[ring]) == set(range(-15, 16)), "a gap in the circle"
    assert (shown[distance > 8 * unit + 3] == 255).all()


def test_a_scan_has_the_lines_of_a_clean_sketch() -> None:
    clean, scan = circles(400, 400, 4), circles(400, 400, 4, paper=210, ink=60)
    assert lines_of_sketch(clean).min() == 0
    assert (lines_of_sketch(clean) == 255).mean() == (lines_of_sketch(scan) == 255).mean() > 0.8
    shown = [network_sketch(lines_of_sketch(s), 64, 42, "circles") for s in (clean, scan)]
    assert (shown[0] != shown[1]).mean() < 0.01


def test_a_large_picture_has_the_lines_of_the_same_picture_small() -> None:
    image = Image.fromarray(circles(64, 64, 1))
    small = lines_of_picture(np.asarray(image), 64, 42, "circles")
    large = image.resize((512, 512), Image.Resampling.BICUBIC)
    found = Image.fromarray(lines_of_picture(np.asarray(large), 64, 42, "circles"))
    again = np.asarray(found.resize((64, 64), Image.Resampling.BOX))
    assert np.corrcoef(small.ravel(), again.ravel())[0, 1] > 0.8


def halves(line: int, *, size: int = 8, scale: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Red beside blue (size, size, 3), and a black line between them in white, ``scale`` times as large."""
    colours = np.zeros((size, size, 3), np.uint8)
    colours[:, : size // 2, 0] = colours[:, size // 2 :, 2] = 255
    lines = np.full((size * scale, size * scale), 255, np.uint8)
    middle = size * scale // 2
    lines[:, middle - line // 2 : middle + line - line // 2] = 0
    return colours, lines


@pytest.mark.parametrize("line", [2, 3, 8])
@pytest.mark.parametrize("scale", [6, 20, 50])
def test_colours_do_not_cross_a_line(line: int, scale: int) -> None:
    colours, lines = halves(line, scale=scale)
    found = spread(colours, np.ones((8, 8)), lines).astype(int)
    middle = len(lines) // 2
    beside = line + 2 + scale // 10  # beyond a tenth of a network's pixel
    assert (np.abs(found[:, : middle - beside] - [255, 0, 0]) <= 8).all()
    assert (np.abs(found[:, middle + beside :] - [0, 0, 255]) <= 8).all()


def test_without_a_line_colours_blend() -> None:
    colours, lines = halves(0)
    found = spread(colours, np.ones((8, 8)), lines).astype(int)
    middle = len(lines) // 2
    assert 100 < found[80, middle, 0] < 155
    assert np.abs(np.diff(found[80, :, 0])).max() < 15


@pytest.mark.parametrize("shape", [(8, 8), (37, 91), (400, 60), (1000, 900)])
def test_one_colour_stays_what_it_is(shape: tuple[int, int]) -> None:
    colours = np.full((8, 8, 3), (200, 30, 90), np.uint8)
    lines = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = spread(colours, np.ones((8, 8)), lines)
    assert found.shape == (*shape, 3)
    assert (np.abs(found.astype(int) - (200, 30, 90)) <= 1).all()


def test_a_colour_that_is_a_line_is_not_spread() -> None:
    colours = np.full((8, 8, 3), 200, np.uint8)
    colours[:, 4] = 0
    trust = np.ones((8, 8))
    trust[:, 4] = 0
    assert spread(colours, trust, np.full((160, 160), 255, np.uint8)).min() >= 195


@pytest.mark.parametrize("shape", [(16, 16), (40, 30), (130, 200), (9, 5), (900, 1)])
def test_lines_are_multiplied_in(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(1)
    lines = generator.choice([0, 128, 255], shape).astype(np.uint8)
    colours = generator.integers(100, 256, (16, 16, 3), dtype=np.uint8)
    plain = np.full(shape, 255, np.uint8)
    sketch = np.full((16, 16), 255, np.uint8)
    made = np.asarray(Layers.of(enlarged(colours, sketch, lines), lines, None).image)
    assert made.shape == (*shape, 3)
    assert (made[lines == 0] == 0).all()
    assert (made[lines == 255] >= 90).all()
    assert made[lines == 128].max() <= 129
    assert enlarged(colours, sketch, plain).min() >= 90


def test_colours_of_the_drawing_s_own_size_are_not_touched() -> None:
    colours = np.random.default_rng(2).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    lines = sketch = np.full((16, 16), 255, np.uint8)
    assert np.array_equal(enlarged(colours, sketch, lines), colours)


def test_alpha_is_the_paper_s_shape_or_the_lines() -> None:
    sketch = circles(100, 100, 3)
    assert is_cut_out(sketch, np.full((100, 100), 255, np.uint8))
    assert not is_cut_out(sketch, 255 - sketch[..., 0])
    assert not is_cut_out(sketch, np.zeros((100, 100), np.uint8))
