"""A held-out split: what a method is given of it, and what its images are measured against."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ssimbad.data.store import Split, read_pairs, to_unit
from ssimbad.data.warp import EVALUATION, draw_controls, warp
from ssimbad.rng import image_noise
from ssimbad.settings import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor

    from ssimbad.data.schema import WarpConfig


class ImageSet:
    """The validation or test images of a run, by name.

    Args:
        data: the packed store.
        split: ``validation`` or ``test``.
        seed: the run's.
        warp: how references are warped; None where no method is given any.

    Attributes:
        names: of the images, in the store's order.
        size: side of the images in pixels.
        partners: by setting and name, whose image is the reference. It has the settings that there are for
            this split: a single image has no cross reference, and a truth may not be known.
        seed: the run's.

    Raises:
        UserError: the store cannot be read.
    """

    def __init__(self, data: Path, split: str, seed: int, warp: WarpConfig | None = None) -> None:
        self.seed, self._data = seed, data
        self._split, self._warp = Split(data, split), warp
        self.names, self.size = self._split.names, self._split.size
        pairs = {n: other for n, other in read_pairs(data).items() if n in self._split.index}
        self.partners = {
            name: partners
            for name, setting in SETTINGS.items()
            if (partners := setting.partners(self.names, pairs)).keys() == self._split.index.keys()
            and (setting.truth == "own" or len(self._split.recoloured))
        }

    def _indices(self, names: list[str]) -> list[int]:
        return [self._split.index[name] for name in names]

    def sketches(self, names: list[str]) -> Tensor:
        """(B, 1, S, S) uint8."""
        return self._split.sketch_pixels(self._indices(names))

    def images(self, names: list[str]) -> Tensor:
        """The sketches' own images: (B, 3, S, S) uint8."""
        return self._split.image_pixels(self._indices(names))

    def truth(self, names: list[str], setting: str) -> Tensor:
        """What colorized images are measured against in a setting: (B, 3, S, S) uint8."""
        if SETTINGS[setting].truth == "own":
            return self.images(names)
        return self._split.recoloured_pixels(self._indices(names))

    def references(self, names: list[str], setting: str) -> Tensor:
        """The references before they are warped: (B, 3, S, S) uint8."""
        return self.images([self.partners[setting][name] for name in names])

    def others(self) -> Tensor:
        """As many training images, or all where there are fewer: (B, 3, S, S) uint8."""
        train = Split(self._data, "train")
        return train.image_pixels(list(range(min(len(train), len(self.names)))))

    def inputs(self, names: list[str], setting: str) -> tuple[Tensor, Tensor]:
        """What a method is given: sketches (B, 1, S, S) and warped references (B, 3, S, S), in [-1, 1].

        An image is warped alike wherever it is the reference.
        """
        assert self._warp is not None
        pixels = self.references(names, setting)
        addresses = [(self.partners[setting][name], EVALUATION) for name in names]
        references, _ = warp(pixels, draw_controls(self._warp, self.seed, addresses), pixels.device)
        return to_unit(self.sketches(names)), references

    def noise(
        self, names: list[str], device: torch.device, sample: int = 0
    ) -> Callable[[int], Tensor]:
        """The images' own noise on a device: takes the number of the draw, gives (B, 3, S, S).

        Each ``sample`` but the first, 0, is another noise of theirs.
        """
        addresses = [f"{name}\0{sample}" for name in names] if sample else names
        return partial(image_noise, self.seed, addresses, self.size, device=device)
