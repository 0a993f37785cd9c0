"""Image files changed by chunks, tags and bytes: ``python -m tests.data.mutations COUNT [FOLDER]``."""

import io
import random
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ssimbad.data.images import display_size, read_image, read_picture
from ssimbad.errors import UserError
from tests.conftest import picture
from tests.data.pictures import (
    ADOBE_GAMMA,
    SIGNATURE,
    chunk,
    exif,
    png,
    profile,
    with_profile,
)

Parts = list[tuple[bytes, bytes]]
"""Chunks or segments of a file: kind and body."""
PROFILES = [profile("Display P3"), profile("Adobe RGB", ADOBE_GAMMA), profile("", 1.8), b"", b"x"]
TAGS = (0x100, 0x112, 0x11A, 0x128, 0x8769, 0x8825, 0x9286, 0xFFFF)


def encoded(form: str, **options: object) -> bytes:
    """A small picture in a format."""
    with io.BytesIO() as stream:
        mode = str(options.pop("mode", "RGB"))
        picture(1, 21, 17).convert(mode).save(stream, form, **options)
        return stream.getvalue()


def samples() -> dict[str, list[bytes]]:
    """Files of each format: depths, modes, transparency, metadata."""
    pixels = np.asarray(picture(2, 21, 17)).astype(int)
    told = [with_profile(PROFILES[0]), (b"eXIf", exif(6)), (b"tEXt", b"a\0b")]
    alpha = np.concatenate([pixels, pixels[..., :1]], -1)
    return {
        "PNG": [
            *(png(pixels * (257 if d == 16 else 1), 2, d, told) for d in (8, 16)),
            *(png(pixels[..., :1] >> (8 - d), 0, d, [(b"tRNS", b"\0\1")]) for d in (1, 2, 4, 8)),
            png(pixels * 257, 2, 16, [(b"tRNS", b"\1\1" * 3)]),
            png(alpha, 6),
            png(alpha[..., 2:] * 257, 4, 16),
            encoded("PNG", mode="P"),
            encoded("PNG", save_all=True, append_images=[picture(3, 21, 17)]),
        ],
        "JPEG": [
            encoded("JPEG", exif=b"Exif\0\0" + exif(6), icc_profile=PROFILES[1]),
            encoded("JPEG", progressive=True, comment=b"a"),
            encoded("JPEG", mode="L"),
            encoded("JPEG", mode="CMYK"),
        ],
        "WEBP": [
            encoded("WEBP", exif=exif(6), icc_profile=PROFILES[0]),
            encoded("WEBP", lossless=True),
            encoded("WEBP", mode="RGBA", lossless=True, xmp=b"<x/>"),
            encoded("WEBP", save_all=True, append_images=[picture(3, 21, 17)]),
        ],
    }


def png_parts(data: bytes) -> Parts:
    parts, at = [], len(SIGNATURE)
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        parts.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return parts


def png_whole(parts: Parts) -> bytes:
    return SIGNATURE + b"".join(chunk(*part) for part in parts)


def jpeg_parts(data: bytes) -> Parts:
    parts, at = [], 2
    while data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        parts.append((data[at + 1 : at + 2], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return [*parts, (b"", data[at:])]


def jpeg_whole(parts: Parts) -> bytes:
    told = (
        body
        if not kind
        else b"\xff" + kind + struct.pack(">H", len(body[:65533]) + 2) + body[:65533]
        for kind, body in parts
    )
    return b"\xff\xd8" + b"".join(told)


def webp_parts(data: bytes) -> Parts:
    parts, at = [], 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        parts.append((kind, data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return parts


def webp_whole(parts: Parts) -> bytes:
    told = (
        kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2) for kind, body in parts
    )
    whole = b"".join(told)
    return b"RIFF" + struct.pack("<I", len(whole) + 4) + b"WEBP" + whole


TOOLS: dict[str, tuple[Callable[[bytes], Parts], Callable[[Parts], bytes]]] = {
    "PNG": (png_parts, png_whole),
    "JPEG": (jpeg_parts, jpeg_whole),
    "WEBP": (webp_parts, webp_whole),
}
ENDINGS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}


def odd_exif(chance: random.Random) -> bytes:
    """EXIF of random entries, in part as their tags have them, in part of other types and counts."""
    order = chance.choice("<>")
    count = chance.randint(0, 6)
    body = b"".join(
        struct.pack(
            f"{order}HHI4s",
            chance.choice(TAGS),
            chance.choice((1, 2, 3, 4, 5, 7, 9, 11, 12, 13, 99)),
            chance.choice((0, 1, 1, 1, 2, 1 << 31)),
            chance.choice((struct.pack(f"{order}I", chance.randint(0, 12)), chance.randbytes(4))),
        )
        for _ in range(count)
    )
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    start = chance.choice((8, 8, 8, 0, 7, 1 << 31))
    told = struct.pack(f"{order}IH", start, chance.choice((count, count, count + 99)))
    return head + told + body + bytes(chance.choice((0, 4)))


def added_part(form: str, chance: random.Random) -> tuple[bytes, bytes]:
    """A part of metadata, usual or odd."""
    icc, odd = chance.choice(PROFILES), odd_exif(chance)
    if form == "JPEG":
        xmp = b"http://ns.adobe.com/xap/1.0/\0<x/>"
        told: Parts = [
            (b"\xe1", b"Exif\0\0" + odd),
            (b"\xe2", b"ICC_PROFILE\0" + bytes([chance.randint(0, 2), chance.randint(0, 2)]) + icc),
            (b"\xe1", xmp),
            (b"\xed", b"Photoshop 3.0\0" + chance.randbytes(20)),
            (b"\xfe", chance.randbytes(chance.choice((0, 20, 65000)))),
        ]
        return chance.choice(told)
    if form == "WEBP":
        return chance.choice([(b"EXIF", odd), (b"ICCP", icc), (b"XMP ", b"<x"), (b"abcd", b"x")])
    size = chance.choice((0, 20, 1 << 21))
    told = [
        (b"eXIf", odd),
        with_profile(icc),
        (b"iCCP", chance.randbytes(20)),
        (b"zTXt", b"a\0\0" + zlib.compress(bytes(size))),
        (b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(size))),
        (b"tEXt", bytes(size)),
    ]
    told += [
        (kind, chance.randbytes(chance.randint(0, 12)))
        for kind in (
            b"tRNS",
            b"pHYs",
            b"sRGB",
            b"gAMA",
            b"cHRM",
            b"bKGD",
            b"acTL",
            b"abCd",
            b"tIME",
        )
    ]
    return chance.choice(told)


def by_parts(form: str, data: bytes, chance: random.Random) -> bytes:
    """Parts added, dropped, doubled, moved, cut or filled with others' bytes; checksums are right."""
    apart, whole = TOOLS[form]
    parts = apart(data)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(parts))
        kind, body = parts[at]
        match chance.choice(("add", "add", "add", "drop", "double", "move", "cut", "fill")):
            case "add":
                parts.insert(chance.randrange(len(parts)), added_part(form, chance))
            case "drop":
                parts.pop(at)
            case "double":
                parts.insert(at, parts[at])
            case "move":
                parts.insert(chance.randrange(len(parts)), parts.pop(at))
            case "cut":
                parts[at] = (kind, body[: chance.randint(0, len(body))])
            case "fill":
                start = chance.randint(0, len(body))
                some = chance.randbytes(chance.randint(0, 8))
                parts[at] = (kind, body[:start] + some + body[start + len(some) :])
        if not parts:
            break
    return whole(parts)


def by_tags(form: str, data: bytes, chance: random.Random) -> bytes:
    """Metadata in odd forms, and nothing else changed."""
    apart, whole = TOOLS[form]
    parts = apart(data)
    for _ in range(chance.randint(1, 3)):
        parts.insert(chance.randint(1, max(1, len(parts) - 1)), added_part(form, chance))
    return whole(parts)


def by_bytes(form: str, data: bytes, chance: random.Random) -> bytes:
    """Bytes overwritten, cut out or put in."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(changed))
        changed[at : at + chance.randint(0, 12)] = chance.randbytes(chance.randint(0, 12))
    return bytes(changed)


KINDS = {"parts": by_parts, "tags": by_tags, "bytes": by_bytes}


def mutation(number: int, files: dict[str, list[bytes]]) -> tuple[str, str, bytes]:
    """The format, kind and bytes of the changed file of a number."""
    chance = random.Random(number)
    form, kind = chance.choice(list(TOOLS)), chance.choice(list(KINDS))
    return form, kind, KINDS[kind](form, chance.choice(files[form]), chance)


def outcome(path: Path) -> str:
    """ "accepted", or the line of the refusal; all readers of images agree."""
    told: list[str] = []
    try:
        pixels, alpha = read_picture(path)
        assert display_size(path) == (pixels.shape[1], pixels.shape[0])
        assert alpha is None or alpha.shape == pixels.shape[:2]
        assert read_image(path, 16).shape == (16, 16, 3)
        return "accepted"
    except UserError as error:
        told = str(error).splitlines()
    assert len(told) == 1
    assert told[0].startswith(f"{path}: ")
    assert told[0].isprintable()
    return told[0]


def main() -> None:
    """Try many, and count what became of them; accepted ones are left in a folder where one is named."""
    count, kept = int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None
    files, counts = samples(), Counter[tuple[str, str, str]]()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            form, kind, data = mutation(number, files)
            path = Path(folder) / f"a{ENDINGS[form]}"
            path.write_bytes(data)
            accepted = outcome(path) == "accepted"
            counts[form, kind, "accepted" if accepted else "refused"] += 1
            if accepted and kept:
                kept.mkdir(exist_ok=True)
                (kept / f"{number:05d}{ENDINGS[form]}").write_bytes(data)
    for told, number in sorted(counts.items()):
        print(*told, number)


if __name__ == "__main__":
    main()
