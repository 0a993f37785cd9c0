"""The packed store: memory-mapped uint8 arrays and a manifest."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssimbad.errors import UserError
from ssimbad.files import read_json, read_text


def to_unit(pixels: Tensor) -> Tensor:
    """uint8 [0, 255] to float [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1)


def to_pixels(images: Tensor) -> Tensor:
    """Float [-1, 1] (clamped) to uint8 [0, 255], rounded."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


class Split:
    """One split of a store, read from disk as it is indexed.

    Attributes:
        names: file stems, one per image.
        images: (N, S, S, 3) uint8, memory-mapped.
        sketches: (N, S, S) uint8, memory-mapped.
        redrawn: (N, S, S, 3) uint8, memory-mapped: another drawing in each image's colours, of training
            images where the config asks for any; else (0, S, S, 3).
        recoloured: (N, S, S, 3) uint8, memory-mapped: of validation and test images, each image's drawing in
            the colours of its partner of ``pairs.csv``, where the source can render it; else (0, S, S, 3).
    """

    def __init__(self, folder: Path, split: str) -> None:
        manifest = read_json(folder / "manifest.json")
        self.names: list[str] = [i["name"] for i in manifest["items"] if i["split"] == split]
        self.index = {name: i for i, name in enumerate(self.names)}
        try:
            self.images = np.load(folder / f"{split}_images.npy", mmap_mode="r")
            self.sketches = np.load(folder / f"{split}_sketches.npy", mmap_mode="r")
            self.redrawn = self.recoloured = self.images[:0]
            if split == "train":
                self.redrawn = np.load(folder / "train_redrawn.npy", mmap_mode="r")
            else:
                self.recoloured = np.load(folder / f"{split}_recoloured.npy", mmap_mode="r")
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}: {split} arrays are not readable ({error})") from None
        counts = {len(self.names), len(self.images), len(self.sketches)}
        drawn = {len(self.redrawn), len(self.recoloured)}
        if len(counts) > 1 or not drawn <= {0, *counts}:
            raise UserError(f"{folder}: the {split} arrays and manifest.json disagree in length")

    def __len__(self) -> int:
        return len(self.names)

    def __deepcopy__(self, memo: dict) -> Split:
        # A copy of a memory map is an array in memory; nothing here ever changes, so share it.
        return self

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.images.shape[1]

    def image_pixels(self, indices: list[int]) -> Tensor:
        """(B, 3, S, S) uint8."""
        return torch.from_numpy(self.images[indices]).permute(0, 3, 1, 2)

    def recoloured_pixels(self, indices: list[int]) -> Tensor:
        """(B, 3, S, S) uint8: the images' drawings in their partners' colours."""
        return torch.from_numpy(self.recoloured[indices]).permute(0, 3, 1, 2)

    def sketch_pixels(self, indices: list[int]) -> Tensor:
        """(B, 1, S, S) uint8."""
        return torch.from_numpy(self.sketches[indices]).unsqueeze(1)

    def reference_pixels(self, indices: list[int], redrawn: list[bool]) -> Tensor:
        """(B, 3, S, S) uint8: the images, or in their place what was redrawn in their colours."""
        chosen = zip(indices, redrawn, strict=True)
        pixels = np.stack([(self.redrawn if other else self.images)[i] for i, other in chosen])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def read_pairs(folder: Path) -> dict[str, str]:
    """The cross-reference partner of each validation and test image."""
    lines = io.StringIO(read_text(folder / "pairs.csv"), newline="")
    return {row["name"]: row["reference"] for row in csv.DictReader(lines)}
