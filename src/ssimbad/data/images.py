"""Reading users' image files, whatever their mode, size and orientation."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ssimbad.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


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


def read_image(path: Path, size: int) -> np.ndarray:
    """Read an image file as a square: shorter side resized to ``size``, centre cropped.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        UserError: the file cannot be read as an image.
    """
    try:
        with Image.open(path) as image:
            fitted = ImageOps.fit(flatten(image), (size, size), Image.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not readable as an image ({error})") from None
    return np.asarray(fitted)
