"""PNG, JPEG and WebP files taken apart: what decides pixels, and what is said about them.

Decoders refuse whole pictures for metadata that is large, odd or damaged. So they are given files without
any, and the little that matters of it is read here, where whatever is not as specified counts as not there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_PNG = b"\x89PNG\r\n\x1a\n"
_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_GREY, _RGB, _PALETTE = 0, 2, 3  # PNG's colour types that may have a transparent colour or palette
_NEAR = 0.01  # of PNG's gamma
_LARGEST_PROFILE = 1 << 26  # bytes; a printer's have a few million
_ORIENTATION, _SHORT, _LONG = 0x112, 3, 4  # EXIF's tag, and the types that viewers read it of


@dataclass(frozen=True)
class Container:
    """An image file taken apart.

    Attributes:
        data: the file without metadata.
        profile: the bytes of the embedded ICC profile; empty: none.
        orientation: EXIF's, 1 (upright) to 8.
        key: the colour that a grey (1 value) or RGB (3) PNG declares transparent, of ``depth`` bits.
        depth: bits a channel.
        gamma: the exponent that a PNG without a profile says its values were made with; 0: sRGB's curve.
    """

    data: bytes
    profile: bytes = b""
    orientation: int = 1
    key: tuple[int, ...] = ()
    depth: int = 8
    gamma: float = 0.0


def _orientation(exif: bytes) -> int:
    """The orientation that EXIF states, as viewers read it: one whole number from 1 to 8; else 1."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    try:
        if order is None:
            return 1
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", exif, at)
            if tag == _ORIENTATION and values == 1 and kind in (_SHORT, _LONG):
                form = "H" if kind == _SHORT else "I"
                (value,) = struct.unpack_from(f"{order}{form}", exif, at + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Every chunk's kind, body, and all of its bytes."""
    at = len(_PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        yield kind, data[at + 8 : end - 4], data[at:end]
        at = end


def _png_profile(body: bytes) -> bytes:
    _, _, packed = body.partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(packed[1:], _LARGEST_PROFILE)
    except zlib.error:
        return b""
    return profile if unpacker.eof and packed[:1] == b"\0" else b""


def _png_gamma(found: dict[bytes, bytes]) -> float:
    gamma = found.get(b"gAMA", b"")
    if len(gamma) != 4 or {b"sRGB", b"iCCP"} & found.keys():
        return 0.0
    value = int.from_bytes(gamma) / 100_000
    # Writers state 1 / 2.2 for sRGB.
    return 0.0 if abs(value - 1 / 2.2) < _NEAR else value


def _png(data: bytes) -> Container:
    kept = [_PNG]
    found: dict[bytes, bytes] = {}
    depth = kind = -1
    for name, body, whole in _png_chunks(data):
        if name == b"IHDR" and len(body) == 13:
            depth, kind = body[8], body[9]
        # Those of other kinds than the palette's are read here, at their full depth.
        is_key = name == b"tRNS" and kind != _PALETTE
        # Lower case: a decoder may pass it by. An unknown one of upper case is the decoder's to refuse.
        if (name in _PIXELS and not is_key) or name[:1].isupper():
            kept.append(whole)
        # What is said of colours after them comes too late, as for all decoders.
        if name == b"eXIf" or b"IDAT" not in found:
            found.setdefault(name, body)
    channels = {_GREY: 1, _RGB: 3}.get(kind, 0)
    key = found.get(b"tRNS", b"")
    values = struct.unpack(f">{channels}H", key) if channels and len(key) == 2 * channels else ()
    return Container(
        b"".join(kept),
        _png_profile(found.get(b"iCCP", b"")),
        _orientation(found.get(b"eXIf", b"")),
        tuple(value & ((1 << depth) - 1) for value in values),
        depth,
        _png_gamma(found),
    )


_APP0, _APP1, _APP2, _APP14, _APP15, _COMMENT, _SCAN = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE, 0xDA
_ICC = b"ICC_PROFILE\0"


def _jpeg_profile(parts: list[bytes]) -> bytes:
    """A profile from its segments, each with its number and how many there are; strays are passed by."""
    count = next((part[1] for part in parts if len(part) > 1 and part[0] == 1), 0)
    numbered: dict[int, bytes] = {}
    for part in parts:
        if len(part) > 1 and part[1] == count:
            numbered.setdefault(part[0], part[2:])
    found = [numbered.get(number) for number in range(1, count + 1)]
    return b"" if None in found else b"".join(part for part in found if part)


def _jpeg(data: bytes) -> Container:
    kept, parts, orientation = [data[:2]], [], 0
    at = 2
    while (at := data.find(b"\xff", at)) >= 0:
        marker = data[at + 1 : at + 2]
        if marker in (b"", b"\xff", b"\0"):
            at += 1
            continue
        if marker[0] == _SCAN or at + 4 > len(data):
            kept.append(data[at:])
            break
        if marker[0] == 1 or 0xD0 <= marker[0] <= 0xD9:  # no length follows
            kept.append(data[at : at + 2])
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        if marker[0] == _APP1 and body.startswith(b"Exif\0"):
            orientation = orientation or _orientation(body)
        elif marker[0] == _APP2 and body.startswith(_ICC):
            parts.append(body.removeprefix(_ICC))
        is_told = marker[0] in (_APP0, _APP14)  # which colours its channels are
        if is_told or not (_APP0 <= marker[0] <= _APP15 or marker[0] == _COMMENT):
            kept.append(data[at : at + 2 + length])
        at += 2 + max(length, 2)
    return Container(b"".join(kept), _jpeg_profile(parts), orientation or 1)


_FRAMES = {b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"}
_HAS_PROFILE, _HAS_EXIF, _HAS_XMP = 0x20, 0x08, 0x04  # flags of VP8X, the first chunk
_TOLD = _HAS_PROFILE | _HAS_EXIF | _HAS_XMP


def _webp(data: bytes) -> Container:
    kept = b""
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + length % 2
        body = data[at + 8 : at + 8 + length]
        if name == b"VP8X" and body:
            kept += data[at : at + 8] + bytes([body[0] & ~_TOLD]) + data[at + 9 : end]
        elif name in _FRAMES:
            kept += data[at:end]
        found.setdefault(name, body)
        at = end
    header = b"RIFF" + struct.pack("<I", len(kept) + 4) + b"WEBP"
    told = found.get(b"VP8X", b"\0")[:1] if data[12:16] == b"VP8X" else b"\0"
    profile = found.get(b"ICCP", b"") if told and told[0] & _HAS_PROFILE else b""
    exif = found.get(b"EXIF", b"") if told and told[0] & _HAS_EXIF else b""
    return Container(header + kept, profile, _orientation(exif))


def take_apart(data: bytes) -> Container:
    """What an image file holds, by its first bytes; one of no known format as it is."""
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    return Container(data)
