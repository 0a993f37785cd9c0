"""Training batches, each a function of the step's number alone; several processes have a part each.

What a batch is made of is read and drawn on the CPU; it is made, images warped and scaled, on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssimbad.data.store import Split, to_unit
from ssimbad.data.warp import EVALUATION, draw_controls, warp
from ssimbad.distributed import SINGLE, World
from ssimbad.methods.base import Batch
from ssimbad.rng import numpy_generator

if TYPE_CHECKING:
    from ssimbad.data.schema import WarpConfig

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class RawBatch:
    """What a batch is made of, on the CPU.

    Attributes:
        names: B image names.
        images: (B, 3, S, S) uint8.
        references: (B, 3, S, S) uint8, not yet warped.
        redrawn: B, whether the reference is another drawing in the image's colours, not the image.
        sketches: (B, 1, S, S) uint8.
        controls: the warps, as :func:`~ssimbad.data.warp.draw_controls` gives them.
    """

    names: list[str]
    images: Tensor
    references: Tensor
    redrawn: list[bool]
    sketches: Tensor
    controls: tuple[Tensor, Tensor, Tensor]

    def pinned(self) -> RawBatch:
        """The same with pixels that a GPU can fetch while the CPU goes on."""
        return replace(
            self,
            images=self.images.pin_memory(),
            references=self.references.pin_memory(),
            sketches=self.sketches.pin_memory(),
        )

    def on(self, device: torch.device) -> Batch:
        """The batch, made on ``device``."""
        pixels, references, sketches = (
            t.to(device, non_blocking=True) for t in (self.images, self.references, self.sketches)
        )
        reference, mapped = warp(references, self.controls, device)
        return Batch(
            self.names,
            sketch=to_unit(sketches),
            reference=reference,
            target=to_unit(pixels),
            warp=mapped,
            redrawn=torch.tensor(self.redrawn).to(device, non_blocking=True),
        )


def read_batch(
    split: Split,
    warp_config: WarpConfig,
    seed: int,
    items: list[tuple[int, int]],
    world: World = SINGLE,
    redrawn: float = 0.0,
) -> RawBatch:
    """The batch of the given (image index, epoch) items, or one process's part of it.

    References are the images themselves but for a random share ``redrawn``.
    """
    items = [items[k] for k in world.share(len(items))]
    indices = [i for i, _ in items]
    names = [split.names[i] for i in indices]
    addresses = [(name, epoch) for name, (_, epoch) in zip(names, items, strict=True)]
    controls = draw_controls(warp_config, seed, addresses)
    others = [
        redrawn > 0 and numpy_generator(seed, "redrawn", *address).random() < redrawn
        for address in addresses
    ]
    images = split.image_pixels(indices)
    return RawBatch(
        names,
        images,
        split.reference_pixels(indices, others) if any(others) else images,
        others,
        split.sketch_pixels(indices),
        controls,
    )


class TrainingBatches(Dataset):
    """Batch number ``step``: consecutive items of shuffled epochs that follow one another.

    A share ``redrawn`` of references is another drawing in the image's colours.
    """

    def __init__(
        self,
        split: Split,
        warp_config: WarpConfig,
        seed: int,
        batch: int,
        stage: str,
        world: World = SINGLE,
        redrawn: float = 0.0,
    ) -> None:
        self.split, self.warp_config, self.seed = split, warp_config, seed
        self.batch, self.stage, self.world, self.redrawn = batch, stage, world, redrawn
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def _draw_order(self, epoch: int) -> np.ndarray:
        return numpy_generator(self.seed, self.stage, "order", epoch).permutation(len(self.split))

    def raw(self, step: int) -> RawBatch:
        """What batch ``step``, or this process's part of it, is made of."""
        positions = range(step * self.batch, (step + 1) * self.batch)
        epochs = [divmod(position, len(self.split)) for position in positions]
        items = [(int(self._order(epoch)[k]), epoch) for epoch, k in epochs]
        return read_batch(self.split, self.warp_config, self.seed, items, self.world, self.redrawn)

    def __getitem__(self, step: int) -> Batch:
        return self.raw(step).on(_CPU)


class Prefetched:
    """Training batches on a GPU, each read, drawn and pinned while the one before is trained on.

    A thread, which a signal to the process group cannot kill, does so; copy and warps follow in the GPU's
    own order, and the CPU does not wait for them.

    Args:
        batches: the batches.
        steps: whose.
        device: where they are made.
    """

    def __init__(self, batches: TrainingBatches, steps: range, device: torch.device) -> None:
        self.batches, self.steps, self.device = batches, steps, device

    def __len__(self) -> int:
        return len(self.steps)

    def _read(self, step: int) -> RawBatch:
        raw = self.batches.raw(step)
        return raw.pinned() if self.device.type == "cuda" else raw

    def __iter__(self) -> Iterator[Batch]:
        with ThreadPoolExecutor(1) as thread:
            coming = [thread.submit(self._read, step) for step in self.steps[:1]]
            for step in self.steps:
                raw = coming.pop().result()
                if step + 1 in self.steps:
                    coming.append(thread.submit(self._read, step + 1))
                yield raw.on(self.device)


class EvaluationBatches(Dataset):
    """Batches of a whole split in its order, with the fixed evaluation warps."""

    def __init__(
        self, split: Split, warp_config: WarpConfig, seed: int, batch: int, world: World = SINGLE
    ) -> None:
        self.split, self.warp_config, self.seed = split, warp_config, seed
        self.batch, self.world = batch, world

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch)

    def size(self, number: int) -> int:
        """Images of the whole batch ``number``."""
        return min(self.batch, len(self.split) - number * self.batch)

    def __getitem__(self, number: int) -> Batch | None:
        """Batch ``number``, or this process's part; None where more processes than images share it."""
        if number >= len(self):
            raise IndexError(number)
        first, count = number * self.batch, self.size(number)
        if not self.world.share(count):
            return None
        items = [(i, EVALUATION) for i in range(first, first + count)]
        return read_batch(self.split, self.warp_config, self.seed, items, self.world).on(_CPU)
