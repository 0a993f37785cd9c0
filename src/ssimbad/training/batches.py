"""Training batches, each a function of the step's number alone; several processes have a part each."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from torch.utils.data import Dataset

from ssimbad.data.store import Split, to_unit
from ssimbad.data.warp import WarpConfig, backward_map, draw_controls, remap
from ssimbad.methods.base import Batch
from ssimbad.processes import ALONE, Place
from ssimbad.rng import numpy_generator

EVALUATION = -1
"""The epoch whose warps are used for validation and test: fixed."""


def load_batch(
    split: Split,
    warp_config: WarpConfig,
    seed: int,
    items: list[tuple[int, int]],
    place: Place = ALONE,
) -> Batch:
    """The same-reference batch of the given (image index, epoch) items, or one process's part of it."""
    part = place.share(len(items))
    whole, items = len(items), [items[k] for k in part]
    indices = [i for i, _ in items]
    names = [split.names[i] for i in indices]
    pixels = split.image_pixels(indices)
    addresses = [(name, epoch) for name, (_, epoch) in zip(names, items, strict=True)]
    controls = draw_controls(warp_config, seed, addresses)
    mapped = backward_map(*controls, split.size)
    return Batch(
        names,
        sketch=to_unit(split.sketch_pixels(indices)),
        reference=remap(pixels.float() / 255, mapped) * 2 - 1,
        target=to_unit(pixels),
        warp=mapped.float(),
        whole=whole,
        start=part.start,
    )


class TrainingBatches(Dataset):
    """Batch number ``step``: consecutive items of shuffled epochs that follow one another."""

    def __init__(
        self,
        split: Split,
        warp_config: WarpConfig,
        seed: int,
        batch: int,
        stage: str,
        place: Place = ALONE,
    ) -> None:
        self.split, self.warp_config, self.seed = split, warp_config, seed
        self.batch, self.stage, self.place = batch, stage, place
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def _draw_order(self, epoch: int) -> np.ndarray:
        return numpy_generator(self.seed, self.stage, "order", epoch).permutation(len(self.split))

    def __getitem__(self, step: int) -> Batch:
        positions = range(step * self.batch, (step + 1) * self.batch)
        epochs = [divmod(position, len(self.split)) for position in positions]
        items = [(int(self._order(epoch)[k]), epoch) for epoch, k in epochs]
        return load_batch(self.split, self.warp_config, self.seed, items, self.place)


class EvaluationBatches(Dataset):
    """Batches of a whole split in its order, with the fixed evaluation warps."""

    def __init__(
        self, split: Split, warp_config: WarpConfig, seed: int, batch: int, place: Place = ALONE
    ) -> None:
        self.split, self.warp_config, self.seed = split, warp_config, seed
        self.batch, self.place = batch, place

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch)

    def __getitem__(self, number: int) -> Batch | None:
        """Batch ``number``, or this process's part; None where more processes than images share it."""
        if number >= len(self):
            raise IndexError(number)
        indices = range(number * self.batch, min((number + 1) * self.batch, len(self.split)))
        if not self.place.share(len(indices)):
            return None
        items = [(i, EVALUATION) for i in indices]
        return load_batch(self.split, self.warp_config, self.seed, items, self.place)
