"""Users' pictures as a browser shows them: colours, depths, transparency, orientation, metadata."""

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssimbad.data.images import display_size, is_image_name, read_picture
from ssimbad.errors import UserError
from tests.conftest import picture
from tests.data.mutations import ENDINGS, by_tags, mutation, outcome, samples
from tests.data.pictures import (
    ADOBE_GAMMA,
    Chunk,
    chunk,
    exif,
    in_srgb,
    png,
    profile,
    with_profile,
)

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
COLOURS = np.array(
    [(255, 60, 60), (0, 0, 0), (255, 255, 255), (40, 200, 90), (128, 128, 128), (200, 30, 250)]
).reshape(2, 3, 3)


def read(folder: Path, data: bytes, ending: str = ".png") -> np.ndarray:
    path = folder / f"a{ending}"
    path.write_bytes(data)
    pixels, _ = read_picture(path)
    assert display_size(path) == (pixels.shape[1], pixels.shape[0])
    return pixels.astype(int)


@pytest.mark.parametrize(
    ("space", "gamma"), [("Display P3", 0.0), ("Adobe RGB", ADOBE_GAMMA), ("sRGB", 0.0)]
)
@pytest.mark.parametrize("depth", [8, 16])
def test_colours_of_a_profile_are_converted_to_srgb(
    tmp_path: Path, space: str, gamma: float, depth: int
) -> None:
    values = COLOURS * (257 if depth == 16 else 1)
    data = png(values, RGB, depth, [with_profile(profile(space, gamma))])
    np.testing.assert_allclose(read(tmp_path, data), in_srgb(COLOURS, space, gamma), atol=1)


@pytest.mark.parametrize(("gamma", "expected"), [(0.0, [255, 16, 45]), (2.2, [255, 4, 41])])
def test_p3_red_is_the_known_one(tmp_path: Path, gamma: float, expected: list[int]) -> None:
    data = png(COLOURS, RGB, 8, [with_profile(profile("Display P3", gamma))])
    assert read(tmp_path, data)[0, 0].tolist() == expected


@pytest.mark.parametrize(("ending", "form"), [(".jpg", "JPEG"), (".webp", "WEBP")])
def test_profiles_of_other_formats_count_too(tmp_path: Path, ending: str, form: str) -> None:
    flat = Image.new("RGB", (16, 16), (200, 80, 60))
    with io.BytesIO() as stream:
        flat.save(stream, form, quality=100, icc_profile=profile("Adobe RGB", ADOBE_GAMMA))
        found = read(tmp_path, stream.getvalue(), ending)
    expected = in_srgb(np.array([200.0, 80, 60]), "Adobe RGB", ADOBE_GAMMA)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=4)


def test_a_profile_in_parts_is_one(tmp_path: Path) -> None:
    whole = profile("Display P3")
    parts = [whole[:700], whole[700:]]
    segments = [b"ICC_PROFILE\0" + bytes([k + 1, 2]) + part for k, part in enumerate(parts)]
    told = [b"\xff\xe2" + struct.pack(">H", len(s) + 2) + s for s in reversed(segments)]
    with io.BytesIO() as stream:
        Image.new("RGB", (8, 8), (255, 60, 60)).save(stream, "JPEG", quality=100)
        data = stream.getvalue()
    found = read(tmp_path, data[:2] + b"".join(told) + data[2:], ".jpg")
    np.testing.assert_allclose(found[4, 4], (255, 16, 45), atol=3)


@pytest.mark.parametrize("space", ["", "Display P3"])
@pytest.mark.parametrize("kind", [GREY, GREY_ALPHA])
@pytest.mark.parametrize("depth", [8, 16])
def test_grey_has_profiles_too(tmp_path: Path, space: str, kind: int, depth: int) -> None:
    values = np.array([0, 60, 130, 255]).reshape(1, 4, 1)
    greys = np.array([0.0, 60, 130, 255])[None, :, None]
    full = 65535 if depth == 16 else 255
    given = values * (full // 255)
    if kind == GREY_ALPHA:
        given = np.concatenate([given, np.full_like(given, full)], -1)
    data = png(given, kind, depth, [with_profile(profile(space, 1.8))])
    expected = in_srgb(np.repeat(greys, 3, -1), "sRGB", 1.8)
    np.testing.assert_allclose(read(tmp_path, data), expected, atol=1)


BROKEN = {
    "cut": with_profile(profile("Display P3")[:300]),
    "zeros": with_profile(bytes(1 << 21)),
    "not packed": (b"iCCP", b"a\0\0not packed"),
    "of a method unknown": (b"iCCP", b"a\0\1" + zlib.compress(profile("Display P3"))),
    "nothing": (b"iCCP", b""),
    "of grey": with_profile(profile("", 1.8)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_profile_counts_as_none(tmp_path: Path, name: str) -> None:
    np.testing.assert_array_equal(read(tmp_path, png(COLOURS, RGB, 8, [BROKEN[name]])), COLOURS)


def test_a_large_profile_counts(tmp_path: Path) -> None:
    large = profile("Display P3") + bytes(1 << 21)
    found = read(tmp_path, png(COLOURS, RGB, 8, [with_profile(large)]))
    assert found[0, 0].tolist() == [255, 16, 45]


@pytest.mark.parametrize(("gamma", "exponent"), [(100_000, 1.0), (55_556, 1.8), (45_455, 0.0)])
def test_a_gamma_is_converted_too(tmp_path: Path, gamma: int, exponent: float) -> None:
    data = png(COLOURS, RGB, 8, [(b"gAMA", struct.pack(">I", gamma))])
    expected = in_srgb(COLOURS, "sRGB", exponent) if exponent else COLOURS
    np.testing.assert_allclose(read(tmp_path, data), expected, atol=1)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("transparent", [False, True])
def test_grey_of_every_depth(tmp_path: Path, depth: int, transparent: bool) -> None:
    most = 2**depth - 1
    values = np.array([0, most // 3, most - most // 3, most] * 2).reshape(2, 4, 1)
    key = [(b"tRNS", struct.pack(">H", most // 3))] if transparent else []
    expected = np.where(transparent & (values == most // 3), 255, values * 255 / most)
    found = read(tmp_path, png(values, GREY, depth, key))
    np.testing.assert_allclose(found, np.repeat(expected, 3, -1), atol=0.5)


@pytest.mark.parametrize("depth", [8, 16])
def test_one_colour_is_transparent_at_its_full_depth(tmp_path: Path, depth: int) -> None:
    own, near = ((1, 2, 3), (1, 2, 4)) if depth == 8 else ((300, 20000, 999), (300, 20000, 998))
    key: Chunk = (b"tRNS", struct.pack(">HHH", *own))
    found = read(tmp_path, png(np.array([[own, near]]), RGB, depth, [key]))
    assert found[0, 0].tolist() == [255, 255, 255]
    np.testing.assert_allclose(found[0, 1], np.array(near) / (1 if depth == 8 else 257), atol=1)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_has_alpha_and_a_profile(tmp_path: Path, depth: int) -> None:
    chunks = [
        with_profile(profile("Display P3")),
        (b"PLTE", bytes([255, 60, 60, 9, 9, 9])),
        (b"tRNS", bytes([255, 0])),
    ]
    found = read(tmp_path, png(np.array([[[0], [1]]]), PALETTE, depth, chunks))
    assert found[0].tolist() == [[255, 16, 45], [255, 255, 255]]


def test_half_transparent_colours_are_converted_before_they_meet_the_paper(tmp_path: Path) -> None:
    values = np.array([[[255, 60, 60, 128]]])
    found = read(tmp_path, png(values, RGB_ALPHA, 8, [with_profile(profile("Display P3"))]))
    expected = (np.array([255, 16, 45]) * 128 + 255 * 127) / 255
    np.testing.assert_allclose(found[0, 0], expected, atol=1)


PIXELS = np.asarray(picture(1, 5, 3)).astype(int)
TURNED = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.transpose(1, 0, 2),
    6: PIXELS[::-1].transpose(1, 0, 2),
    7: PIXELS[::-1, ::-1].transpose(1, 0, 2),
    8: PIXELS[:, ::-1].transpose(1, 0, 2),
}
"""By EXIF 2.32, 4.6.4 A: what the stored first row and column are of the picture."""


@pytest.mark.parametrize("orientation", [*TURNED, 0, 9, 65535])
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_orientations(tmp_path: Path, orientation: int, form: str) -> None:
    if form == "PNG":
        data = png(PIXELS, RGB, 8, [(b"eXIf", exif(orientation))])
    else:
        with io.BytesIO() as stream:
            image = Image.fromarray(PIXELS.astype(np.uint8))
            image.save(stream, form, lossless=True, exif=exif(orientation))
            data = stream.getvalue()
    np.testing.assert_array_equal(read(tmp_path, data), TURNED.get(orientation, PIXELS))


ODD_EXIF = {
    "a unit in letters": (exif(6, 3, (0x128, 2, 2, b"2\0")), 6),
    "a resolution in letters": (exif(6, 3, (0x11A, 2, 2, b"2\0")), 6),
    "a resolution out of the file": (exif(6, 3, (0x11A, 5, 1, b"\xff\xff\xff\x7f")), 6),
    "orientation of type BYTE": (exif(6, 1), 1),
    "orientation of type ASCII": (exif(6, 2), 1),
    "orientation of type LONG": (exif(6, 4), 6),
    "orientation of type FLOAT": (exif(6, 11), 1),
    "orientation of no type": (exif(6, 99), 1),
    "garbage": (b"garbage", 1),
    "nothing": (b"", 1),
    "more entries than there are": (b"MM\0*" + struct.pack(">IH", 8, 999), 1),
    "entries out of the file": (b"II*\0" + struct.pack("<I", 1 << 30), 1),
}


@pytest.mark.parametrize("name", ODD_EXIF)
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_odd_exif_costs_no_picture(tmp_path: Path, name: str, form: str) -> None:
    told, orientation = ODD_EXIF[name]
    if form == "PNG":
        found = read(tmp_path, png(PIXELS, RGB, 8, [(b"eXIf", told)]))
        np.testing.assert_array_equal(found, TURNED[orientation])
        return
    with io.BytesIO() as stream:
        image = Image.fromarray(PIXELS.astype(np.uint8))
        image.save(stream, form, exif=(b"Exif\0\0" if form == "JPEG" else b"") + told)
        found = read(tmp_path, stream.getvalue(), ".jpg")
    assert found.shape == TURNED[orientation].shape


ZEROS = zlib.compress(bytes(1 << 21))
METADATA: dict[str, list[Chunk]] = {
    "large text": [(b"tEXt", b"a\0" + bytes(65 << 20))],
    "large packed text": [(b"zTXt", b"a\0\0" + ZEROS)],
    "large international text": [(b"iTXt", b"a\0\1\0\0\0" + ZEROS)],
    "much packed text": [(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000)))] * 80,
    "text that is none": [(b"zTXt", b"a\0\0none"), (b"zTXt", b"a\0\7x"), (b"iTXt", b"a")],
    "chunks that are too short": [
        *((kind, b"\0") for kind in (b"gAMA", b"cHRM", b"pHYs", b"acTL", b"fcTL", b"tIME")),
        (b"sRGB", b""),
        (b"tRNS", b"\0"),
    ],
    "chunks unknown": [(b"abCd", b"x")],
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_cost_no_picture(tmp_path: Path, name: str) -> None:
    data = png(COLOURS, RGB, 8, METADATA[name])
    np.testing.assert_array_equal(read(tmp_path, data), COLOURS)


def test_a_wrong_checksum_of_metadata_costs_no_picture(tmp_path: Path) -> None:
    data = png(COLOURS, RGB, 8, [(b"tEXt", b"a\0b")]).replace(b"a\0b", b"a\0c")
    np.testing.assert_array_equal(read(tmp_path, data), COLOURS)
    pixels = data[data.index(b"IDAT") :][:12]
    with pytest.raises(UserError, match="not readable as an image"):
        read(tmp_path, data.replace(pixels, pixels[:-1] + bytes([pixels[-1] ^ 1])))


def test_segments_of_a_jpeg_cost_no_picture(tmp_path: Path) -> None:
    with io.BytesIO() as stream:
        picture(1).save(stream, "JPEG")
        data = stream.getvalue()
    told = [b"Exif\0\0garbage", b"http://ns.adobe.com/xap/1.0/\0<x", b"MPF\0II", b"ICC_PROFILE\0\1"]
    segments = [b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in told]
    segments += [b"\xff\xe2" + segment[2:] for segment in segments] + [b"\xff\xff\xfe\0\2"]
    found = read(tmp_path, data[:2] + b"".join(segments) + data[2:], ".jpg")
    np.testing.assert_array_equal(found, read(tmp_path, data, ".jpg"))


def test_what_is_needed_for_pixels_is_kept(tmp_path: Path) -> None:
    """A PNG whose pixels lie in several chunks, and metadata between none of them."""
    data = png(COLOURS, RGB)
    start = data.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", data, start)
    body = data[start + 8 : start + 8 + length]
    parts = chunk(b"IDAT", body[:5]) + chunk(b"IDAT", b"") + chunk(b"IDAT", body[5:])
    split = data[:start] + parts + chunk(b"tEXt", b"a\0b") + chunk(b"IEND", b"")
    np.testing.assert_array_equal(read(tmp_path, split), COLOURS)


@pytest.mark.parametrize("ending", ["PNG", "jpe", "jfif", "pjpeg", "pjp", "jif", "apng", "WebP"])
def test_every_usual_ending_is_an_images(ending: str) -> None:
    assert is_image_name(Path(f"a.{ending}"))
    assert not is_image_name(Path(f".a.{ending}"))
    assert not is_image_name(Path(f"a.{ending}.txt"))


def test_changed_files_are_pictures_or_one_line(tmp_path: Path) -> None:
    """300 of them; ``python -m tests.data.mutations 5000`` tries more."""
    files, outcomes = samples(), set()
    for number in range(300):
        form, _, data = mutation(number, files)
        path = tmp_path / f"a{ENDINGS[form]}"
        path.write_bytes(data)
        outcomes.add(outcome(path) == "accepted")
    assert outcomes == {True, False}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_odd_metadata_alone_cost_no_picture(tmp_path: Path, form: str) -> None:
    files = samples()
    for number in range(60):
        data = by_tags(form, files[form][0], random.Random(number))
        path = tmp_path / f"a{ENDINGS[form]}"
        path.write_bytes(data)
        assert outcome(path) == "accepted"
