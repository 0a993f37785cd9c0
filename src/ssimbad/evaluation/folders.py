"""Measuring any two folders of pictures: generated ones against the real ones of the same names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ssimbad.data.images import image_files, name_of, read_picture
from ssimbad.devices import device_of
from ssimbad.errors import UserError, shown
from ssimbad.evaluation.measure import Features, image_values, summary
from ssimbad.evaluation.metrics import METRICS, of_images, of_sets
from ssimbad.evaluation.pairs import Networks
from ssimbad.evaluation.records import to_csv
from ssimbad.files import write_json, write_text
from ssimbad.layout import no_folder
from ssimbad.provenance import machine, packages

if TYPE_CHECKING:
    from pathlib import Path

_BATCH, _RESAMPLES, _SEED = 16, 1000, 42
_PIXELS = 1 << 20  # of a batch: metrics take about a KiB for each
_SMALLEST = 32  # px, below which LPIPS's network has nothing left to look at
_STRETCH = 0.02  # by how much the ratios of sides may differ: rounding of a smaller picture's
_NAMED = 5  # names in a line


@dataclass(frozen=True)
class _Pair:
    name: str
    real: Path
    generated: Path


def _pictures(folder: Path, faults: list[str]) -> dict[str, Path]:
    """The image files right in a folder by name."""
    try:
        paths = image_files(folder)
    except UserError as error:
        faults.append(str(error))
        return {}
    if not paths:
        faults.append(f"{shown(folder)}: holds no PNG, JPEG or WebP image")
    found = {name_of(path): path for path in paths}
    twice = [name for name, count in Counter(map(name_of, paths)).items() if count > 1]
    if twice:
        faults.append(f"{shown(folder)}: {_listed(twice)}: several images of a name")
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(shown, sorted(names)[:_NAMED])) + more


def _paired(real: Path, generated: Path) -> list[_Pair]:
    """The pairs in the order of their names."""
    faults: list[str] = []
    own, made = _pictures(real, faults), _pictures(generated, faults)
    if own and made:
        for folder, others, found in ((real, made, own), (generated, own, made)):
            if alone := [name for name in found if name not in others]:
                other = generated if folder == real else real
                faults.append(f"{shown(folder)}: {_listed(alone)}: not in {shown(other)}")
    if faults:
        raise UserError("\n".join(faults))
    return [_Pair(name, own[name], made[name]) for name in sorted(own)]


def _sizes(pairs: list[_Pair]) -> list[tuple[int, int]]:
    """Height and width of every pair's real image, once all files have been read."""
    sizes, faults = [], []
    for pair in tqdm(pairs, "reading", unit=" pairs"):
        shapes = []
        for path in (pair.real, pair.generated):
            try:
                shapes.append(read_picture(path)[0].shape[:2])
            except UserError as error:
                faults.append(str(error))
        if len(shapes) < 2:
            continue
        (height, width), (own_height, own_width) = shapes
        if min(height, width) < _SMALLEST:
            faults.append(f"{shown(pair.real)}: is {width}×{height}, below {_SMALLEST} px")
        if abs(width * own_height / (height * own_width) - 1) > _STRETCH:
            faults.append(
                f"{shown(pair.generated)}: is {own_width}×{own_height}, of other proportions than"
                f" {shown(pair.real)} ({width}×{height})"
            )
        sizes.append((height, width))
    if faults:
        raise UserError("\n".join(faults))
    return sizes


def _pixels(paths: list[Path], size: tuple[int, int]) -> Tensor:
    """(B, 3, H, W) uint8; images of another size are resized, by Lanczos."""
    height, width = size
    images = [Image.fromarray(read_picture(path)[0]) for path in paths]
    resized = [
        i if i.size == (width, height) else i.resize((width, height), Image.Resampling.LANCZOS)
        for i in images
    ]
    return torch.from_numpy(np.stack(list(map(np.asarray, resized)))).permute(0, 3, 1, 2)


def measure_folders(real: Path, generated: Path, out: Path | None, device_name: str) -> str:
    """Measure generated pictures against the real ones of the same names.

    A generated picture is resized to its real one. Palettes are compared with the real pictures'. Metrics
    against a sketch are left out, for there is none.

    Args:
        real: a folder of PNG, JPEG or WebP images; what lies in its folders is not read.
        generated: likewise.
        out: a folder for ``measured.csv`` and ``measured.json``; None: nothing is written.
        device_name: where networks run, as the config has it.

    Returns:
        The table: every metric with its 95 % bootstrap interval over pairs.

    Raises:
        UserError: a line for each fault: names without a partner, unreadable files, empty folders, images
            below 32 px or of other proportions; ``out`` is no folder; or weights cannot be had.
    """
    if out is not None and (other := no_folder(str(out))):
        raise UserError(f"{shown(out)}: cannot be a folder: {shown(other)} is none")
    pairs = _paired(real, generated)
    sizes = _sizes(pairs)
    networks = Networks("auto", device_of(device_name))
    of_set = len(pairs) > 1
    features = Features(networks, _BATCH, None) if of_set else None
    # Of images of one size as many at once as may be, in the order of sizes.
    order = sorted(range(len(pairs)), key=lambda i: sizes[i])
    sets: tuple[list[Tensor], list[Tensor]] = ([], [])

    def batches() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        with tqdm(total=len(pairs), desc="measuring", unit=" pairs") as bar:
            for size, alike in groupby(order, key=lambda i: sizes[i]):
                chosen = list(alike)
                count = min(_BATCH, max(1, _PIXELS // (size[0] * size[1])))
                for start in range(0, len(chosen), count):
                    part = chosen[start : start + count]
                    truth = _pixels([pairs[i].real for i in part], size)
                    images = _pixels([pairs[i].generated for i in part], size)
                    if features is not None:
                        for found, pixels in zip(sets, (images, truth), strict=True):
                            found.append(features.computed(pixels))
                    yield images, truth, truth
                    bar.update(len(part))

    names = [name for name in of_images() if METRICS[name].against != "sketch"]
    values = image_values(names, batches(), networks)
    both = [torch.cat(found).numpy() for found in sets] if of_set else []
    metrics = summary(values, both, _RESAMPLES, _SEED)
    records = [{"metric": name, **found, "n": len(pairs)} for name, found in metrics.items()]
    if out is not None:
        write_text(out / "measured.csv", to_csv(records, list(records[0])))
        write_json(
            out / "measured.json",
            {
                "real": str(real),
                "generated": str(generated),
                "n": len(pairs),
                "metrics": metrics,
                "per_image": {
                    pairs[i].name: {metric: float(column[k]) for metric, column in values.items()}
                    for k, i in enumerate(order)
                },
                "provenance": {
                    "weights": networks.sources,
                    "packages": packages(),
                    "machine": machine(networks.device),
                },
            },
        )
    return _table(metrics, len(pairs))


def _table(metrics: dict[str, dict[str, float | None]], count: int) -> str:
    lines = [("metric", "value", "95 % interval")]
    for name, found in metrics.items():
        form = METRICS[name].format
        cells = ["none" if v is None else format(v, form) for v in found.values()]
        interval = "" if found["ci_low"] is None else f"[{cells[1]}, {cells[2]}]"
        lines.append((METRICS[name].heading, cells[0], interval))
    wide, numbers = (max(len(line[k]) for line in lines) for k in (0, 1))
    text = [f"{a:<{wide}}  {b:>{numbers}}  {c}".rstrip() for a, b, c in lines]
    sets = ", ".join(METRICS[name].title for name in of_sets())
    text.append(f"{count} pairs" if count > 1 else f"1 pair: too few for {sets}")
    return "\n".join(text)
