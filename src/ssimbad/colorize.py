"""``ssimbad colorize``: users' own drawings, files and folders of them, by :class:`ssimbad.Colorizer`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os.path import isdir, isfile  # False, not an error, where one may not look
from pathlib import Path

from tqdm import tqdm

from ssimbad.colorizer import Colorizer
from ssimbad.data.images import SUFFIXES, image_files, name_fault, name_of
from ssimbad.errors import UserError, shown
from ssimbad.files import whole_files

_LAYERS = (".colours.png", ".lines.png", ".ora")
"""Endings of what lies beside an output, if asked for."""


@dataclass(frozen=True)
class _Job:
    """One image to make: of which drawing and reference, and where it goes."""

    drawing: Path
    reference: Path
    output: Path

    def files(self, layered: bool) -> list[Path]:
        """All that is written of it."""
        beside = [self.output.with_name(self.output.stem + ending) for ending in _LAYERS]
        return [self.output, *beside] if layered else [self.output]


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


def _output_faults(jobs: list[_Job], out: Path, single: bool, layered: bool) -> list[str]:
    """What stands against writing the jobs' outputs."""
    if single and isdir(out):
        return [f"--out: {shown(out)}: is a folder; one image is written to a file"]
    if single and out.suffix.lower() != ".png":
        return [f"--out: {shown(out)}: must end in .png"]
    if single and isfile(out.parent):
        return [f"--out: {shown(out)}: not writable ({shown(out.parent)} is a file)"]
    if not single and isfile(out):
        return [f"--out: {shown(out)}: is a file; several images are written into a folder"]
    if not single and not isdir(out) and out.suffix.lower() in SUFFIXES:
        return [f"--out: {shown(out)}: several images are written into a folder, not a file"]
    faults = []
    inputs = {path.resolve() for job in jobs for path in (job.drawing, job.reference)}
    made: dict[Path, _Job] = {}
    for job in jobs:
        for output in job.files(layered):
            other = made.setdefault(output, job)
            if other is not job:
                pairs = [f"{shown(j.drawing)} with {shown(j.reference)}" for j in (other, job)]
                faults.append(f"{shown(output)}: would be written twice: {' and '.join(pairs)}")
            elif output.resolve() in inputs:
                faults.append(f"{shown(output)}: is an input, and would be overwritten")
            elif isdir(output):
                faults.append(f"{shown(output)}: is a folder")
    return faults


def _jobs(
    drawing: tuple[str, Path], references: list[Path], out: Path, layered: bool
) -> list[_Job]:
    """Every drawing with every reference.

    Args:
        drawing: the option that gave it, and the file or folder.
        references: files and folders.
        out: the file for one drawing with one reference, else the folder.
        layered: whether layers are written too.

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
    if faults := faults or _output_faults(jobs, out, single, layered):
        raise UserError("\n".join(faults))
    return jobs


@contextmanager
def _written(folder: Path, out: Path) -> Iterator[Path]:
    """A temporary folder whose files fill ``folder`` on success."""
    try:
        with whole_files(folder) as part:
            yield part
    except OSError as error:
        raise UserError(f"--out: {shown(out)}: not writable ({error.strerror or error})") from None


def colorize(
    *,
    checkpoint_path: Path | None,
    sketch: Path | None,
    image: Path | None,
    references: list[Path],
    out: Path,
    layers: bool,
    crop: str | None,
    steps: int | None,
    guidance: float | None,
    seed: int,
    device_name: str,
    quiet: bool,
) -> None:
    """Colorize each drawing by each reference and write PNG files, all of them or none.

    Args:
        checkpoint_path: a trained row's; None: the model that comes with the package.
        sketch: a line sketch, or a folder of them; or
        image: a drawing in colours whose lines are taken, or a folder of them.
        references: images, or folders of them; they are not warped.
        out: the output for one file with one; else the folder for ``<drawing>_<reference>.png``.
        layers: whether colours and lines are written beside it, as two PNGs and as OpenRaster.
        crop, steps, guidance, seed, device_name: as :class:`ssimbad.Colorizer` takes them.
        quiet: no progress bar.

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
    jobs = _jobs(drawing, references, out, layers)
    made = Colorizer.load(checkpoint_path, device=device_name).layers(
        [job.drawing for job in jobs],
        [job.reference for job in jobs],
        coloured=image is not None,
        crop=crop,
        steps=steps,
        guidance=guidance,
        seed=seed,
    )
    with (
        _written(jobs[0].output.parent, out) as part,
        tqdm(total=len(jobs), desc="colorize", unit=" images", disable=quiet) as bar,
    ):
        for job, found in zip(jobs, made, strict=True):
            names = [part / path.name for path in job.files(layers)]
            found.image.save(names[0], format="PNG")
            if layers:
                found.colours.save(names[1], format="PNG")
                found.lines.save(names[2], format="PNG")
                found.save_ora(names[3])
            bar.update()
