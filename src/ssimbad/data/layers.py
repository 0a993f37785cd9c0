"""A colorized drawing in layers, as painting programs take it: colours below, lines above."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

_THUMBNAIL = 256  # pixels a side at most, as OpenRaster has it
_STACK = """<?xml version="1.0" encoding="UTF-8"?>
<image version="0.0.3" w="{}" h="{}">
 <stack>
  <layer name="lines" src="data/lines.png" x="0" y="0"/>
  <layer name="colours" src="data/colours.png" x="0" y="0"/>
 </stack>
</image>
"""


def _over(colours: Image.Image, lines: Image.Image) -> Image.Image:
    flat = Image.alpha_composite(colours.convert("RGBA"), lines)
    return flat if colours.mode == "RGBA" else flat.convert("RGB")


def _ink(lines: np.ndarray) -> Image.Image:
    """RGBA black, as opaque as lines (H, W) uint8 are dark."""
    image = Image.new("RGBA", lines.shape[::-1])
    image.putalpha(Image.fromarray(255 - lines))
    return image


@dataclass(frozen=True)
class Layers:
    """A colorized drawing, taken apart.

    Attributes:
        colours: RGB; RGBA where the drawing is a cut-out. They lie below.
        lines: RGBA, black, with the lines' darkness as alpha. They lie above.
    """

    colours: Image.Image
    lines: Image.Image

    @classmethod
    def of(cls, colours: np.ndarray, lines: np.ndarray, alpha: np.ndarray | None) -> Layers:
        """Colours under lines.

        Where a cut-out is not opaque its lines are drawn into the colours: in 8 bits two layers there would
        not add up to its alpha.

        Args:
            colours: (H, W, 3) uint8.
            lines: (H, W) uint8, 255 where there is none.
            alpha: (H, W) uint8, a cut-out's shape; None: all is opaque.
        """
        below, above = Image.fromarray(colours), _ink(lines)
        if alpha is not None:
            opaque = alpha == 255
            below.paste(_over(below, above), mask=Image.fromarray(~opaque))
            below.putalpha(Image.fromarray(alpha))
            above = _ink(np.where(opaque, lines, np.uint8(255)))
        return cls(below, above)

    @property
    def image(self) -> Image.Image:
        """The lines over the colours (Porter and Duff's *over*, rounded): RGB, or RGBA as the colours are."""
        return _over(self.colours, self.lines)

    def save_ora(self, path: Path | str) -> None:
        """Write an OpenRaster file, which Krita, GIMP and MyPaint open; same layers, same bytes."""
        thumbnail = self.image
        pictures = {
            "data/lines.png": self.lines,
            "data/colours.png": self.colours,
            "mergedimage.png": thumbnail.copy(),
            "Thumbnails/thumbnail.png": thumbnail,
        }
        thumbnail.thumbnail((_THUMBNAIL, _THUMBNAIL))
        # All is stored: the type has to be, and PNGs are packed already.
        with zipfile.ZipFile(path, "w") as archive:

            def add(name: str, content: bytes | str) -> None:
                archive.writestr(zipfile.ZipInfo(name), content)

            add("mimetype", "image/openraster")
            add("stack.xml", _STACK.format(*self.colours.size))
            for name, picture in pictures.items():
                packed = io.BytesIO()
                picture.save(packed, format="PNG")
                add(name, packed.getvalue())
