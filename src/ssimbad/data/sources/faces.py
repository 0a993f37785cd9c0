"""Illustrated faces rendered offline: DiceBear styles through resvg.

Hair, skin and background take random colours from a wide palette, so nothing but the reference
tells a method which colour belongs where.
"""

from __future__ import annotations

import colorsys
import io
import json
from functools import cache
from importlib import resources
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from pydantic import Field, field_validator

from ssimbad.data.sources.base import SPLITS, Item, Source
from ssimbad.rng import numpy_generator
from ssimbad.schema import Section

if TYPE_CHECKING:
    from pathlib import Path

    from dicebear import Style

# Hue, saturation and value ranges per part; hues are free, the rest keeps parts looking like themselves.
_RANGES = {
    "hair": ((0.0, 1.0), (0.2, 0.95), (0.2, 0.95)),
    "skin": ((0.0, 1.0), (0.1, 0.55), (0.55, 1.0)),
    "background": ((0.0, 1.0), (0.05, 0.7), (0.3, 1.0)),
}
_MIN_DISTANCE = 25.0  # CIE76 ΔE between any two parts, so that each region is told apart by colour


def styles() -> list[str]:
    """Names of all styles in the installed dicebear-styles package."""
    folder = resources.files("dicebear_styles")
    return sorted(
        f.name.removesuffix(".json") for f in folder.iterdir() if f.name.endswith(".json")
    )


class FacesConfig(Section):
    """Illustrated faces."""

    style: str = Field(description="a style of the dicebear-styles package")
    scale: float = Field(gt=0, le=10, description="enlargement, so that the head fills the frame")
    translate_x: float = Field(ge=-1000, le=1000, description="shift to the right, % of the frame")
    translate_y: float = Field(ge=-1000, le=1000, description="shift downwards, % of the frame")
    train: int = Field(ge=2, description="number of training identities")
    validation: int = Field(ge=2, description="number of validation identities")
    test: int = Field(ge=2, description="number of test identities")
    redrawn: float = Field(
        ge=0,
        le=1,
        description="share of the references trained on that are another drawing in the image's colours,"
        " not the image (published: 0)",
    )

    @field_validator("style")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in styles():
            raise ValueError(f"must be one of {', '.join(styles())}")
        return value


@cache
def _style(name: str) -> Style:
    from dicebear import Style

    text = resources.files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8")
    return Style(json.loads(text))


def attribution(style: str) -> str:
    """The style's creator, source and licence, as its own metadata states them."""
    meta = _style(style).meta()
    lines = [
        meta.license().text() or f"{meta.source().name()} by {meta.creator().name()}",
        f"Style: {meta.source().name()} ({meta.source().url()})",
        f"Creator: {meta.creator().name()} ({meta.creator().url()})",
        f"Licence: {meta.license().name()} ({meta.license().url()})",
        f"Changed here: colours drawn at random, enlarged, rendered to pixels; derived sketches,"
        f" warps and colorizations. Rendered by dicebear-core {version('dicebear-core')}.",
    ]
    return "\n".join(lines) + "\n"


def _hex(rgb: tuple[float, ...]) -> str:
    return "#" + "".join(f"{round(255 * v):02x}" for v in rgb)


def draw_colours(generator: np.random.Generator) -> dict[str, str]:
    """Random hair, skin and background colours (#rrggbb), pairwise at least ΔE 25 apart."""
    from skimage.color import rgb2lab

    while True:
        colours = {
            part: colorsys.hsv_to_rgb(*(generator.uniform(low, high) for low, high in ranges))
            for part, ranges in _RANGES.items()
        }
        lab = rgb2lab(np.array(list(colours.values())))
        distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
        if distances[np.triu_indices(len(lab), 1)].min() >= _MIN_DISTANCE:
            return {part: _hex(colour) for part, colour in colours.items()}


def svg_of(config: FacesConfig, seed: int, name: str, drawing: str | None = None) -> str:
    """The SVG of the identity called ``name``, or of another's ``drawing`` in its colours."""
    from dicebear import Avatar

    style = _style(config.style)
    colours = draw_colours(numpy_generator(seed, "colours", name))
    options = {
        "seed": f"{seed}/{drawing or name}",
        "scale": config.scale,
        "translateX": config.translate_x,
        "translateY": config.translate_y,
        "backgroundColor": [colours["background"]],
    }
    for part in ("hair", "skin"):
        if part in style.colors():
            options[f"{part}Color"] = [colours[part]]
    return Avatar(style, options).to_string()


def render(svg: str, size: int) -> np.ndarray:
    """Render an SVG to (size, size, 3) uint8 RGB."""
    import resvg_py

    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


class Faces(Source):
    """The illustrated-faces source: identities are numbered per split, so splits are disjoint."""

    section = FacesConfig
    config: FacesConfig

    def items(self, scratch: Path) -> tuple[list[Item], list[str]]:
        """Every identity of every split; never a fault."""
        return [
            Item(name=f"{split}_{i:05d}", split=split)
            for split in SPLITS
            for i in range(getattr(self.config, split))
        ], []

    def attribution(self) -> str:
        """Creator and licence of the style."""
        return attribution(self.config.style)

    def load(self, item: Item, size: int) -> tuple[np.ndarray, np.ndarray | None, dict[str, bytes]]:
        """Render an identity; its source is the SVG."""
        svg = svg_of(self.config, self.seed, item.name)
        return render(svg, size), None, {"image": svg.encode()}

    @property
    def redrawn_share(self) -> float:
        """As configured."""
        return self.config.redrawn

    def redrawn(self, item: Item, size: int) -> np.ndarray | None:
        """Another face in a training identity's colours, where the config asks for any."""
        if item.split != "train" or not self.config.redrawn:
            return None
        return render(svg_of(self.config, self.seed, item.name, f"{item.name}/redrawn"), size)

    @property
    def recolours(self) -> bool:
        """Always: a drawing and its colours are drawn apart."""
        return True

    def recoloured(self, item: Item, colours: Item, size: int) -> np.ndarray:
        """An identity's face in another's colours."""
        return render(svg_of(self.config, self.seed, colours.name, item.name), size)


SOURCE = Faces
