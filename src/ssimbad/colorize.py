"""Colorizing users' own drawings, of any size, with the shipped model or a trained row's checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from os.path import isdir, isfile  # False, not an error, where one may not look
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor
from tqdm import tqdm

from ssimbad.data.drawing import (
    Frame,
    composed,
    is_cut_out,
    lines_of_picture,
    lines_of_sketch,
    network_sketch,
)
from ssimbad.data.images import (
    SUFFIXES,
    image_files,
    name_fault,
    name_of,
    read_picture,
)
from ssimbad.data.store import to_pixels, to_unit
from ssimbad.devices import device_of
from ssimbad.errors import UserError, shown
from ssimbad.files import sha256_file, whole_file, whole_files
from ssimbad.layout import Results
from ssimbad.methods import Run, methods, rows
from ssimbad.phases.trained import read_choice
from ssimbad.rng import image_noise
from ssimbad.training import checkpoint

if TYPE_CHECKING:
    from ssimbad.methods.base import NetworkMethod
    from ssimbad.schema import Section

SHIPPED = Path(__file__).parent / "model" / "model.safetensors"
"""The package's own model, which ``docs/ship_model.py`` puts there; its card lies beside it."""

_BATCH = 16  # images at once; changes nothing above 1/255


@dataclass(frozen=True)
class _Job:
    """One image to make: of which drawing and reference, and where it goes."""

    drawing: Path
    reference: Path
    output: Path


def _images(given: list[Path], option: str, faults: list[str]) -> list[Path]:
    """The image files given by name and those of the folders given."""
    found = []
    for path in given:
        if isdir(path):
            try:
                inside = image_files(path)
            except UserError as error:
                faults.append(str(error))
                continue
            if not inside:
                faults.append(f"{shown(path)}: holds no PNG, JPEG or WebP image")
            found += inside
        elif isfile(path):
            found.append(path)
        else:
            faults.append(f"{option}: {shown(path)}: no such file or folder")
    faults += [f"{shown(path)}: {fault}" for path in found if (fault := name_fault(path.name))]
    return found


def _output_faults(jobs: list[_Job], out: Path, single: bool) -> list[str]:
    """What stands against writing the jobs' outputs."""
    if single and isdir(out):
        return [f"--out: {shown(out)}: is a folder; one image is written to a file"]
    if single and out.suffix.lower() != ".png":
        return [f"--out: {shown(out)}: must end in .png"]
    if not single and isfile(out):
        return [f"--out: {shown(out)}: is a file; several images are written into a folder"]
    if not single and not isdir(out) and out.suffix.lower() in SUFFIXES:
        return [f"--out: {shown(out)}: several images are written into a folder, not a file"]
    faults = []
    inputs = {path.resolve() for job in jobs for path in (job.drawing, job.reference)}
    made: dict[Path, _Job] = {}
    for job in jobs:
        other = made.setdefault(job.output, job)
        if other is not job:
            pairs = [f"{shown(j.drawing)} with {shown(j.reference)}" for j in (other, job)]
            faults.append(f"{shown(job.output)}: would be written twice: {' and '.join(pairs)}")
        elif job.output.resolve() in inputs:
            faults.append(f"{shown(job.output)}: is an input, and would be overwritten")
        elif isdir(job.output):
            faults.append(f"{shown(job.output)}: is a folder")
    return faults


def _jobs(drawing: tuple[str, Path], references: list[Path], out: Path) -> list[_Job]:
    """Every drawing with every reference.

    Args:
        drawing: the option that gave it, and the file or folder.
        references: files and folders.
        out: the file for one drawing with one reference, else the folder.

    Raises:
        UserError: every fault of the paths, one a line.
    """
    option, given = drawing
    faults: list[str] = []
    drawings = _images([given], option, faults)
    colours = _images(references, "--reference", faults)
    single = len(references) == 1 and not isdir(given) and not isdir(references[0])
    jobs = [
        _Job(d, r, out if single else out / f"{name_of(d)}_{name_of(r)}.png")
        for d in drawings
        for r in colours
    ]
    if faults := faults or _output_faults(jobs, out, single):
        raise UserError("\n".join(faults))
    return jobs


def _loaded(path: Path) -> tuple[NetworkMethod, dict[str, Any]]:
    header = checkpoint.read_header(path)
    trained = [name for name, row in rows().items() if row.stage != "none"]
    row = header.get("row")
    if not isinstance(row, str) or Run(row).base not in trained:
        raise UserError(
            f"{shown(path)}: is of {row!r}, no trained row: those are {', '.join(trained)}"
        )
    method, header = checkpoint.load(path)
    if not isinstance(header.get("size"), int):
        raise UserError(f"{shown(path)}: does not say the size of its images: train {row} again")
    return method, header


def _chosen(path: Path, row: str, kind: type[Section]) -> dict[str, Any]:
    """How the sweep of the checkpoint's own run chose to sample it; nothing where there is none.

    Raises:
        UserError: the sweep's file holds no choice.
    """
    choice = Results(path.absolute().parent.parent.parent).choice(row)
    if not isfile(choice):
        return {}
    sampling, record = read_choice(choice, kind)
    own = record.get("checkpoint") == sha256_file(path)
    return sampling.model_dump() if own else {}


def _sampling(
    path: Path, header: dict[str, Any], steps: int | None, guidance: float | None
) -> Section | None:
    """How to sample: as the checkpoint's run chose to, else as the row was refined, else as its method
    usually is, but for what was asked for.

    Raises:
        UserError: what was asked for is not possible, or the row has no such thing.
    """
    row, declared = header["row"], methods()[header["method"]]
    kind = declared.sampling
    fields = kind.model_fields if kind else {}
    asked = {k: v for k, v in {"steps": steps, "guidance": guidance}.items() if v is not None}
    for name in asked:
        if name not in fields:
            raise UserError(f"--{name}: row {row!r} has no {name}")
    if asked.get("guidance", 1) != 1 and not header["section"].get("conditioning_dropout"):
        raise UserError(
            f"--guidance: row {row!r} was never trained without its condition"
            " (conditioning_dropout 0), so there is nothing to guide away from"
        )
    if kind is None:
        return None
    refined = {k: v for k, v in header.get("refinement", {}).items() if k in fields}
    try:
        chosen = header.get("sampling") or _chosen(path, row, kind)
        return kind.model_validate(declared.usual_sampling | refined | chosen | asked)
    except ValidationError as error:
        fault = error.errors()[0]
        text = f"{fault['input']}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
        raise UserError(f"--{fault['loc'][0]}: {text}") from None


class _Drawings:
    """Users' drawings as the network sees them and as they are.

    Args:
        coloured: whether they are drawings in colours, whose lines XDoG finds, and not sketches.
        size: side of the network's images, pixels.
        seed: draws XDoG's width by name.
    """

    def __init__(self, coloured: bool, size: int, seed: int) -> None:
        self.coloured, self.size, self.seed = coloured, size, seed

    def sketch(self, path: Path) -> np.ndarray:
        """(S, S) uint8."""
        picture, _ = read_picture(path)
        drawn = picture if self.coloured else lines_of_sketch(picture)
        return network_sketch(drawn, self.size, self.seed, name_of(path))

    def finished(self, path: Path, colours: np.ndarray, sketch: np.ndarray) -> Image.Image:
        """The drawing in the network's colours (S, S, 3) uint8, with its alpha where that is a shape."""
        picture, alpha = read_picture(path)
        if self.coloured:
            lines = lines_of_picture(picture, self.size, self.seed, name_of(path))
        else:
            lines = lines_of_sketch(picture)
        image = composed(colours, sketch, lines)
        if alpha is not None and (self.coloured or is_cut_out(picture, alpha)):
            image.putalpha(Image.fromarray(alpha))
        return image


def _reduced(
    jobs: list[_Job], drawings: _Drawings
) -> tuple[dict[Path, np.ndarray], dict[Path, np.ndarray]]:
    """All sketches (S, S) and references (S, S, 3) at the network's size.

    Raises:
        UserError: a line for each that cannot be read.
    """
    sketches: dict[Path, np.ndarray] = {}
    references: dict[Path, np.ndarray] = {}
    faults: list[str] = []

    def reference(path: Path) -> np.ndarray:
        picture, _ = read_picture(path)
        return Frame.of(picture.shape, drawings.size).squared(picture)

    for read, into, paths in (
        (drawings.sketch, sketches, [job.drawing for job in jobs]),
        (reference, references, [job.reference for job in jobs]),
    ):
        for path in dict.fromkeys(paths):
            try:
                into[path] = read(path)
            except UserError as error:
                faults.append(str(error))
    if faults:
        raise UserError("\n".join(dict.fromkeys(faults)))
    return sketches, references


@contextmanager
def _written(out: Path, single: bool) -> Iterator[Path]:
    """A temporary file, or folder, that becomes ``out``, or fills it, on success."""
    try:
        with whole_file(out) if single else whole_files(out) as part:
            yield part
    except OSError as error:
        raise UserError(f"--out: {shown(out)}: not writable ({error.strerror or error})") from None


def _batch_of(pictures: list[np.ndarray], device: torch.device) -> Tensor:
    """(B, C, S, S) in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(pictures)).to(device)
    return to_unit(stacked.unsqueeze(1) if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2))


@torch.inference_mode()
def colorize(
    *,
    checkpoint_path: Path | None,
    sketch: Path | None,
    image: Path | None,
    references: list[Path],
    out: Path,
    steps: int | None,
    guidance: float | None,
    seed: int,
    device_name: str,
) -> None:
    """Colorize each drawing by each reference and write PNG files, all of them or none.

    Args:
        checkpoint_path: a trained row's; None: :data:`SHIPPED`.
        sketch: a line sketch, or a folder of them; or
        image: a drawing in colours whose lines are taken, or a folder of them.
        references: images, or folders of them; they are not warped.
        out: the output for one file with one; else the folder for ``<drawing>_<reference>.png``.
        steps: of the sampler; None: as its run chose, or the row was refined, or is usually sampled.
        guidance: classifier-free guidance scale; None: as its run chose, or 1, which is none.
        seed: of the noise and XDoG's width, each drawn by the drawing's name.
        device_name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UserError: any of these is at fault; nothing is written.
    """
    match sketch, image:
        case Path(), None:
            drawing = ("--sketch", sketch)
        case None, Path():
            drawing = ("--image", image)
        case _:
            raise UserError("colorize: give --sketch or --image, one of them")
    device = device_of(device_name)
    jobs = _jobs(drawing, references, out)
    path = checkpoint_path or SHIPPED
    method, header = _loaded(path)
    sampling = _sampling(path, header, steps, guidance)
    size = header["size"]
    drawings = _Drawings(image is not None, size, seed)
    sketches, colours = _reduced(jobs, drawings)
    method = method.to(device)
    single = len(jobs) == 1 and jobs[0].output == out
    with (
        _written(out, single) as part,
        tqdm(total=len(jobs), desc="colorize", unit=" images") as bar,
    ):
        for start in range(0, len(jobs), _BATCH):
            chosen = jobs[start : start + _BATCH]
            names = [job.drawing.stem for job in chosen]
            images = method.colorize(
                _batch_of([sketches[job.drawing] for job in chosen], device),
                _batch_of([colours[job.reference] for job in chosen], device),
                partial(image_noise, seed, names, size, device=device),
                sampling,
            )
            pixels = to_pixels(images.float()).permute(0, 2, 3, 1).cpu().numpy()
            for job, made in zip(chosen, pixels, strict=True):
                finished = drawings.finished(job.drawing, made, sketches[job.drawing])
                finished.save(part if single else part / job.output.name, format="PNG")
                bar.update()
