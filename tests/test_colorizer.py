"""The API: what it takes, what it gives, and that the command is no other way."""

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ssimbad
from ssimbad import Colorizer, colorizer
from ssimbad.colorize import colorize
from tests.conftest import REPOSITORY, picture
from tests.data.test_drawing import circles


@pytest.fixture(scope="module")
def loaded() -> Colorizer:
    return Colorizer.load(device="cpu")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, ink in (("one", 0), ("two", 90)):
        Image.fromarray(circles(150, 90, 3, ink=ink)).save(tmp_path / f"{name}.png")
    picture(1, 60, 50).save(tmp_path / "a.png")
    picture(2).save(tmp_path / "b.png")
    return tmp_path


def pixels(image: Image.Image | Path) -> np.ndarray:
    return np.asarray(Image.open(image) if isinstance(image, Path) else image).astype(int)


def test_examples_of_the_docstrings_and_the_documentation(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = doctest.testmod(colorizer)
    assert found.failed == 0
    assert found.attempted > 8
    (files / "one.png").rename(files / "sketch.png")
    (files / "a.png").rename(files / "reference.png")
    monkeypatch.chdir(files)
    document = str(REPOSITORY / "docs/colorize.md")
    found = doctest.testfile(document, module_relative=False)
    assert found.failed == 0
    assert found.attempted > 4


@pytest.mark.parametrize("coloured", [False, True])
def test_the_command_writes_what_the_api_returns(
    loaded: Colorizer, files: Path, coloured: bool
) -> None:
    drawing = files / ("a.png" if coloured else "one.png")
    colorize(
        checkpoint_path=None,
        sketch=None if coloured else drawing,
        image=drawing if coloured else None,
        references=[files / "b.png"],
        out=files / "out.png",
        layers=False,
        crop="5,6,40,30",
        steps=3,
        guidance=1.0,
        seed=7,
        device_name="cpu",
        quiet=True,
    )
    given: dict[str, Any] = {"coloured": coloured, "steps": 3, "guidance": 1.0, "seed": 7}
    image = loaded(drawing, files / "b.png", crop=(5, 6, 40, 30), **given)
    assert isinstance(image, Image.Image)
    assert np.array_equal(pixels(image), pixels(files / "out.png"))


def test_files_images_and_arrays_are_the_same_picture(loaded: Colorizer, files: Path) -> None:
    expected = pixels(loaded(str(files / "one.png"), files / "a.png"))
    opened = loaded(Image.open(files / "one.png"), Image.open(files / "a.png"))
    assert np.array_equal(pixels(opened), expected)
    # Without its file a drawing has no name to draw its noise by.
    arrays = [np.asarray(Image.open(files / name)) for name in ("one.png", "a.png")]
    images = [Image.fromarray(array) for array in arrays]
    unnamed = pixels(loaded(*arrays))
    assert np.array_equal(unnamed, pixels(loaded(*images)))
    assert np.array_equal(unnamed, pixels(loaded(arrays[0][..., 0], images[1])))
    assert np.abs(unnamed - expected).max() > 0


def test_an_image_in_memory_is_seen_as_its_file_is(loaded: Colorizer, tmp_path: Path) -> None:
    turned = Image.fromarray(circles(90, 150, 3))
    exif = Image.Exif()
    exif[0x112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    shape = Image.radial_gradient("L").resize((90, 60)).point(lambda v: 255 * (v < 100))
    cut = Image.fromarray(circles(90, 60, 3))
    cut.putalpha(shape)
    cut.save(tmp_path / "cut.png")
    cut.quantize(8).save(tmp_path / "palette.png")
    Image.fromarray(circles(90, 60, 3)).convert("CMYK").save(tmp_path / "cmyk.jpg")
    deep = circles(90, 60, 3)[..., 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    references = [picture(1)] * 5
    names = ["turned.png", "cut.png", "palette.png", "cmyk.jpg", "deep.png"]
    paths = [tmp_path / name for name in names]
    by_file = loaded(paths, references)
    by_image = loaded([Image.open(path) for path in paths], references)
    for one, other in zip(by_file, by_image, strict=True):
        assert one.mode == other.mode
        assert np.array_equal(pixels(one), pixels(other))
    assert by_file[0].size == (150, 90)
    assert by_file[1].mode == "RGBA"


def near(one: Image.Image, other: Image.Image) -> bool:
    """Whether they differ by no more than a batch of another size makes."""
    return np.abs(pixels(one) - pixels(other)).max() <= 1


def test_a_list_is_answered_by_a_list(loaded: Colorizer, files: Path) -> None:
    sketches, references = (
        [files / "one.png", files / "two.png"],
        [files / "a.png", files / "b.png"],
    )
    paired = loaded(sketches, references)
    assert near(paired[1], loaded(sketches[1], references[1]))
    several, of_one = loaded(sketches[0], references), loaded(sketches, references[:1] * 2)
    assert near(several[0], paired[0])
    assert near(several[0], of_one[0])
    assert np.abs(pixels(several[0]) - pixels(several[1])).max() > 8
    (alone,) = loaded(sketches[:1], references[0])
    assert near(alone, paired[0])
    assert loaded([], references[0]) == []


def test_progress_is_told_after_each_image(
    loaded: Colorizer, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(colorizer, "_BATCH", 2)
    told: list[tuple[int, int]] = []
    loaded(files / "one.png", [files / "a.png"] * 3, progress=lambda *done: told.append(done))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_caller_s_torch_is_left_as_it_was(loaded: Colorizer, files: Path) -> None:
    layers = loaded.layers(files / "one.png", [files / "a.png"] * 2)
    for _ in layers:
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


def test_nothing_is_computed_before_all_is_known_to_be_readable(
    loaded: Colorizer, files: Path
) -> None:
    (files / "bad.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"bad\.png: not readable as an image"):
        loaded.layers([files / "one.png", files / "bad.png"], files / "a.png")


ARRAY = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("sketch", "reference", "options", "told"),
    [
        ("no.png", ARRAY, {}, "no.png: not readable as an image (No such file or directory)"),
        (ARRAY / 255, ARRAY, {}, "sketch: an array (8, 8, 3) of float64: must be (H, W), "),
        (ARRAY[..., :2], ARRAY, {}, "sketch: an array (8, 8, 2) of uint8: must be (H, W), "),
        (ARRAY[:0], ARRAY, {}, "sketch: has no pixels"),
        (ARRAY, [ARRAY, None], {}, "reference[1]: is a NoneType: must be a file, an image or"),
        ([ARRAY] * 2, [ARRAY] * 3, {}, "sketch, reference: lists of 2 and 3: must be of one"),
        (ARRAY, ARRAY, {"steps": 0}, "steps: 0: input should be greater than or equal to 1"),
        (ARRAY, ARRAY, {"steps": "2"}, "steps: 2: input should be a valid integer"),
        (ARRAY, ARRAY, {"guidance": -1.0}, "guidance: -1.0: input should be greater than"),
        (ARRAY, ARRAY, {"seed": 1.5}, "seed: 1.5: must be a whole number"),
        (ARRAY, ARRAY, {"crop": (0, 0, 9, 8)}, "crop: 0,0,9,8: is not within sketch (8 × 8 pix"),
        (ARRAY, ARRAY, {"crop": (0, 0.5, 4, 4)}, "crop: (0, 0.5, 4, 4): must be x,y,w,h: whole"),
        (
            ARRAY,
            ARRAY,
            {"crop": (float("inf"), 0, 4, 4)},
            "crop: (inf, 0, 4, 4): must be x,y,w,h: whole",
        ),
        (ARRAY, ARRAY, {"crop": 5}, "crop: 5: must be x,y,w,h: whole pixels"),
    ],
)
def test_mistakes_are_value_errors_of_a_line(
    loaded: Colorizer, sketch: Any, reference: Any, options: dict, told: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011, the text is looked at below
        loaded(sketch, reference, **options)
    assert str(caught.value).startswith(told)
    assert str(caught.value).isprintable()


def test_a_checkpoint_or_device_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no\.safetensors: no such file"):
        Colorizer.load(tmp_path / "no.safetensors")
    with pytest.raises(ValueError, match="device: tpu: must be auto, cpu, mps, cuda or cuda:N"):
        Colorizer.load(device="tpu")


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Colouriser'"):
        ssimbad.Colouriser  # noqa: B018
