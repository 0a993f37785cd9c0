"""Illustrated faces rendered offline: DiceBear styles through resvg.

Hair, skin, background and clothes take random colours from a wide palette, so nothing but the reference
tells a method which colour belongs where.
"""

from __future__ import annotations

import colorsys
import io
import json
import re
from functools import cache
from importlib import resources
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

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
    "clothes": ((0.0, 1.0), (0.1, 0.9), (0.3, 1.0)),
}
# What the styles call the parts. Other colours, such as eyes', are the style's own, by the drawing.
_CALLED = {
    "hair": ("hair", "facialHair", "headContrast", "paperHair", "top"),
    "skin": ("skin", "base", "paperFace"),
    "background": ("background",),
    "clothes": ("clothes", "clothing", "shirt", "body"),
}
_MIN_DISTANCE = 25.0  # CIE76 ΔE between any two parts, so that each region is told apart by colour
# Licences by which pictures may be changed and passed on, as the styles' metadata name them.
_FREE = re.compile(r"CC0\b|CC BY \d|MIT\b")


def styles() -> list[str]:
    """Names of all styles in the installed dicebear-styles package."""
    folder = resources.files("dicebear_styles")
    return sorted(
        f.name.removesuffix(".json") for f in folder.iterdir() if f.name.endswith(".json")
    )


@cache
def _definition(style: str) -> dict[str, Any]:
    text = resources.files("dicebear_styles").joinpath(f"{style}.json").read_text("utf-8")
    return json.loads(text)


class StyleConfig(Section):
    """A style's share of the identities, and how its drawings are placed."""

    weight: float = Field(ge=0, description="relative share of the identities, 0 leaves it out")
    scale: float = Field(gt=0, le=10, description="enlargement, so that the head fills the frame")
    translate_x: float = Field(ge=-1000, le=1000, description="shift to the right, % of the frame")
    translate_y: float = Field(ge=-1000, le=1000, description="shift downwards, % of the frame")


class FacesConfig(Section):
    """Illustrated faces."""

    styles: dict[str, StyleConfig] = Field(description="styles of the dicebear-styles package")
    train: int = Field(ge=2, description="number of training identities")
    validation: int = Field(ge=2, description="number of validation identities")
    test: int = Field(ge=2, description="number of test identities")
    redrawn: float = Field(
        ge=0,
        le=1,
        description="share of the references trained on that are another drawing in the image's colours,"
        " not the image (published: 0)",
    )

    @field_validator("styles")
    @classmethod
    def _usable(cls, value: dict[str, StyleConfig]) -> dict[str, StyleConfig]:
        for style in value:
            if style not in styles():
                raise ValueError(f"no style {style!r}: styles are {', '.join(styles())}")
            licence = _definition(style)["meta"].get("license", {}).get("name", "none")
            if not _FREE.match(licence):
                raise ValueError(
                    f"style {style!r} has the licence {licence!r}: pictures are changed and passed on,"
                    " as CC0, CC BY and MIT allow"
                )
        if not any(entry.weight for entry in value.values()):
            raise ValueError("at least one style must have a weight above 0")
        return value

    @property
    def shares(self) -> dict[str, float]:
        """Share of the identities of each style that has any, in (0, 1], by the styles' names in order."""
        total = sum(entry.weight for entry in self.styles.values())
        return {s: e.weight / total for s, e in sorted(self.styles.items()) if e.weight}


@cache
def _style(name: str) -> Style:
    from dicebear import Style

    return Style(_definition(name))


def attribution(names: list[str]) -> str:
    """The styles' creators, sources and licences, as their own metadata states them.

    The first line credits every style.
    """
    metas = [_style(name).meta() for name in names]
    remixes = [m.license().text() or f"{m.source().name()} by {m.creator().name()}" for m in metas]
    lines = ["; ".join(remixes)]
    for meta in metas:
        lines += [
            f"Style: {meta.source().name()} ({meta.source().url()})",
            f"Creator: {meta.creator().name()} ({meta.creator().url()})",
            f"Licence: {meta.license().name()} ({meta.license().url()})",
        ]
    lines.append(
        f"Changed here: colours drawn at random, enlarged, rendered to pixels; derived sketches,"
        f" warps and colorizations. Rendered by dicebear-core {version('dicebear-core')}."
    )
    return "\n".join(lines) + "\n"


def _hex(rgb: tuple[float, ...]) -> str:
    return "#" + "".join(f"{round(255 * v):02x}" for v in rgb)


def draw_colours(generator: np.random.Generator) -> dict[str, str]:
    """Random colours (#rrggbb) of hair, skin, background and clothes, pairwise at least ΔE 25 apart."""
    from skimage.color import rgb2lab

    colours: dict[str, tuple[float, float, float]] = {}
    # Clothes come last: few styles show any, and the other parts' colours are the same with and without.
    for parts in (("hair", "skin", "background"), ("clothes",)):
        distances = np.zeros(1)
        while distances.min() < _MIN_DISTANCE:
            for part in parts:
                hsv = (generator.uniform(low, high) for low, high in _RANGES[part])
                colours[part] = colorsys.hsv_to_rgb(*hsv)
            lab = rgb2lab(np.array(list(colours.values())))
            between = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
            distances = between[np.triu_indices(len(lab), 1)]
    return {part: _hex(colour) for part, colour in colours.items()}


def draw_style(config: FacesConfig, seed: int, name: str) -> str:
    """The style of the drawing called ``name``, by the styles' weights."""
    names, shares = zip(*config.shares.items(), strict=True)
    return names[numpy_generator(seed, "style", name).choice(len(names), p=shares)]


def svg_of(config: FacesConfig, seed: int, name: str, drawing: str | None = None) -> str:
    """The SVG of the identity called ``name``, or of another's ``drawing`` in its colours.

    The style is the drawing's. A part that it has no colour for keeps the style's own colours.
    """
    from dicebear import Avatar

    drawing = drawing or name
    style = draw_style(config, seed, drawing)
    entry, drawn = config.styles[style], _style(style)
    colours = draw_colours(numpy_generator(seed, "colours", name))
    options = {
        "seed": f"{seed}/{drawing}",
        "scale": entry.scale,
        "translateX": entry.translate_x,
        "translateY": entry.translate_y,
    }
    for part, called in _CALLED.items():
        for colour in called:
            # Every style takes a background, also those that name none.
            if colour in drawn.colors() or colour == "background":
                options[f"{colour}Color"] = [colours[part]]
    return Avatar(drawn, options).to_string()


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
        """Creators and licences of the styles."""
        return attribution(list(self.config.shares))

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
