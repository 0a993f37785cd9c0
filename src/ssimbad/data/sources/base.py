"""What every source of images offers: items with names and splits, loaded one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from ssimbad.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from ssimbad.schema import Section

SPLITS = ("train", "validation", "test")
HELD_OUT = SPLITS[1:]
"""Splits whose images are colorized, not trained on."""


@dataclass(frozen=True)
class Item:
    """One identity. ``name`` is its file stem everywhere; paths are set where files exist."""

    name: str
    split: str
    image: Path | None = None
    sketch: Path | None = None


class Source(ABC):
    """A source of images. It is sent to worker processes, so it must be picklable.

    Making one reads nothing, so that it can be asked for what follows from the config alone.

    Attributes:
        section: schema of its config section.
        config: the section.
        seed: the run's seed.
    """

    section: ClassVar[type[Section]]

    def __init__(self, config: Any, seed: int) -> None:
        self.config, self.seed = config, seed

    @abstractmethod
    def items(self, scratch: Path) -> tuple[list[Item], list[str]]:
        """All items that can be loaded, names unique over all splits; and the faults found, a line each.

        Args:
            scratch: a folder, not there yet, that may be made and filled. The caller removes it when all
                items are loaded.
        """

    @abstractmethod
    def load(self, item: Item, size: int) -> tuple[np.ndarray, np.ndarray | None, dict[str, bytes]]:
        """Load one item.

        Returns:
            Image (size, size, 3) uint8 RGB; ready-made sketch (size, size) uint8 or None; the
            source bytes ("image", and "sketch" where there is one), which the manifest digests.

        Raises:
            UserError: the item's files are at fault.
        """

    def attribution(self) -> str:
        """Whose work the images are and under which licence; empty when not known."""
        return ""

    @property
    def redrawn_share(self) -> float:
        """Share of the references trained on that are another drawing in the image's colours, in [0, 1]."""
        return 0.0

    def redrawn(self, item: Item, size: int) -> np.ndarray | None:
        """Another drawing in an item's colours, (size, size, 3) uint8 RGB; None where there is none.

        Where :attr:`redrawn_share` is above 0, every training item has one.
        """
        return None

    @property
    def recolours(self) -> bool:
        """Whether it can render an image's own drawing in another's colours."""
        return False

    def recoloured(self, item: Item, colours: Item, size: int) -> np.ndarray | None:
        """An item's own drawing in another item's colours, (size, size, 3) uint8 RGB.

        It is what the cross-reference setting asks for. None unless :attr:`recolours`.
        """
        return None

    @property
    def users_paths(self) -> dict[str, str]:
        """The user's files and folders that it reads, there or not, by their keys in the config."""
        return {}

    def files(self) -> list[Path]:
        """The files there are that the images come from."""
        return []

    @property
    def unvalidated(self) -> str:
        """The config's key and value that leave no validation images; empty where nothing does."""
        return ""

    def counts(self, given: list[int]) -> dict[str, int]:
        """Images of each split.

        Args:
            given: what the user says of images that are not there yet; empty: nothing.

        Raises:
            UserError: the images cannot be counted, or all is known and something is given.
        """
        if given:
            name = type(self).__module__.rpartition(".")[2]
            raise UserError(f"--images: data.source is {name}, whose numbers the config has")
        with TemporaryDirectory() as folder:
            items, faults = self.items(Path(folder) / "unpacked")
        if faults:
            raise UserError("\n".join(faults))
        return {split: sum(item.split == split for item in items) for split in SPLITS}
