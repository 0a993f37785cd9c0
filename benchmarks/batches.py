"""Training batches at 256 px against PIL, a thin-plate spline per image and OpenCV's cubic remap.

On one thread each. The plain protocol decodes an image's file and its sketch's for every item; here both
were packed once, by the data phase.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from PIL import Image

from benchmarks.case import Case, Measured, timed
from ssimbad.config.files import load
from ssimbad.data.prepare import prepare
from ssimbad.data.schema import DataConfig, WarpConfig
from ssimbad.data.store import Split, to_unit
from ssimbad.data.warp import draw_controls, warp
from ssimbad.training.batches import TrainingBatches

if TYPE_CHECKING:
    from ssimbad.methods.base import Batch

SIZE, BATCH, ROUNDS = 256, 16, 7
SEED = 0
CPU = torch.device("cpu")

Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


def _kernel(distance: np.ndarray) -> np.ndarray:
    return distance**2 * np.log(distance + 1e-6)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))


def plain_warp(image: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """One image (S, S, 3) warped as published: the spline on the whole grid, then a cubic remap."""
    count, size = len(target), len(image)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _kernel(_distances(target, target))
    system[:count, count] = system[count, :count] = 1
    system[:count, count + 1 :] = target
    system[count + 1 :, :count] = target.T
    right = np.zeros((count + 3, 2))
    right[:count] = source - target
    coefficients = np.linalg.solve(system, right)
    line = np.linspace(0, 1, size)
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    moved = _kernel(_distances(grid, target)) @ coefficients[:count]
    moved += coefficients[count] + grid @ coefficients[count + 1 :]
    mapped = ((grid + moved) * (size - 1)).reshape(size, size, 2).astype(np.float32)
    return cv2.remap(
        image, mapped[..., 0], mapped[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT
    )


def _normalized(pixels: np.ndarray) -> np.ndarray:
    return (pixels.astype(np.float32) / 255 - 0.5) / 0.5


def plain_item(path: Path, sketch: Path, source: np.ndarray, target: np.ndarray) -> Triple:
    """Sketch, warped reference and truth of one item, decoded, resized, warped and normalised."""
    image = np.asarray(Image.open(path).convert("RGB"))
    warped = Image.fromarray(plain_warp(image, source, target))
    resized = [
        np.asarray(i.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        for i in (Image.open(sketch).convert("L"), warped, Image.fromarray(image))
    ]
    lines, reference, truth = (_normalized(pixels) for pixels in resized)
    return lines, reference, truth


def unturned() -> WarpConfig:
    """The default's warps without rotation, as the plain side has them."""
    return load([]).data.warp.model_copy(update={"rotation": 0.0})


def make_store(files: list[Path], folder: Path) -> Split:
    """The files as the training split of a packed store."""
    values = load([]).data.model_dump()
    values |= {"source": "folder", "size": SIZE}
    values["folder"] |= {"path": str(files[0].parent), "validation": 0.01, "test": 0.05}
    prepare(DataConfig(**values), SEED, folder)
    return Split(folder, "train")


def case(files: list[Path], folder: Path) -> Case:
    """A batch of 16 a round."""
    split = make_store(files, folder / "store")
    warp_config = unturned()
    batches = TrainingBatches(split, warp_config, SEED, BATCH, "train")
    images = {path.stem: path for path in files}
    sketches = folder / "sketches"
    sketches.mkdir()
    for name, pixels in zip(split.names, split.sketches, strict=True):
        Image.fromarray(pixels).save(sketches / f"{name}.png")

    def on_one_thread(work: Callable[[], Any]) -> Measured:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        try:
            return timed(work)
        finally:
            torch.set_num_threads(threads)

    def plain(number: int) -> Measured:
        # Which warps is not part of the work: ours draws them within its time.
        names = batches[number].names
        source, target, _ = (
            v.numpy() for v in draw_controls(warp_config, SEED, [(name, 0) for name in names])
        )
        took, items = on_one_thread(
            lambda: [
                plain_item(images[name], sketches / f"{name}.png", s, t)
                for name, s, t in zip(names, source, target, strict=True)
            ]
        )
        return 1000 * took / BATCH, items

    def ours(number: int) -> Measured:
        took, batch = on_one_thread(lambda: batches[number])
        return 1000 * took / BATCH, batch

    def parts() -> dict[str, float]:
        """Milliseconds an item of what ours is made of, and of OpenCV's remap alone."""
        raw = batches.raw(0)
        _, mapped = warp(raw.references, raw.controls, CPU)
        addresses = [(name, 0) for name in raw.names]
        pixels = np.ascontiguousarray(raw.images[0].permute(1, 2, 0))
        points = np.ascontiguousarray(mapped[0].numpy() * (SIZE - 1))

        def milliseconds(work: Callable[[], Any], items: int = BATCH) -> float:
            return 1000 / items * statistics.median(on_one_thread(work)[0] for _ in range(10))

        return {
            "draw_ms": milliseconds(lambda: draw_controls(warp_config, SEED, addresses)),
            "warp_ms": milliseconds(lambda: warp(raw.references, raw.controls, CPU)),
            "scale_ms": milliseconds(lambda: (to_unit(raw.images), to_unit(raw.sketches))),
            "opencv_remap_ms": milliseconds(
                lambda: cv2.remap(pixels, points[..., 0], points[..., 1], cv2.INTER_CUBIC), 1
            ),
        }

    def difference(items: list[Triple], batch: Batch) -> float:
        sides = zip(*items, strict=True)
        found = (
            batch.sketch[:, 0],
            *(t.permute(0, 2, 3, 1) for t in (batch.reference, batch.target)),
        )
        return max(
            float(np.abs(np.stack(expected) - ours.numpy()).mean() / 2)
            for expected, ours in zip(sides, found, strict=True)
        )

    return Case(
        "batches",
        "ms an item and core at 256 px",
        plain,
        ours,
        difference,
        "mean absolute difference of pixels in [0, 1]; OpenCV rounds coordinates to 1/32 pixel",
        ROUNDS,
        target=20.0,
        notes=parts(),
    )
