"""The user's images: every layout and mode, and every fault in one message."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssimbad.data.images import read_image
from ssimbad.data.sources.folder import ExpectConfig, Folder, FolderConfig
from tests.conftest import picture


def folder(path: Path, seed: int = 0, validation: float = 0.25, **expect: int) -> Folder:
    expected = ExpectConfig(**({"train": 0, "test": 0} | expect))
    config = FolderConfig(path=str(path), validation=validation, test=0.25, expect=expected)
    return Folder(config, seed)


def fill(path: Path, names: list[str], mode: str = "RGB") -> None:
    path.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        picture(i).convert(mode).save(path / name)


def by_split(source: Folder) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    items, faults = source.items(source.path / "unpacked")
    assert faults == []
    for item in items:
        found.setdefault(item.split, []).append(item.name)
    return found


def test_published_layout(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(8)]
    fill(tmp_path / "train_data/reference", names)
    fill(tmp_path / "train_data/sketch", names, "L")
    fill(tmp_path / "test_data/reference", ["x.png", "y.png"])
    fill(tmp_path / "test_data/sketch", ["x.png", "y.png"], "L")
    source = folder(tmp_path)
    splits = by_split(source)
    assert splits["test"] == ["x", "y"]
    assert sorted(splits["train"] + splits["validation"]) == [str(i) for i in range(8)]
    assert len(splits["validation"]) == 2
    item = next(i for i in source.items(tmp_path)[0] if i.name == "x")
    image, sketch, files = source.load(item, 40)
    assert image.shape == (40, 40, 3)
    assert sketch is not None
    np.testing.assert_array_equal(sketch, np.asarray(picture(0).convert("L")))
    assert set(files) == {"image", "sketch"}


def test_ready_made_split_with_validation_and_no_sketches(tmp_path: Path) -> None:
    fill(tmp_path / "train", ["a.jpg", "b.webp"])
    fill(tmp_path / "validation", ["c.png"])
    fill(tmp_path / "test", ["d.png", "e.JPEG"])
    source = folder(tmp_path)
    assert by_split(source) == {"train": ["a", "b"], "validation": ["c"], "test": ["d", "e"]}
    assert source.load(source.items(tmp_path)[0][0], 32)[1] is None


def test_no_image_is_held_out_where_none_shall_be(tmp_path: Path) -> None:
    fill(tmp_path / "train", ["a.png", "b.png"])
    fill(tmp_path / "test", ["d.png", "e.png"])
    assert by_split(folder(tmp_path, validation=0.0)) == {"train": ["a", "b"], "test": ["d", "e"]}


def test_counts_are_those_expected(tmp_path: Path) -> None:
    fill(tmp_path / "train", [f"{i}.png" for i in range(8)])
    fill(tmp_path / "test", ["x.png", "y.png"])
    assert by_split(folder(tmp_path, train=8, test=2))["test"] == ["x", "y"]
    _, faults = folder(tmp_path, train=9, test=2).items(tmp_path)
    assert faults == [f"{tmp_path}: has 8 usable train images, data.folder.expect.train is 9"]
    _, faults = folder(tmp_path, train=7, test=579).items(tmp_path)
    assert [fault.rsplit(", ", 1)[1] for fault in faults] == [
        "data.folder.expect.train is 7",
        "data.folder.expect.test is 579",
    ]


def test_a_plain_folder_is_split_by_name_and_seed(tmp_path: Path) -> None:
    fill(tmp_path, [f"{i}.png" for i in range(20)])
    splits = by_split(folder(tmp_path))
    assert [len(splits[s]) for s in ("train", "validation", "test")] == [11, 4, 5]
    assert by_split(folder(tmp_path)) == splits
    assert by_split(folder(tmp_path, seed=1)) != splits


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_every_mode_is_read_as_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    base = picture(3)
    if mode == "I;16":
        deep = np.asarray(base.convert("L")).astype(np.uint16) * 257
        Image.fromarray(deep).save(path)
    else:
        base.convert(mode).save(path, **({"quality": 100} if mode == "CMYK" else {}))
    read = read_image(path, 40)
    assert read.shape == (40, 40, 3)
    greyish = mode in ("L", "LA", "I;16")
    expected = np.asarray(base.convert("L").convert("RGB") if greyish else base, dtype=int)
    if mode == "1":
        dots = np.asarray(base.convert("1").convert("RGB"))
        np.testing.assert_array_equal(read, dots)
    else:
        assert np.abs(read.astype(int) - expected).mean() < {"P": 25, "CMYK": 4}.get(mode, 0.01)


def test_transparency_becomes_white(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", 20) == 255).all()


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 40), "white")
    image.paste("black", (0, 0, 40, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90° to show
    image.save(tmp_path / "a.png", exif=exif)
    read = read_image(tmp_path / "a.png", 40)
    assert (read[:, -8:] == 0).all()
    assert (read[:, :28] == 255).all()


def test_other_sizes_are_cropped_at_the_centre_not_squeezed(tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (100, 0, 200, 100))
    image.save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", 50)[:, 5:-5] == (0, 0, 255)).all()
