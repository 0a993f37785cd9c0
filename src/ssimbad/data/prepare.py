"""The data phase: source → packed store, sketches, manifest, cross-reference pairs."""

from __future__ import annotations

import csv
import hashlib
import math
import multiprocessing
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ssimbad.data.images import display_size
from ssimbad.data.schema import DRAWINGS, STORE, DataConfig
from ssimbad.data.sources.base import HELD_OUT, SPLITS, Item, Source
from ssimbad.data.xdog import sketch_of
from ssimbad.errors import UserError, shown
from ssimbad.files import sha256_file, whole_folder, write_json, write_text
from ssimbad.interruption import signal_when_gone
from ssimbad.machine import processors
from ssimbad.rng import numpy_generator

_CHUNK = 16  # images handed to a worker at a time


def derangement(names: list[str], seed: int) -> dict[str, str]:
    """A seeded random permutation without fixed points: each name's partner; none of fewer than two."""
    if len(names) < 2:
        return {}
    generator = numpy_generator(seed, "cross")
    while True:
        order = generator.permutation(len(names))
        if not (order == np.arange(len(names))).any():
            return {name: names[j] for name, j in zip(names, order, strict=True)}


@dataclass(frozen=True)
class _Prepared:
    """What is stored of an item; ``drawing`` is a training image's redrawn one, or another's recoloured."""

    image: np.ndarray
    sketch: np.ndarray
    drawing: np.ndarray | None
    digests: dict[str, str]
    original: tuple[int, int] | None


def _prepare(
    item: Item, source: Source, size: int, seed: int, partners: dict[str, Item]
) -> _Prepared | str:
    try:
        image, sketch, files = source.load(item, size)
        original = display_size(item.image) if item.image else None
    except UserError as error:
        return str(error)
    if sketch is None:
        sketch = sketch_of(image, seed, item.name)
    digests = {k: hashlib.sha256(v).hexdigest() for k, v in files.items()}
    partner = partners.get(item.name)
    drawing = source.redrawn(item, size)
    if partner is not None:
        drawing = source.recoloured(item, partner, size)
    return _Prepared(image, sketch, drawing, digests, original)


def _leaks(records: list[dict[str, Any]]) -> list[str]:
    """A line for each image that stands, byte for byte, in two splits."""
    seen: dict[str, dict[str, Any]] = {}
    faults = []
    for record in records:
        other = seen.setdefault(record["sha256"]["image"], record)
        if other["split"] != record["split"]:
            faults.append(
                f"{record['name']!r} of {record['split']}: the same image as"
                f" {other['name']!r} of {other['split']}"
            )
    return faults


def _report(items: list[Item], sizes: Counter[tuple[int, int]], size: int) -> dict[str, Any]:
    """What the source held, for people: counts, pairing and the files' own sizes."""
    return {
        "images": {split: sum(item.split == split for item in items) for split in SPLITS},
        "with_sketch": sum(item.sketch is not None for item in items),
        "sizes": {f"{width}×{height}": count for (width, height), count in sizes.most_common()},
        "enlarged": sum(count for own, count in sizes.items() if min(own) < size),
    }


def _make_array(path: Path, shape: tuple[int, ...]) -> np.memmap:
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    # A mapped file is sparse, and filling a sparse file on a full disk kills the process.
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    return array


def _work_for(parent: int) -> None:
    signal_when_gone(parent, signal.SIGKILL)


@contextmanager
def _loaded(items: list[Item], work: Callable[[Item], Any]) -> Iterator[Iterable[Any]]:
    """What ``work`` makes of the items, in their order, on all processors granted."""
    # The workflow sets OMP_NUM_THREADS to the threads it grants.
    workers = min(processors(), math.ceil(len(items) / _CHUNK))
    if workers < 2:
        yield map(work, items)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _work_for, (os.getpid(),))
    try:
        yield pool.map(work, items, chunksize=_CHUNK)
    finally:
        # A signal as the pool's own thread begins leaves one that cannot be waited for; it ends by itself.
        with suppress(RuntimeError):
            pool.shutdown(cancel_futures=True)


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace a folder that holds more than a store: it is somebody's."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    if foreign := [path for path in found if path.name not in STORE]:
        raise UserError(
            f"{shown(foreign[0])}: is not of the data phase, which would replace its folder: move it away,"
            " or choose another results folder"
        )


def prepare(config: DataConfig, seed: int, folder: Path) -> None:
    """Build the store in ``folder``: arrays, ``manifest.json``, ``pairs.csv``, ``ATTRIBUTION.txt``,
    ``report.json``.

    Raises:
        UserError: every fault of the source, one a line, or the folder holds other files than a store's;
            nothing is left behind.
    """
    _check_replaceable(folder)
    with whole_folder(folder) as part:
        scratch = part / "unpacked"
        source = config.make_source(seed)
        found, faults = source.items(scratch)
        items = sorted(found, key=lambda item: (SPLITS.index(item.split), item.name))
        by_name = {item.name: item for item in items}
        names = {s: [item.name for item in items if item.split == s] for s in SPLITS}
        pairs = {n: other for s in HELD_OUT for n, other in derangement(names[s], seed).items()}
        arrays = {}
        for split in SPLITS:
            count, size = len(names[split]), config.size
            known = source.redrawn_share if split == "train" else source.recolours and count > 1
            shapes = {
                "images": (count, size, size, 3),
                "sketches": (count, size, size),
                DRAWINGS[split]: (count if known else 0, size, size, 3),
            }
            arrays[split] = [
                _make_array(part / f"{split}_{kind}.npy", shape) for kind, shape in shapes.items()
            ]
        work = partial(
            _prepare,
            source=source,
            size=config.size,
            seed=seed,
            partners={name: by_name[other] for name, other in pairs.items()},
        )
        filled = dict.fromkeys(SPLITS, 0)
        records = []
        sizes: Counter[tuple[int, int]] = Counter()
        with _loaded(items, work) as results:
            bar = tqdm(results, "data", len(items), unit=" images", disable=not items)
            for item, result in zip(items, bar, strict=True):
                if isinstance(result, str):
                    faults.append(result)
                    continue
                images, sketches, drawings = arrays[item.split]
                position = filled[item.split]
                images[position], sketches[position] = result.image, result.sketch
                if result.drawing is not None:
                    drawings[position] = result.drawing
                sizes.update([result.original] if result.original else [])
                filled[item.split] += 1
                records.append({"name": item.name, "split": item.split, "sha256": result.digests})
        shutil.rmtree(scratch, ignore_errors=True)
        faults += _leaks(records)
        if faults:
            raise UserError("\n".join(faults))
        if len(names["test"]) < 2:
            raise UserError("a cross-reference pair needs at least two test images")
        for array in (array for those in arrays.values() for array in those):
            array.flush()
        with (part / "pairs.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["name", "reference"])
            writer.writerows(pairs.items())
        write_text(part / "ATTRIBUTION.txt", source.attribution())
        write_json(part / "report.json", _report(items, sizes, config.size))
        write_json(
            part / "manifest.json",
            {
                "source": config.source,
                "size": config.size,
                "seed": seed,
                "files": {p.name: sha256_file(p) for p in sorted(part.iterdir())},
                "items": records,
            },
        )
