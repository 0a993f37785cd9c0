"""The user's own images, in a folder or an archive of one.

Three layouts are understood, each image folder with or without ready-made sketches:

* ``train_data/{reference,sketch}`` and ``test_data/{reference,sketch}``: the published set's;
* ``train/``, ``test/`` and optionally ``validation/``: a ready-made split;
* anything else: the folder's images are split by the configured fractions.

A folder that holds ``reference/`` takes its images from there, and its sketches from ``sketch/`` when
that exists, matched by file stem; otherwise its own files are the images.
"""

from __future__ import annotations

from collections import Counter
from os.path import isdir, isfile  # False, not an error, where one may not look
from pathlib import Path

import numpy as np
from pydantic import Field

from ssimbad.data.images import display_size, is_image_name, read_image
from ssimbad.data.sources.archive import innermost, is_archive, unpack
from ssimbad.data.sources.base import Item, Source
from ssimbad.errors import UserError, shown
from ssimbad.rng import numpy_generator
from ssimbad.schema import Section


class ExpectConfig(Section):
    """How many images there must be."""

    train: int = Field(ge=0, description="training images, those for validation too; 0: any number")
    test: int = Field(ge=0, description="test images; 0: any number")


class FolderConfig(Section):
    """The user's images."""

    path: str = Field(
        pattern=r"^[^\x00]*$",
        description="the folder, .tar, .tar.gz or .zip, absolute or from where the command runs",
    )
    validation: float = Field(
        ge=0,
        lt=1,
        description="fraction of the training images held out where no split is given;"
        " 0 (published): none, where checkpoints are chosen otherwise",
    )
    test: float = Field(
        gt=0,
        lt=1,
        description="fraction of all images held out for testing where no split is given",
    )
    expect: ExpectConfig


def _files(folder: Path, root: Path, faults: list[str]) -> dict[str, Path]:
    """The usable image files of a folder by stem."""
    try:
        paths = sorted(p for p in folder.iterdir() if p.is_file() and is_image_name(p))
    except OSError as error:
        faults.append(f"{shown(folder)}: {error.strerror}")
        return {}
    if not paths:
        faults.append(f"{shown(folder)}: holds no PNG, JPEG or WebP image")
    stems = Counter(p.stem for p in paths)
    usable = {}
    for path in paths:
        if stems[path.stem] > 1:
            faults.append(f"{shown(path)}: another image is called {shown(path.stem)!r} too")
        elif not path.name.isprintable():
            faults.append(f"{shown(path)}: control characters in the name")
        elif not path.resolve().is_relative_to(root):
            faults.append(f"{shown(path)}: a link out of the folder")
        else:
            usable[path.stem] = path
    return usable


def _pairs(folder: Path, root: Path, faults: list[str]) -> dict[str, tuple[Path, Path | None]]:
    """A folder's usable images, with their sketches where it has sketches."""
    if not isdir(folder / "reference"):
        return {stem: (path, None) for stem, path in _files(folder, root, faults).items()}
    images = _files(folder / "reference", root, faults)
    if not isdir(folder / "sketch"):
        return {stem: (path, None) for stem, path in images.items()}
    sketches = _files(folder / "sketch", root, faults)
    faults += [f"{images[s]}: has no sketch" for s in sorted(images.keys() - sketches.keys())]
    faults += [f"{sketches[s]}: has no reference" for s in sorted(sketches.keys() - images.keys())]
    return {stem: (images[stem], sketches[stem]) for stem in images.keys() & sketches.keys()}


def _held_out(names: list[str], fraction: float, seed: int, what: str) -> set[str]:
    """A random subset of ``names``, at least one of a fraction above 0; independent of their order."""
    count = max(int(fraction > 0), round(fraction * len(names)))
    shuffled = sorted(names, key=lambda name: numpy_generator(seed, "split", what, name).random())
    return set(shuffled[:count])


class Folder(Source):
    """The user's-images source."""

    section = FolderConfig
    config: FolderConfig

    def __init__(self, config: FolderConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.path = Path(config.path)
        self._unpacked = self.path

    @property
    def users_paths(self) -> dict[str, str]:
        """The folder or archive."""
        return {"data.folder.path": self.config.path}

    def files(self) -> list[Path]:
        """The archive, or every image file in the folder."""
        archived = is_archive(self.path)
        found = [self.path] if archived else filter(is_image_name, self.path.rglob("*"))
        return [path for path in found if isfile(path)]

    @property
    def unvalidated(self) -> str:
        """A fraction of 0; a ready-made split may have validation images all the same."""
        return "" if self.config.validation else "data.folder.validation (0)"

    def counts(self, given: list[int]) -> dict[str, int]:
        """Images of each split.

        Args:
            given: images in all, split as the config says; or of training and of testing; or none, for
                those that the config expects, else those that lie there.

        Raises:
            UserError: the folder is not there, or not usable, and nothing is given.
        """
        expected = self.config.expect
        if not given and expected.train and expected.test:
            given = [expected.train, expected.test]
        if not given:
            try:
                return super().counts(given)
            except UserError as error:
                hint = "(--images N plans for a folder that is not there yet)"
                raise UserError(f"{error} {hint}") from None
        test = given[1] if len(given) > 1 else max(1, round(self.config.test * given[0]))
        train = given[0] if len(given) > 1 else given[0] - test
        share = self.config.validation
        validation = max(1, round(share * train)) if share else 0
        return {"train": train - validation, "validation": validation, "test": test}

    def items(self, scratch: Path) -> tuple[list[Item], list[str]]:
        """Every usable image of every split, and all the faults of the folder or archive.

        Args:
            scratch: where an archive is unpacked.
        """
        if not is_archive(self.path):
            return self._items_in(self.path)
        scratch.mkdir()
        self._unpacked = scratch
        try:
            refused = [f"{shown(self.path)}/{fault}" for fault in unpack(self.path, scratch)]
        except UserError as error:
            return [], [str(error)]
        found, faults = self._items_in(innermost(scratch))
        return found, refused + [self._told(fault) for fault in faults]

    def _told(self, fault: str) -> str:
        """A fault of what was unpacked, as one of the archive."""
        return fault.replace(str(self._unpacked), str(self.path))

    def _items_in(self, root: Path) -> tuple[list[Item], list[str]]:
        if not isdir(root):
            return [], [f"data.folder.path: {shown(root)}: no such folder"]
        faults: list[str] = []

        def pairs_of(folder: Path) -> dict[str, tuple[Path, Path | None]]:
            return _pairs(folder, root.resolve(), faults)

        train, test = (
            ("train_data", "test_data") if isdir(root / "train_data") else ("train", "test")
        )
        pairs = {}
        if isdir(root / train):
            pairs["train"] = pairs_of(root / train)
            pairs["test"] = pairs_of(root / test)
            if isdir(root / "validation"):
                pairs["validation"] = pairs_of(root / "validation")
        else:
            everything = pairs_of(root)
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
        least = {"train": 1, "validation": int(self.config.validation > 0), "test": 2}
        faults += [
            f"{shown(root)}: too few usable images: {split} has {len(members)},"
            f" at least {least[split]} needed"
            for split, members in pairs.items()
            if len(members) < least[split]
        ]
        counts = {
            "train": len(pairs["train"]) + len(pairs["validation"]),
            "test": len(pairs["test"]),
        }
        faults += [
            f"{shown(root)}: has {counts[split]} usable {split} images, data.folder.expect.{split}"
            f" is {expected}"
            for split, expected in self.config.expect.model_dump().items()
            if expected not in (0, counts[split])
        ]
        return [
            Item(name=name, split=split, image=image, sketch=sketch)
            for split, members in sorted(pairs.items())
            for name, (image, sketch) in sorted(members.items())
        ], faults

    def load(self, item: Item, size: int) -> tuple[np.ndarray, np.ndarray | None, dict[str, bytes]]:
        """Read an image and, where there is one, its sketch.

        Raises:
            UserError: one of them is not readable, or they differ in size.
        """
        try:
            return _read(item, size)
        except UserError as error:
            raise UserError(self._told(str(error))) from None


def _read(item: Item, size: int) -> tuple[np.ndarray, np.ndarray | None, dict[str, bytes]]:
    assert item.image is not None
    image = read_image(item.image, size)
    files = {"image": item.image.read_bytes()}
    if item.sketch is None:
        return image, None, files
    own, other = display_size(item.image), display_size(item.sketch)
    if own != other:
        sizes = [f"{width}×{height}" for width, height in (own, other)]
        raise UserError(f"{item.image}: is {sizes[0]}, its sketch {sizes[1]}")
    grey = read_image(item.sketch, size) @ np.array([0.299, 0.587, 0.114])
    files["sketch"] = item.sketch.read_bytes()
    return image, grey.round().astype(np.uint8), files


SOURCE = Folder
