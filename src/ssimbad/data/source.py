"""What every source of images offers: items with names and splits, loaded one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Item:
    """One identity. ``name`` is its file stem everywhere; paths are set where files exist."""

    name: str
    split: str
    image: Path | None = None
    sketch: Path | None = None


class Source(Protocol):
    """A source of images. It is sent to worker processes, so it must be picklable."""

    def items(self) -> tuple[list[Item], list[str]]:
        """All items that can be loaded, names unique over all splits; and the faults found, a line each."""
        ...

    def attribution(self) -> str:
        """Whose work the images are and under which licence; empty when not known."""
        ...

    def load(self, item: Item, size: int) -> tuple[np.ndarray, np.ndarray | None, dict[str, bytes]]:
        """Load one item.

        Returns:
            Image (size, size, 3) uint8 RGB; ready-made sketch (size, size) uint8 or None; the
            source bytes ("image", and "sketch" where there is one), which the manifest digests.
        """
        ...

    def redrawn(self, item: Item, size: int) -> np.ndarray | None:
        """Another drawing in an item's colours, (size, size, 3) uint8 RGB; None where there is none."""
        ...
