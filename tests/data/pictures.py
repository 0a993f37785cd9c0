"""PNG files and ICC profiles written by hand, byte by byte as their specifications say."""

import struct
import zlib
from collections.abc import Iterable

import numpy as np

Chunk = tuple[bytes, bytes]
"""Kind and body."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
D65, D50 = np.array([0.95047, 1.0, 1.08883]), np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
PRIMARIES = {
    "sRGB": [(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)],
    "Display P3": [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)],
    "Adobe RGB": [(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)],
}
"""Chromaticities of red, green and blue; the white of all is D65."""
ADOBE_GAMMA = 563 / 256
"""Exponent of Adobe RGB (1998); the others have sRGB's curve."""


def chunk(kind: bytes, body: bytes) -> bytes:
    """A whole chunk, with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(values: np.ndarray, kind: int, depth: int = 8, extra: Iterable[Chunk] = ()) -> bytes:
    """A PNG of values (H, W, C) of ``depth`` bits and a colour type, with chunks before its pixels."""
    height, width, _ = values.shape
    rows = values.reshape(height, -1)
    if depth < 8:
        bits = (rows[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        lines = [np.packbits(line.astype(np.uint8)).tobytes() for line in bits.reshape(height, -1)]
    else:
        lines = [line.astype(">u2" if depth == 16 else ">u1").tobytes() for line in rows]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *(chunk(*each) for each in extra)]
    parts += [
        chunk(b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines))),
        chunk(b"IEND", b""),
    ]
    return SIGNATURE + b"".join(parts)


def with_profile(profile: bytes) -> Chunk:
    """The chunk that embeds a profile."""
    return b"iCCP", b"a name\0\0" + zlib.compress(profile)


def exif(orientation: int, kind: int = 3, *others: tuple[int, int, int, bytes]) -> bytes:
    """EXIF of an orientation, of SHORT (3) or another type, and of other entries: tag, type, count, value."""
    own = (0x112, kind, 1, struct.pack("<I", orientation))
    entries = sorted([own, *others])
    body = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)


def to_xyz(name: str) -> np.ndarray:
    """The matrix from linear RGB of a space to XYZ under D65, from its chromaticities."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in PRIMARIES[name]]).T
    return columns * np.linalg.solve(columns, D65)


def light(values: np.ndarray, gamma: float = 0) -> np.ndarray:
    """Linear light of values in [0, 1], of sRGB's curve or of an exponent."""
    if gamma:
        return values**gamma
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def in_srgb(values: np.ndarray, name: str, gamma: float = 0) -> np.ndarray:
    """Values (..., 3) in 0…255 of a space, as sRGB's: by its primaries alone, no colour library."""
    linear = light(values / 255, gamma) @ to_xyz(name).T @ np.linalg.inv(to_xyz("sRGB")).T
    linear = linear.clip(0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * curved


def profile(name: str, gamma: float = 0) -> bytes:
    """A profile (ICC.1:2001) of a space of :data:`PRIMARIES`, or of grey where ``name`` is empty."""

    def fixed(values: Iterable[float]) -> bytes:
        return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)

    steps = (light(np.linspace(0, 1, 1024)) * 65535).round().astype(">u2")
    curve = struct.pack(">IIIH", 0x63757276, 0, 1, round(gamma * 256))
    if not gamma:
        curve = struct.pack(">III", 0x63757276, 0, 1024) + steps.tobytes()
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"a\0" + bytes(78),
        b"cprt": b"text\0\0\0\0a\0",
        b"wtpt": b"XYZ \0\0\0\0" + fixed(D50),
    }
    if name:
        scaled = np.diag((BRADFORD @ D50) / (BRADFORD @ D65))
        matrix = np.linalg.inv(BRADFORD) @ scaled @ BRADFORD @ to_xyz(name)
        for letter, column in zip("rgb", matrix.T, strict=True):
            tags[f"{letter}XYZ".encode()] = b"XYZ \0\0\0\0" + fixed(column)
            tags[f"{letter}TRC".encode()] = curve
    else:
        tags[b"kTRC"] = curve
    at = 132 + 12 * len(tags)
    table, bodies = struct.pack(">I", len(tags)), b""
    for tag, body in tags.items():
        table += struct.pack(">4sII", tag, at + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    space = b"RGB " if name else b"GRAY"
    head = b"none" + struct.pack(">I", 0x02400000) + b"mntr" + space + b"XYZ " + bytes(12)
    head += b"acsp" + bytes(28) + fixed(D50) + bytes(48)
    return struct.pack(">I", 4 + len(head) + len(table) + len(bodies)) + head + table + bodies
