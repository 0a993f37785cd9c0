"""Bytes on the disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssimbad.data.sources.base import HELD_OUT
from ssimbad.settings import inferred

if TYPE_CHECKING:
    from ssimbad.config.schema import Config
    from ssimbad.plan.workload import Line

_CHANNELS = 4  # an image's three and its sketch's one, a byte each
_FLOAT = 4


@dataclass(frozen=True)
class Bytes:
    """So many bytes of something."""

    count: int
    what: str


def disk(config: Config, counts: dict[str, int], lines: list[Line]) -> list[Bytes]:
    """What a run leaves, and what its training needs meanwhile.

    Args:
        config: the config.
        counts: images of each split.
        lines: the phases.
    """
    pixels = config.data.size**2
    source = config.data.make_source(config.seed)
    drawings = counts["train"] if source.redrawn_share else 0
    drawings += sum(counts[split] for split in HELD_OUT) if source.recolours else 0
    store = sum(counts.values()) * pixels * _CHANNELS + drawings * pixels * 3
    stages = [line for line in lines if line.phase in ("train", "refine")]
    checkpoints = sum(_FLOAT * line.parameters * line.runs for line in stages)
    drawn = sum(line.runs for line in lines if line.phase == "infer")
    images = drawn * len(inferred()) * counts["test"] * pixels * 3
    kept = {"train": config.train.keep, "refine": config.refine.keep}
    state = max(
        (line.state + (kept[line.phase] + 1) * _FLOAT * line.parameters for line in stages),
        default=0,
    )
    names = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    return [
        Bytes(store, f"data: {names} images of {config.data.size} px with sketches, unpacked"),
        Bytes(checkpoints, "checkpoints"),
        Bytes(images, "colorized images, at most: PNG is smaller"),
        Bytes(state, "state of the largest training while it runs, for resuming it"),
    ]
