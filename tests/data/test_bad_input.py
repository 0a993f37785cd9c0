"""Folders of users' images, one fault or oddity each: the tables of docs/bad-input.md."""

import os
import re
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ssimbad.data.images import display_size, read_image
from ssimbad.data.prepare import prepare
from ssimbad.data.schema import DataConfig
from ssimbad.data.sources.folder import Folder, FolderConfig
from ssimbad.data.store import Split
from ssimbad.errors import UserError
from tests.conftest import NO_COUNTS, REPOSITORY, picture, run_cli, table_of, tiny_values
from tests.data.pictures import Chunk, exif, in_srgb, png, profile, with_profile


def fill(folder: Path, names: list[str], seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        picture(seed + i).save(folder / name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing wrong yet: four images to train on and three to test, with sketches."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    root = tmp_path / "in"
    for part, names, seed in (("train", "abcd", 0), ("test", "xyz", 50)):
        fill(root / part / "reference", [f"{n}.png" for n in names], seed)
        fill(root / part / "sketch", [f"{n}.png" for n in names], 100)
    return root


def prepared(folder: Path) -> Path:
    values = tiny_values()["data"] | {"source": "folder", "size": 32}
    expect = {"train": 4, "test": 3}
    if folder.is_dir() and any(folder.glob("*.png")):
        expect = {"train": 0, "test": 0}
    values["folder"] = {"path": str(folder), "validation": 0.25, "test": 0.25, "expect": expect}
    store = folder.parent / "store"
    prepare(DataConfig.model_validate(values), 0, store)
    return store


A = "train/reference/a.png"


def rename(folder: Path, name: str) -> None:
    for part in ("reference", "sketch"):
        (folder / "train" / part / "a.png").rename(folder / "train" / part / name)


def deep(folder: Path) -> None:
    grey = np.asarray(picture(0).convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(folder / A)


def cmyk(folder: Path) -> None:
    rename(folder, "a.jpg")
    picture(0).convert("CMYK").save(folder / "train/reference/a.jpg")


def mode(kind: str) -> Callable[[Path], None]:
    return lambda folder: picture(0).convert(kind).save(folder / A)


def animation(folder: Path) -> None:
    frames = [picture(0), picture(1)]
    frames[0].save(folder / A, save_all=True, append_images=frames[1:], duration=50)


def transparent(folder: Path) -> None:
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(folder / A)


def turned(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(0, 40, 60).save(folder / A, exif=exif)
    picture(100, 60, 40).save(folder / "train/sketch/a.png")


def inner_link(folder: Path) -> None:
    (folder / "kept").mkdir()
    (folder / A).rename(folder / "kept/a.png")
    (folder / A).symlink_to(folder / "kept/a.png")


def no_splits(folder: Path, count: int) -> None:
    """Nothing but a few images, of which the expected numbers are said no more."""
    shutil.rmtree(folder)
    fill(folder, [f"{n}.png" for n in "abcdefg"[:count]])


def two_ways(folder: Path) -> None:
    (folder / A).rename(folder / "train/reference/e\u0301.png")
    (folder / "train/sketch/a.png").rename(folder / "train/sketch/\u00e9.png")


def one_transparent(folder: Path) -> None:
    white = np.asarray(picture(0)).astype(int) * 257
    white[:20] = (300, 301, 302)
    (folder / A).write_bytes(png(white, 2, 16, [(b"tRNS", b"\x01\x2c\x01\x2d\x01\x2e")]))


def metadata(*chunks: Chunk) -> Callable[[Path], object]:
    pixels = np.asarray(picture(0)).astype(int)
    return lambda folder: (folder / A).write_bytes(png(pixels, 2, 8, chunks))


def others(folder: Path) -> None:
    (folder / "train/reference/notes.txt").write_text("mine")
    (folder / "train/reference/.hidden.png").write_text("not an image")


def other_folders(folder: Path) -> None:
    fill(folder / "older", ["a.png"], 3)


ACCEPTED: dict[str, Callable[[Path], object]] = {
    "names with spaces": lambda f: rename(f, "a b.png"),
    "names in any script": lambda f: rename(f, "顔 éø.png"),
    "names with any space, joiner or emoji": lambda f: rename(
        f, "a\u3000\u00a0\u202f\u200d\u200c\ufe0f\U0001fae9.png"
    ),
    "one name written in two ways": two_ways,
    "braces in a name": lambda f: rename(f, "{a}{{.png"),
    "every usual ending of the formats": lambda f: rename(f, "a.jfif"),
    "16 bits a channel": deep,
    "CMYK": cmyk,
    "grey": mode("L"),
    "palette": mode("P"),
    "animation": animation,
    "transparency": transparent,
    "one colour transparent": one_transparent,
    "turned by its EXIF tag": turned,
    "odd or damaged metadata": metadata(
        (b"eXIf", exif(9, 1, (0x128, 2, 2, b"2"))), (b"pHYs", b""), (b"iCCP", b"x")
    ),
    "metadata of any size": metadata((b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 21)))),
    "embedded profile": metadata(with_profile(profile("Display P3"))),
    "few images": lambda f: no_splits(f, 7),
    "link within the folder": inner_link,
    "other files beside the images": others,
    "other folders of images": other_folders,
}


def truncated(folder: Path) -> None:
    (folder / A).write_bytes((folder / A).read_bytes()[:200])


def bomb(folder: Path) -> None:
    """A PNG of a few bytes that claims to be of 20,000 × 20,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b"")]
    (folder / A).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def outer_link(folder: Path) -> None:
    (folder / A).rename(folder.parent / "a.png")
    (folder / A).symlink_to(folder.parent / "a.png")


def empty(folder: Path) -> None:
    for path in folder.glob("train/*/*"):
        path.unlink()


def single(folder: Path) -> None:
    for path in folder.glob("test/*/[yz].png"):
        path.unlink()


def missing(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def capitals(folder: Path) -> None:
    for name in ("train", "test"):
        (folder / name).rename(folder / name.capitalize())


def too_deep(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.mkdir()
    folder.with_name("moved").rename(folder / "faces")


def without_references(folder: Path) -> None:
    for path in (folder / "train/reference").iterdir():
        path.rename(folder / "train" / path.name)
    (folder / "train/reference").rmdir()


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("mine")


def same_name(folder: Path) -> None:
    for part in ("reference", "sketch"):
        fill(folder / "test" / part, ["a.png"], 70)


def same_image(folder: Path) -> None:
    (folder / "test/reference/x.png").write_bytes((folder / A).read_bytes())


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "not an image": (lambda f: (f / A).write_text("not one"), "a.png: not readable as an image"),
    "truncated image": (truncated, "a.png: not readable as an image"),
    "zero bytes": (lambda f: (f / A).write_bytes(b""), "a.png: not readable as an image"),
    "decompression bomb": (bomb, "a.png: has more than 89 million pixels"),
    "two images of one stem": (
        lambda f: fill(f / "train/reference", ["a.jpg"]),
        r"a.jpg: another image is called 'a' too\n.*a.png: another image is called 'a' too",
    ),
    "sketch without reference": (lambda f: (f / A).unlink(), "sketch/a.png: has no reference"),
    "reference without sketch": (
        lambda f: (f / "train/sketch/a.png").unlink(),
        "reference/a.png: has no sketch",
    ),
    "sketch of another size": (
        lambda f: picture(0, 41, 40).save(f / "train/sketch/a.png"),
        "reference/a.png: is 40×40, its sketch 41×40",
    ),
    "control characters in a name": (
        lambda f: rename(f, "a\n\x1b[31mb.png"),
        r"a\\n\\x1b\[31mb.png: control characters in the name",
    ),
    "line separator in a name": (
        lambda f: rename(f, "a\u2028b.png"),
        r"a\\u2028b.png: a line separator in the name",
    ),
    "bidirectional override in a name": (
        lambda f: rename(f, "a\u202egnp.png"),
        r"a\\u202egnp.png: a bidirectional override in the name",
    ),
    "name that is no text": (
        lambda f: rename(f, os.fsdecode(b"\xff.png")),
        r"\\udcff.png: the name is no valid text",
    ),
    "one name twice, written in two ways": (
        lambda f: fill(f / "train/reference", ["e\u0301.png", "\u00e9.png"]),
        r"called 'é' too\n.*called 'é' too",
    ),
    "sketches in a folder of another name": (
        lambda f: (f / "train/sketch").rename(f / "train/Sketches"),
        "train/Sketches: is not read; is it sketch",
    ),
    "sketches without references": (
        without_references,
        "train/sketch: is not read, as there is no reference beside it",
    ),
    "validation in a folder of another name": (
        lambda f: fill(f / "val", ["v.png"], 90),
        "in/val: is not read; is it validation",
    ),
    "splits in capitals": (
        capitals,
        r"in/Test: is not read; is it test.*\n.*in/Train: is not read; is it train",
    ),
    "layout one folder too deep": (
        too_deep,
        "in: holds no PNG, JPEG or WebP image: .*in/faces does",
    ),
    "link out of the folder": (outer_link, "a.png: a link out of the folder"),
    "empty folder": (empty, "train/reference: holds no PNG, JPEG or WebP image"),
    "one image only": (single, "too few usable images: test has 1, at least 2 needed"),
    "three images only": (
        lambda f: no_splits(f, 3),
        "in: has 3 usable images, at least 4 needed: .*data.folder.validation is 0",
    ),
    "missing folder": (missing, r"data\.folder\.path: .*in: no such folder"),
    "a file that is no archive": (a_file, r"in: is no folder, and no \.tar, .*\.zip"),
    "one name in two splits": (same_name, "'a': is in train and in test"),
    "one image in two splits": (same_image, "'x' of test: the same image as 'a' of train"),
    "other counts than expected": (
        lambda f: rename(f, "w.txt"),
        "in: has 3 usable train images, data.folder.expect.train is 4",
    ),
}
UNREADABLE = ("unreadable file", "unreadable folder")


def test_the_documentation_lists_what_is_tested() -> None:
    told = table_of(REPOSITORY / "docs/bad-input.md", "Your images")
    assert list(told) == [
        *ACCEPTED,
        *list(REFUSED)[:4],
        *UNREADABLE,
        *list(REFUSED)[4:],
    ]
    for name, what in told.items():
        assert what.startswith(("accepted", "ignored") if name in ACCEPTED else "refused")


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(folder: Path, name: str) -> None:
    ACCEPTED[name](folder)
    store = prepared(folder)
    train, validation = Split(store, "train"), Split(store, "validation")
    if name == "few images":
        assert len(train) == 4
        assert (len(validation), len(Split(store, "test"))) == (1, 2)
        return
    assert len(train) + len(validation) == 4
    held = train if set(train.names) - {"b", "c", "d"} else validation
    (own,) = set(held.names) - {"b", "c", "d"}
    image = held.images[held.index[own]].astype(int)
    expected = {
        "turned by its EXIF tag": picture(0, 40, 60).transpose(Image.Transpose.ROTATE_270),
        "transparency": Image.new("RGB", (40, 40), "white"),
        "grey": picture(0).convert("L"),
        "16 bits a channel": picture(0).convert("L"),
        "one colour transparent": half_white(),
        "embedded profile": as_p3(picture(0)),
    }.get(name, picture(0))
    near = np.asarray(fitted(expected.convert("RGB"))).astype(int)
    assert np.abs(image - near).mean() < {"palette": 25, "CMYK": 8, "embedded profile": 0.5}.get(
        name, 0.01
    )


def half_white() -> Image.Image:
    image = picture(0)
    image.paste("white", (0, 0, 40, 20))
    return image


def as_p3(image: Image.Image) -> Image.Image:
    return Image.fromarray(in_srgb(np.asarray(image), "Display P3").round().astype(np.uint8))


def fitted(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((32, 32), Image.Resampling.LANCZOS, box=box)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(folder: Path, name: str) -> None:
    change, told = REFUSED[name]
    change(folder)
    with pytest.raises(UserError) as caught:
        prepared(folder)
    assert re.search(told, str(caught.value))
    assert all(line.isprintable() for line in str(caught.value).splitlines())
    assert not list(folder.parent.glob("*store*"))


def faults_of(folder: Path) -> list[str]:
    source = Folder(FolderConfig(path=str(folder), validation=0.3, test=0.3, **NO_COUNTS), 0)
    items, faults = source.items(folder.parent / "unpacked")
    for item in items:
        try:
            source.load(item, 32)
        except UserError as error:
            faults.append(str(error))
    return faults


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_one_may_not_read_is_refused(name: str) -> None:
    """In a process of a user who owns nothing: the one who tests may be root."""
    with tempfile.TemporaryDirectory() as given:
        root = Path(given)
        root.chmod(0o755)
        fill(root / "in", [f"{i}.png" for i in range(8)])
        locked = root / "in" / ("3.png" if name == "unreadable file" else "")
        locked.chmod(0)
        reader, writer = os.pipe()
        if not (child := os.fork()):
            try:
                if os.getuid() == 0:
                    os.setuid(65534)
                os.write(writer, "\n".join(faults_of(root / "in")).encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader) as stream:
            told = stream.read().splitlines()
        locked.chmod(0o755)
    place = "/3.png: not readable as an image (" if name == "unreadable file" else ": "
    assert told[0].startswith(f"{root}/in{place}Permission denied")


def test_all_faults_are_told_at_once_by_the_command(folder: Path, tmp_path: Path) -> None:
    truncated(folder)
    (folder / "train/sketch/b.png").unlink()
    same_name(folder)
    picture(3, 20, 20).save(folder / "test/sketch/y.png")
    (folder / "test/sketch/z.png").write_bytes(b"")
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(
        f"results: {tmp_path / 'results'}\ndata: {{source: folder, folder: {{path: '{folder}'}}}}\n"
    )
    done = run_cli("data", "--config", "config/tiny.yaml", "--config", str(overlay))
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("ssimbad: ")]
    for fault in (
        "a.png: not readable",
        "reference/b.png: has no sketch",
        "'a': is in train and in test",
        "y.png: is 40×40, its sketch 20×20",
        "z.png: not readable",
    ):
        assert len([line for line in told if fault in line]) == 1, fault
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "results").glob("*data*"))


SAMPLES = []
for _form, _options in (("PNG", {}), ("JPEG", {}), ("WEBP", {}), ("PNG", {"interlace": 1})):
    with tempfile.SpooledTemporaryFile() as _stream:
        picture(1).save(_stream, _form, **_options)
        _stream.seek(0)
        SAMPLES.append(_stream.read())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Random bytes, or an image file with bytes overwritten, cut out or put in."""
    data = bytearray(draw(st.sampled_from([b"", *SAMPLES])))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 12))
        data[at : at + length] = draw(st.binary(max_size=12))
    return bytes(data)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=damaged())
def test_random_bytes_are_an_image_or_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for read in (display_size, lambda path: read_image(path, 16).shape):
        told = ""
        try:
            assert len(read(path)) >= 2
        except UserError as error:
            told = str(error)
        assert told == "" or (told.startswith(f"{path}: ") and told.isprintable())
