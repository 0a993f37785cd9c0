"""The schema of the section ``data``: where images come from, and how references are warped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ssimbad.data.sources import sources
from ssimbad.data.sources.base import SPLITS
from ssimbad.schema import Section

if TYPE_CHECKING:
    from ssimbad.data.sources.base import Source


class WarpConfig(Section):
    """How references are warped."""

    redraw_folds: bool = Field(
        description="redraw warps that fold the image over itself (published: false)"
    )
    rotation: float = Field(
        ge=0,
        le=180,
        description="largest rotation either way, degrees, of the references trained on; validation's and"
        " test's are not turned (published code: 0)",
    )


DRAWINGS = {"train": "redrawn", "validation": "recoloured", "test": "recoloured"}
"""By split, what is stored beside images and sketches where the source can render it: another drawing in the
image's colours, or the image's drawing in its partner's colours."""

STORE = (
    *("manifest.json", "pairs.csv", "ATTRIBUTION.txt", "report.json"),
    *(f"{s}_{kind}.npy" for s in SPLITS for kind in ("images", "sketches", DRAWINGS[s])),
)
"""The files of the packed store."""


class DataConfig(Section):
    """The images a run works on."""

    source: Literal[tuple(sources())] = Field(  # type: ignore[valid-type]
        description="where images come from"
    )
    size: int = Field(ge=32, le=1024, multiple_of=8, description="side of all images, pixels")
    # A field for each source, named like it: all their sections stand in the config.
    __annotations__ |= {name: source.section for name, source in sources().items()}
    warp: WarpConfig

    def make_source(self, seed: int) -> Source:
        """The configured source."""
        return sources()[self.source](getattr(self, self.source), seed)
