"""Reading users' image files, whatever their mode, depth, colours, size and orientation."""

from __future__ import annotations

import io
import unicodedata
import warnings
from functools import lru_cache
from os.path import isfile
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from ssimbad.data.containers import Container, take_apart
from ssimbad.errors import UserError, shown

SUFFIXES = {".png", ".apng", ".webp", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp"}
FORMATS = ("PNG", "JPEG", "WEBP")
"""Pillow's decoders that read users' files, whatever they are called."""

_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
"""The colour space that a profile is of, by the mode of the images it can be of."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What shows a picture as it is meant, by EXIF's orientation."""


def is_image_name(path: Path) -> bool:
    """Whether the file name is that of an image this project reads (hidden files are not)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def image_files(folder: Path) -> list[Path]:
    """The image files right in a folder, sorted by name.

    Raises:
        UserError: it cannot be listed.
    """
    try:
        return sorted(p for p in folder.iterdir() if is_image_name(p) and isfile(p))
    except OSError as error:
        raise UserError(f"{shown(folder)}: {error.strerror}") from None


def name_of(path: Path) -> str:
    """An image's name: its file's stem, letters and their accents composed (Unicode's NFC).

    macOS and others write one name in two ways, which nobody can tell apart.
    """
    return unicodedata.normalize("NFC", path.stem)


_OVERRIDES = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
_REFUSED = {
    "Cc": "control characters in the name",
    "Zl": "a line separator in the name",
    "Zp": "a paragraph separator in the name",
    "Cs": "the name is no valid text",
}
"""What is wrong with a name, by the Unicode category of a character in it."""


def name_fault(name: str) -> str:
    """Why a file or folder may not be called so; empty where it may.

    Names of any script will do, with any space, joiner or emoji; not what would break a line of text, or
    show it in another order than it has.
    """
    for character in name:
        if fault := _REFUSED.get(unicodedata.category(character)):
            return fault
        if character in _OVERRIDES:
            return "a bidirectional override in the name"
    return ""


def _open(container: Container) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(container.data), formats=FORMATS)


def _grey(image: Image.Image) -> Image.Image:
    """8 bits of an image of 1 or 16 bits of grey; others as they are."""
    if image.mode.startswith("I"):
        deep = np.asarray(image, dtype=np.float64)
        return Image.fromarray((deep / 257).round().clip(0, 255).astype(np.uint8))
    return image.convert("L") if image.mode == "1" else image


def _at_full_depth(container: Container, image: Image.Image) -> np.ndarray:
    """(H, W) or (H, W, 3) values of a grey or RGB PNG, as the file has them but for 1 to 4 bits."""
    values = np.asarray(image).astype(np.int64)
    if image.mode == "1":
        return values * 255
    if image.mode == "RGB" and container.depth == 16:
        # Pillow keeps the upper of two bytes; as if they stood in the other order, the lower.
        with _open(container) as other:
            assert isinstance(other, PngImagePlugin.PngImageFile)
            other.tile = [tile._replace(args="RGB;16L") for tile in other.tile]
            return values * 256 + np.asarray(other)
    return values


def _transparency(container: Container, image: Image.Image) -> Image.Image | None:
    """The alpha of an image, mode L; None where it has none."""
    if container.key:
        # Less than 8 bits have been spread over 8.
        scale = 255 // (2**container.depth - 1) if container.depth < 8 else 1
        key = np.array(container.key) * scale
        opaque = _at_full_depth(container, image) != (key if len(key) > 1 else key[0])
        opaque = opaque.any(-1) if opaque.ndim > 2 else opaque
        return Image.fromarray(opaque.astype(np.uint8) * 255)
    return image.convert("RGBA").getchannel("A") if image.has_transparency_data else None


def _colours(image: Image.Image) -> Image.Image:
    """An image without its alpha, in one of the modes that profiles are of."""
    if image.mode == "LA":
        return image.getchannel("L")
    image = _grey(image)
    if image.mode in _SPACES:
        return image
    # By way of alpha, whose colours a palette would otherwise put on black.
    return image.convert("RGBA").convert("RGB")


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What converts images of a profile to sRGB; None of a profile that is broken, or of other images."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _is_grey(image: Image.Image) -> bool:
    red, *others = (np.asarray(channel) for channel in image.split())
    return all(np.array_equal(red, other) for other in others)


def _decurved(image: Image.Image, gamma: float) -> Image.Image:
    """Values that were made with an exponent, as sRGB's (IEC 61966-2-1)."""
    light = np.linspace(0, 1, 256) ** (1 / gamma)
    values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    table = (255 * values).round().astype(int).tolist()
    return image.point(table * len(image.getbands()))


def _in_srgb(image: Image.Image, container: Container) -> Image.Image:
    """An image of mode L, RGB or CMYK, in sRGB."""
    if container.gamma:
        return _decurved(image, container.gamma).convert("RGB")
    if not container.profile:
        return image.convert("RGB")
    candidates = [image]
    if image.mode == "L":
        candidates.append(image.convert("RGB"))
    elif image.mode == "RGB" and _is_grey(image):
        candidates.append(image.getchannel(0))
    for candidate in candidates:
        if transform := _transform(container.profile, candidate.mode):
            return ImageCms.applyTransform(candidate, transform) or candidate
    return image.convert("RGB")


def _parts(image: Image.Image, container: Container) -> tuple[Image.Image, Image.Image | None]:
    """Colours (sRGB) and alpha, upright."""
    image.load()
    parts = [_in_srgb(_colours(image), container), _transparency(container, image)]
    if container.orientation in _UPRIGHT:
        turn = _UPRIGHT[container.orientation]
        parts = [part and part.transpose(turn) for part in parts]
    colours, alpha = parts
    assert colours is not None
    return colours, alpha


def _on_white(
    colours: Image.Image, alpha: Image.Image | None
) -> tuple[np.ndarray, np.ndarray | None]:
    if alpha is None or np.asarray(alpha).min() == 255:
        return np.asarray(colours), None
    colours.putalpha(alpha)
    paper = Image.new("RGBA", colours.size, "white")
    return np.asarray(Image.alpha_composite(paper, colours).convert("RGB")), np.asarray(alpha)


def _refusal(told: str, error: Exception) -> UserError:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        return UserError(f"{told}: has more than {limit} million pixels")
    if isinstance(error, UnidentifiedImageError):
        reason = "no PNG, JPEG or WebP, or damaged"
    else:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UserError(f"{told}: not readable as an image ({shown(reason)})")


def read_picture(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read an image file whole: its first frame, as a browser shows it.

    Returns:
        (H, W, 3) uint8 sRGB, upright, on white; and its alpha (H, W) uint8, None where all is opaque.

    Raises:
        UserError: it cannot be read, or claims more pixels than Pillow's limit for files that may be
            made to fill the memory.
    """
    try:
        container = take_apart(path.read_bytes())
        with _open(container) as image:
            parts = _parts(image, container)
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files
        raise _refusal(shown(path), error) from None
    return _on_white(*parts)


def picture_of(image: Image.Image, told: str) -> tuple[np.ndarray, np.ndarray | None]:
    """An image in memory, with the profile and orientation that it carries, as :func:`read_picture` has it.

    Args:
        image: of any mode.
        told: what a refusal calls it.

    Raises:
        UserError: it was opened from a damaged file, or has no pixels.
    """
    if not image.width or not image.height:
        raise UserError(f"{told}: has no pixels")
    try:
        profile = image.info.get("icc_profile") or b""
        return _on_white(
            *_parts(
                image, Container(b"", profile, image.getexif().get(ExifTags.Base.Orientation, 1))
            )
        )
    except Exception as error:  # as above
        raise _refusal(told, error) from None


def display_size(path: Path) -> tuple[int, int]:
    """Width and height of an image as it is shown, upright by its EXIF tag; decodes no pixels.

    Raises:
        UserError: as :func:`read_picture`.
    """
    try:
        container = take_apart(path.read_bytes())
        with _open(container) as image:
            width, height = image.size
    except Exception as error:  # as above
        raise _refusal(shown(path), error) from None
    return (height, width) if container.orientation >= 5 else (width, height)


def read_image(path: Path, size: int) -> np.ndarray:
    """Read an image file as a square: shorter side resized to ``size``, centre cropped.

    Returns:
        (size, size, 3) uint8 sRGB.

    Raises:
        UserError: as :func:`read_picture`.
    """
    picture, _ = read_picture(path)
    square = ImageOps.fit(Image.fromarray(picture), (size, size), Image.Resampling.LANCZOS)
    return np.asarray(square)
