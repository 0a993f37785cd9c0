"""Reading users' image files, whatever their mode, size and orientation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from ssimbad.errors import UserError, shown

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
FORMATS = ("PNG", "JPEG", "WEBP")
"""Pillow's decoders that read users' files, whatever they are called."""


def is_image_name(path: Path) -> bool:
    """Whether the file name is that of an image this project reads (hidden files are not)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def flatten(image: Image.Image) -> Image.Image:
    """RGB version of any Pillow image: upright by its EXIF tag, transparency on white, 16 bit to 8."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        deep = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((deep / 257).round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image file's first frame, not yet decoded.

    Raises:
        UserError: it cannot be read, here or in the ``with`` block, or claims more pixels than
            Pillow's limit for files that may be made to fill the memory.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                yield image
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise UserError(f"{shown(path)}: has more than {limit} million pixels") from None
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"{shown(path)}: not readable as an image ({shown(reason)})") from None


def read_picture(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read an image file whole.

    Returns:
        (H, W, 3) uint8 RGB, upright, on white; and its alpha (H, W) uint8, None where all is opaque.

    Raises:
        UserError: as :func:`opened`.
    """
    with opened(path) as image:
        alpha = None
        if image.has_transparency_data and not image.mode.startswith("I"):
            channel = ImageOps.exif_transpose(image).convert("RGBA").getchannel("A")
            alpha = np.asarray(channel)
        return np.asarray(flatten(image)), None if alpha is None or alpha.min() == 255 else alpha


def display_size(path: Path) -> tuple[int, int]:
    """Width and height of an image as it is shown, upright by its EXIF tag; reads its header only.

    Raises:
        UserError: as :func:`opened`.
    """
    with opened(path) as image:
        width, height = image.size
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return (height, width) if turned else (width, height)


def read_image(path: Path, size: int) -> np.ndarray:
    """Read an image file as a square: shorter side resized to ``size``, centre cropped.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        UserError: as :func:`opened`.
    """
    with opened(path) as image:
        return np.asarray(ImageOps.fit(flatten(image), (size, size), Image.Resampling.LANCZOS))
