"""The user's own images, in a folder or an archive of one.

Three layouts are understood, each image folder with or without ready-made sketches:

* ``train_data/{reference,sketch}`` and ``test_data/{reference,sketch}``: the published set's;
* ``train/``, ``test/`` and optionally ``validation/``: a ready-made split;
* anything else: the folder's images are split by the configured fractions.

A folder that holds ``reference/`` takes its images from there, and its sketches from ``sketch/`` when
that exists, matched by file stem; otherwise its own files are the images.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from difflib import get_close_matches
from os.path import isdir, isfile  # False, not an error, where one may not look
from pathlib import Path

import numpy as np
from pydantic import Field

from ssimbad.data.images import (
    display_size,
    image_files,
    is_image_name,
    name_fault,
    name_of,
    read_image,
)
from ssimbad.data.sources.archive import SUFFIXES, innermost, is_archive, unpack
from ssimbad.data.sources.base import Item, Source
from ssimbad.errors import UserError, shown
from ssimbad.rng import numpy_generator
from ssimbad.schema import Section, UserPath


class ExpectConfig(Section):
    """How many images there must be."""

    train: int = Field(ge=0, description="training images, those for validation too; 0: any number")
    test: int = Field(ge=0, description="test images; 0: any number")


class FolderConfig(Section):
    """The user's images."""

    path: UserPath = Field(
        description="the folder, .tar (.gz, .bz2, .xz) or .zip, absolute or from where the command runs",
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


_SPLIT_LAYOUTS = (("train_data", "test_data"), ("train", "test"))
_Pair = tuple[Path, Path | None]
"""An image, and its sketch where it has one."""
_LEAST_TEST = 2  # the reference of a test image may be another one's
_VALIDATION, _REFERENCE, _SKETCH = "validation", "reference", "sketch"
_SPLITS = {*(name for names in _SPLIT_LAYOUTS for name in names), _VALIDATION}
_PARTS = {_REFERENCE, _SKETCH}
_DEPTH = 3  # folders below one another in which images are looked for that are not read
_LIKE = {
    **dict.fromkeys(("line", "lines", "lineart", "line_art", "edges", "xdog"), _SKETCH),
    **dict.fromkeys(("image", "images", "color", "colour", "colors", "colours", "ref"), _REFERENCE),
    **dict.fromkeys(("val", "valid", "dev"), _VALIDATION),
}
"""What others call the layout's folders, beside names that are written much like them."""


def _split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split of a ready-made one; empty where the images are to be split."""
    for train, test in _SPLIT_LAYOUTS:
        if isdir(root / train):
            found = {"train": root / train, "test": root / test}
            if isdir(root / _VALIDATION):
                found["validation"] = root / _VALIDATION
            return found
    return {}


def _image_folders(folder: Path) -> tuple[Path, Path | None]:
    """Where a folder's images lie, and its sketches if it has any."""
    if not isdir(folder / _REFERENCE):
        return folder, None
    sketches = folder / _SKETCH
    return folder / _REFERENCE, sketches if isdir(sketches) else None


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden; nothing where one may not look."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _holds_images(folder: Path, depth: int = _DEPTH) -> bool:
    inside = _listed(folder)
    if any(is_image_name(path) and isfile(path) for path in inside):
        return True
    return depth > 1 and any(_holds_images(path, depth - 1) for path in inside if isdir(path))


def _meant(name: str, expected: set[str]) -> str | None:
    """Which of the expected names is written much like ``name``, if any."""
    plain = name.casefold().strip().replace("-", "_").replace(" ", "_")
    if _LIKE.get(plain) in expected:
        return _LIKE[plain]
    return next(iter(get_close_matches(plain, sorted(expected), 1, 0.7)), None)


def _unread(folder: Path, expected: set[str], read: set[Path]) -> tuple[list[str], list[str]]:
    """What lies in a folder of the layout and is not read.

    Args:
        folder: the folder.
        expected: names of the folders that may lie there.
        read: the folders that are read, and those around them.

    Returns:
        A fault for each folder of images that is likely meant to be read, and a note on all else.
    """
    faults, others = [], []
    there = {path.name for path in _listed(folder)}
    for path in _listed(folder):
        if path in read or (folder in read and isfile(path) and is_image_name(path)):
            continue
        if isdir(path) and not _holds_images(path):
            continue
        meant = _meant(path.name, expected - there) if isdir(path) else None
        if path.name in expected and isdir(path):
            partner = _REFERENCE if path.name == _SKETCH else "train or train_data"
            faults.append(f"{shown(path)}: is not read, as there is no {partner} beside it")
        elif meant:
            faults.append(f"{shown(path)}: is not read; is it {meant}? It must be called so")
        elif isdir(path) and {_REFERENCE} == there & _PARTS:
            faults.append(f"{shown(path)}: is not read; sketches must lie in {_SKETCH}")
        else:
            others.append(path)
    notes = []
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        notes.append(f"not read: {shown(others[0])}{more}")
    return faults, notes


def _files(folder: Path, root: Path, faults: list[str]) -> dict[str, Path]:
    """The usable image files of a folder by name."""
    try:
        paths = image_files(folder)
    except UserError as error:
        faults.append(str(error))
        return {}
    if not paths:
        deeper = [path for path in _listed(folder) if isdir(path) and _holds_images(path)]
        hint = f": {shown(deeper[0])} does, but is not where images are expected" if deeper else ""
        faults.append(f"{shown(folder)}: holds no PNG, JPEG or WebP image{hint}")
    names = Counter(map(name_of, paths))
    usable = {}
    for path in paths:
        if names[name_of(path)] > 1:
            faults.append(f"{shown(path)}: another image is called {shown(name_of(path))!r} too")
        elif fault := name_fault(path.name):
            faults.append(f"{shown(path)}: {fault}")
        elif not path.resolve().is_relative_to(root):
            faults.append(f"{shown(path)}: a link out of the folder")
        else:
            usable[name_of(path)] = path
    return usable


def _pairs(folder: Path, root: Path, faults: list[str]) -> dict[str, _Pair]:
    """A folder's usable images, with their sketches where it has sketches."""
    place, sketch_place = _image_folders(folder)
    images = _files(place, root, faults)
    if sketch_place is None:
        return {name: (path, None) for name, path in images.items()}
    sketches = _files(sketch_place, root, faults)
    unpaired = {images[s]: _SKETCH for s in images.keys() - sketches.keys()}
    unpaired |= {sketches[s]: _REFERENCE for s in sketches.keys() - images.keys()}
    faults += [f"{shown(path)}: has no {other}" for path, other in sorted(unpaired.items())]
    return {name: (images[name], sketches[name]) for name in images.keys() & sketches.keys()}


def _held_out(names: list[str], count: int, seed: int, what: str) -> set[str]:
    """A random subset of ``names``, independent of their order."""
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
        """The archive, or every image file that is read of the folder."""
        if is_archive(self.path):
            return [self.path] if isfile(self.path) else []
        places = {
            place
            for folder in _split_folders(self.path).values() or [self.path]
            for place in _image_folders(folder)
            if place is not None
        }
        # Of names that are refused the data phase tells.
        return [
            path
            for place in sorted(places)
            for path in _listed(place)
            if is_image_name(path) and isfile(path) and not name_fault(path.name)
        ]

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
        test = given[1] if len(given) > 1 else self._test_share(given[0])
        train = given[0] if len(given) > 1 else given[0] - test
        validation = self._validation_share(train)
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
        found, faults = self._items_in(innermost(scratch, _SPLITS | _PARTS))
        return found, refused + [self._told(fault) for fault in faults]

    def _told(self, fault: str) -> str:
        """A fault of what was unpacked, as one of the archive."""
        return fault.replace(str(self._unpacked), str(self.path))

    def _test_share(self, count: int) -> int:
        """How many of ``count`` images are held out for testing: two are the least."""
        return max(_LEAST_TEST, round(self.config.test * count))

    def _validation_share(self, count: int) -> int:
        """How many of ``count`` images that are not for testing are held out for validation."""
        share = self.config.validation
        return max(1, round(share * count)) if share else 0

    def _items_in(self, root: Path) -> tuple[list[Item], list[str]]:
        if isfile(root):
            return [], [
                f"data.folder.path: {shown(root)}: is no folder, and no {', '.join(SUFFIXES)}"
            ]
        if not isdir(root):
            return [], [f"data.folder.path: {shown(root)}: no such folder"]
        faults: list[str] = []

        def pairs_of(folder: Path) -> dict[str, _Pair]:
            return _pairs(folder, root.resolve(), faults)

        folders = _split_folders(root)
        pairs = {split: pairs_of(folder) for split, folder in folders.items()}
        if not folders:
            pairs["train"], pairs["test"] = pairs_of(root), {}
            if len(pairs["train"]) >= self._least:
                pairs["test"] = self._moved(pairs["train"], "test", self._test_share)
        if "validation" not in pairs:
            pairs["validation"] = self._moved(pairs["train"], "validation", self._validation_share)
        faults += self._misplaced(root, folders)
        splits: dict[str, str] = {}
        for split, members in pairs.items():
            for name in members:
                if name in splits:
                    faults.append(f"{name!r}: is in {splits[name]} and in {split}")
                splits[name] = split
        if folders:
            faults += self._too_few(root, pairs)
        elif not pairs["test"]:
            faults.append(
                f"{shown(root)}: has {sum(map(len, pairs.values()))} usable images, at least {self._least}"
                f" needed: 1 to train on, {self._validating} to validate with (none where"
                f" data.folder.validation is 0), {_LEAST_TEST} to test on"
            )
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

    @property
    def _validating(self) -> int:
        """The least number of images to validate with."""
        return int(self.config.validation > 0)

    @property
    def _least(self) -> int:
        """The least number of images that can be split."""
        return 1 + self._validating + _LEAST_TEST

    def _moved(
        self, pairs: dict[str, _Pair], split: str, share: Callable[[int], int]
    ) -> dict[str, _Pair]:
        """A split's random share of the images, which it takes out of ``pairs``."""
        chosen = _held_out(list(pairs), share(len(pairs)), self.seed, split)
        return {name: pairs.pop(name) for name in list(pairs) if name in chosen}

    def _misplaced(self, root: Path, folders: dict[str, Path]) -> list[str]:
        """Faults of what is not read but may be meant to be; what else is not read is told on stderr."""
        places = [(root, set() if folders else _PARTS), *((f, _PARTS) for f in folders.values())]
        read = {place for f in folders.values() or [root] for place in _image_folders(f) if place}
        read |= set(folders.values())
        faults = []
        for place, parts in places:
            expected = parts | _SPLITS if place == root else parts
            found, notes = _unread(place, expected, read)
            faults += found
            for note in notes:
                print(f"data.folder.path: {self._told(note)}", file=sys.stderr)
        return faults

    def _too_few(self, root: Path, pairs: dict[str, dict[str, _Pair]]) -> list[str]:
        least = {"train": 1, "validation": self._validating, "test": _LEAST_TEST}
        key = {"validation": " (none where data.folder.validation is 0)"}
        return [
            f"{shown(root)}: too few usable images: {split} has {len(members)},"
            f" at least {least[split]} needed{key.get(split, '')}"
            for split, members in pairs.items()
            if len(members) < least[split]
        ]

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
