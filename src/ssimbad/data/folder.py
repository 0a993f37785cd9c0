"""The user's own images.

Three layouts are understood, each image folder with or without ready-made sketches:

* ``train_data/{reference,sketch}`` and ``test_data/{reference,sketch}``: the published set's;
* ``train/``, ``test/`` and optionally ``validation/``: a ready-made split;
* anything else: the folder's images are split by the configured fractions.

A folder that holds ``reference/`` takes its images from there, and its sketches from ``sketch/`` when
that exists, matched by file stem; otherwise its own files are the images.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from pydantic import Field

from ssimbad.data.images import is_image_name, read_image
from ssimbad.data.source import Item
from ssimbad.errors import UserError
from ssimbad.rng import numpy_generator
from ssimbad.section import Section


class FolderConfig(Section):
    """The user's images."""

    path: str = Field(description="the folder, absolute or from where the command runs")
    validation: float = Field(
        gt=0, lt=1, description="fraction of the training images held out where no split is given"
    )
    test: float = Field(
        gt=0,
        lt=1,
        description="fraction of all images held out for testing where no split is given",
    )


def _files(folder: Path, faults: list[str]) -> dict[str, Path]:
    try:
        paths = sorted(p for p in folder.iterdir() if p.is_file() and is_image_name(p))
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from None
    counts = Counter(p.stem for p in paths)
    faults += [
        f"{folder}: several images are called {stem!r}" for stem, n in counts.items() if n > 1
    ]
    return {p.stem: p for p in paths}


def _pairs(folder: Path, faults: list[str]) -> dict[str, tuple[Path, Path | None]]:
    if not (folder / "reference").is_dir():
        images = _files(folder, faults)
        if not images:
            faults.append(f"{folder}: holds no PNG, JPEG or WebP image")
        return {stem: (path, None) for stem, path in images.items()}
    images = _files(folder / "reference", faults)
    if not images:
        faults.append(f"{folder / 'reference'}: holds no PNG, JPEG or WebP image")
    if not (folder / "sketch").is_dir():
        return {stem: (path, None) for stem, path in images.items()}
    sketches = _files(folder / "sketch", faults)
    faults += [f"{images[s]}: has no sketch" for s in sorted(images.keys() - sketches.keys())]
    faults += [f"{sketches[s]}: has no reference" for s in sorted(sketches.keys() - images.keys())]
    return {stem: (path, sketches.get(stem)) for stem, path in images.items()}


def _held_out(names: list[str], fraction: float, seed: int, what: str) -> set[str]:
    """A random subset of ``names``, at least one where there are two; independent of their order."""
    count = max(1, round(fraction * len(names)))
    shuffled = sorted(names, key=lambda name: numpy_generator(seed, "split", what, name).random())
    return set(shuffled[:count])


class Folder:
    """The user's-images source."""

    def __init__(self, config: FolderConfig, seed: int) -> None:
        self.config, self.seed = config, seed

    def items(self) -> list[Item]:
        """Every image of every split.

        Raises:
            UserError: one line for each fault of the folder, all of them together.
        """
        root = Path(self.config.path)
        if not root.is_dir():
            raise UserError(f"data.folder.path: {root}: no such folder")
        faults: list[str] = []
        train, test = (
            ("train_data", "test_data") if (root / "train_data").is_dir() else ("train", "test")
        )
        pairs = {}
        if (root / train).is_dir():
            pairs["train"] = _pairs(root / train, faults)
            pairs["test"] = _pairs(root / test, faults)
            if (root / "validation").is_dir():
                pairs["validation"] = _pairs(root / "validation", faults)
        else:
            everything = _pairs(root, faults)
            chosen = _held_out(list(everything), self.config.test, self.seed, "test")
            pairs["train"] = {k: v for k, v in everything.items() if k not in chosen}
            pairs["test"] = {k: v for k, v in everything.items() if k in chosen}
        if "validation" not in pairs:
            everything = pairs["train"]
            chosen = _held_out(list(everything), self.config.validation, self.seed, "validation")
            pairs["train"] = {k: v for k, v in everything.items() if k not in chosen}
            pairs["validation"] = {k: v for k, v in everything.items() if k in chosen}
        splits: dict[str, str] = {}
        for split, members in pairs.items():
            for name in members:
                if name in splits:
                    faults.append(f"{name!r}: is in {splits[name]} and in {split}")
                splits[name] = split
        if not faults:
            faults += [
                f"{root}: too few images: {split} has {len(members)}, at least {least} needed"
                for split, members in pairs.items()
                if len(members) < (least := 2 if split == "test" else 1)
            ]
        if faults:
            raise UserError("\n".join(faults))
        return [
            Item(name=name, split=split, image=image, sketch=sketch)
            for split, members in sorted(pairs.items())
            for name, (image, sketch) in sorted(members.items())
        ]

    def attribution(self) -> str:
        """Nothing is known of the user's images."""
        return ""

    def load(self, item: Item, size: int) -> tuple[np.ndarray, np.ndarray | None, dict[str, bytes]]:
        """Read an image and, where there is one, its sketch."""
        assert item.image is not None
        image = read_image(item.image, size)
        files = {"image": item.image.read_bytes()}
        if item.sketch is None:
            return image, None, files
        grey = read_image(item.sketch, size) @ np.array([0.299, 0.587, 0.114])
        files["sketch"] = item.sketch.read_bytes()
        return image, grey.round().astype(np.uint8), files
