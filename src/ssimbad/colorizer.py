"""The package's API: drawings in, colorized drawings out, by the shipped model or any checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import index
from os.path import isfile  # False, not an error, where one may not look
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from ssimbad.data.drawing import (
    Frame,
    enlarged,
    is_cut_out,
    lines_of_picture,
    lines_of_sketch,
    network_sketch,
)
from ssimbad.data.images import name_of, picture_of, read_picture
from ssimbad.data.layers import Layers
from ssimbad.data.store import to_pixels, to_unit
from ssimbad.devices import device_of
from ssimbad.errors import UserError, shown
from ssimbad.files import sha256_file
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

Picture: TypeAlias = str | os.PathLike[str] | Image.Image | np.ndarray
"""A file, a Pillow image of any mode, or an array (H, W), (H, W, 3) or (H, W, 4) uint8, sRGB."""

_BATCH = 16  # images at once; changes nothing above 1/255


class Colorizer:
    """A trained network that colorizes drawings of any size.

    >>> from PIL import Image, ImageDraw
    >>> from ssimbad import Colorizer
    >>> sketch = Image.new("L", (300, 200), "white")
    >>> ImageDraw.Draw(sketch).ellipse((50, 20, 250, 180), outline="black", width=3)
    >>> reference = Image.new("RGB", (128, 128), "tomato")
    >>> colorizer = Colorizer.load()
    >>> colorizer(sketch, reference)  # doctest: +ELLIPSIS
    <PIL.Image.Image image mode=RGB size=300x200 at ...>

    Of a list there is an image for each; mistakes are a :class:`ValueError` of one line a fault.

    >>> len(colorizer([sketch, sketch.rotate(90)], reference, seed=7))
    2
    >>> colorizer(sketch, reference, steps=0)
    Traceback (most recent call last):
    ssimbad.errors.UserError: steps: 0: input should be greater than or equal to 1

    Attributes:
        row: of the table, that the network was trained as.
        size: side of the network's images, pixels.
        device: where it computes.
    """

    def __init__(
        self, method: NetworkMethod, header: dict[str, Any], path: Path, device: torch.device
    ) -> None:
        self.row: str = header["row"]
        self.size: int = header["size"]
        self.device = device
        self._method, self._header, self._path = method.to(device), header, path

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device = "auto",
    ) -> Colorizer:
        """Read a checkpoint.

        Args:
            path: a trained row's .safetensors; None: the model that comes with the package.
            device: ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:N``; ``auto`` is CUDA or the CPU.

        Raises:
            ValueError: there is no such device, or no such checkpoint, or it is damaged.
        """
        found = device_of(str(device), mps=True)
        file = SHIPPED if path is None else Path(path)
        header = checkpoint.read_header(file)
        trained = [name for name, row in rows().items() if row.stage != "none"]
        row = header.get("row")
        if not isinstance(row, str) or Run(row).base not in trained:
            raise UserError(
                f"{shown(file)}: is of {row!r}, no trained row: those are {', '.join(trained)}"
            )
        method, header = checkpoint.load(file)
        if not isinstance(header.get("size"), int):
            raise UserError(
                f"{shown(file)}: does not say the size of its images: train {row} again"
            )
        return cls(method, header, file, found)

    def __call__(
        self,
        sketch: Picture | Sequence[Picture],
        reference: Picture | Sequence[Picture],
        *,
        coloured: bool = False,
        crop: Sequence[int] | str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int = 42,
        progress: Callable[[int, int], object] | None = None,
    ) -> Any:
        """Colorize a drawing, or several.

        Args:
            sketch: dark lines on light paper or on transparency. A list of n takes one reference or n.
            reference: whose colours to take. A list of n takes one sketch or n.
            coloured: the drawings have colours, and XDoG finds their lines.
            crop: x, y, width and height of the part to colorize, pixels from the upper left, as numbers
                or as the text ``x,y,w,h``. The rest stays as the drawing is.
            steps: of the sampler; None: as its run chose, or the row was refined, or is usually sampled.
            guidance: classifier-free guidance scale; None: as its run chose, or 1, which is none.
            seed: of the noise and XDoG's width. Both are drawn by the drawing's file name, without its
                ending; a drawing without a file has an empty one.
            progress: called after each image with how many are done, and of how many.

        Returns:
            :class:`PIL.Image.Image` of the drawing's size, RGB, or RGBA of a cut-out; a list of them where a
            list was given.

        Raises:
            ValueError: any of these is at fault, one line a fault; nothing was computed.
        """
        layers = self.layers(
            sketch,
            reference,
            coloured=coloured,
            crop=crop,
            steps=steps,
            guidance=guidance,
            seed=seed,
            progress=progress,
        )
        images = [each.image for each in layers]
        return images if _is_list(sketch) or _is_list(reference) else images[0]

    def layers(
        self,
        sketch: Picture | Sequence[Picture],
        reference: Picture | Sequence[Picture],
        *,
        coloured: bool = False,
        crop: Sequence[int] | str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int = 42,
        progress: Callable[[int, int], object] | None = None,
    ) -> Iterator[Layers]:
        """Colorize one drawing or several, each in layers and after the other: many need little memory.

        >>> from PIL import Image
        >>> (layers,) = Colorizer.load().layers(Image.new("L", (90, 70), 40), Image.new("RGB", (8, 8)))
        >>> layers.colours.mode, layers.lines.mode, layers.image.size
        ('RGB', 'RGBA', (90, 70))

        Args and errors are those of a call. All drawings and references are read before this returns.
        """
        sampling = self._sampling(steps, guidance)
        try:
            seed = index(seed)
        except TypeError:
            raise UserError(f"seed: {shown(seed)}: must be a whole number") from None
        drawn = _Drawings(coloured, self.size, seed, None if crop is None else _box(crop))
        pairs = _pairs(sketch, reference)
        sketches, references = _reduced(pairs, drawn)

        def made() -> Iterator[Layers]:
            for start in range(0, len(pairs), _BATCH):
                chosen = pairs[start : start + _BATCH]
                colours = self._colorized(
                    [sketches[drawing] for drawing, _ in chosen],
                    [references[reference] for _, reference in chosen],
                    [drawing.name for drawing, _ in chosen],
                    sampling,
                    seed,
                )
                for i, (drawing, _) in enumerate(chosen):
                    finished = drawn.finished(drawing, colours[i], sketches[drawing])
                    if progress:
                        progress(start + i + 1, len(pairs))
                    yield finished

        return made()

    @torch.inference_mode()
    def _colorized(
        self,
        sketches: list[np.ndarray],
        references: list[np.ndarray],
        names: list[str],
        sampling: Section | None,
        seed: int,
    ) -> np.ndarray:
        """(B, S, S, 3) uint8."""
        images = self._method.colorize(
            _batch_of(sketches, self.device),
            _batch_of(references, self.device),
            partial(image_noise, seed, names, self.size, device=self.device),
            sampling,
        )
        return to_pixels(images.float()).permute(0, 2, 3, 1).cpu().numpy()

    def _chosen(self, kind: type[Section]) -> dict[str, Any]:
        """How the sweep of the checkpoint's own run chose to sample it; nothing where there is none.

        Raises:
            UserError: the sweep's file holds no choice.
        """
        choice = Results(self._path.absolute().parent.parent.parent).choice(self.row)
        if not isfile(choice):
            return {}
        sampling, record = read_choice(choice, kind)
        own = record.get("checkpoint") == sha256_file(self._path)
        return sampling.model_dump() if own else {}

    def _sampling(self, steps: int | None, guidance: float | None) -> Section | None:
        """How to sample: as the checkpoint's run chose to, else as the row was refined, else as its
        method usually is, but for what was asked for.

        Raises:
            UserError: what was asked for is not possible, or the row has no such thing.
        """
        header, declared = self._header, methods()[self._header["method"]]
        kind = declared.sampling
        fields = kind.model_fields if kind else {}
        asked = {k: v for k, v in {"steps": steps, "guidance": guidance}.items() if v is not None}
        for name in asked:
            if name not in fields:
                raise UserError(f"{name}: row {self.row!r} has no {name}")
        if asked.get("guidance", 1) != 1 and not header["section"].get("conditioning_dropout"):
            raise UserError(
                f"guidance: row {self.row!r} was never trained without its condition"
                " (conditioning_dropout 0), so there is nothing to guide away from"
            )
        if kind is None:
            return None
        refined = {k: v for k, v in header.get("refinement", {}).items() if k in fields}
        try:
            chosen = header.get("sampling") or self._chosen(kind)
            return kind.model_validate(declared.usual_sampling | refined | chosen | asked)
        except ValidationError as error:
            fault = error.errors()[0]
            text = f"{shown(fault['input'])}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
            raise UserError(f"{fault['loc'][0]}: {text}") from None


class _Input:
    """A picture that was given.

    Attributes:
        told: what a message calls it.
        name: what randomness is drawn by; that of its file, or empty.
    """

    def __init__(self, given: Picture, place: str) -> None:
        self._given = given
        file = getattr(given, "filename", "") if isinstance(given, Image.Image) else given
        path = Path(file) if isinstance(file, str | os.PathLike) and os.fspath(file) else None
        self.told = place if path is None else shown(path)
        self.name = "" if path is None else name_of(path)

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """As :func:`read_picture`."""
        match self._given:
            case Image.Image() as image:
                return picture_of(image, self.told)
            case np.ndarray() as array:
                if array.dtype != np.uint8 or not (
                    array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
                ):
                    raise UserError(
                        f"{self.told}: an array {array.shape} of {array.dtype}: must be (H, W),"
                        " (H, W, 3) or (H, W, 4) of uint8"
                    )
                return picture_of(Image.fromarray(np.ascontiguousarray(array)), self.told)
            case str() | os.PathLike() as path:
                return read_picture(Path(path))
            case other:
                kind = type(other).__name__
                raise UserError(f"{self.told}: is a {kind}: must be a file, an image or an array")


def _is_list(given: object) -> bool:
    return isinstance(given, list | tuple)


def _pairs(sketch: Any, reference: Any) -> list[tuple[_Input, _Input]]:
    """Which drawing takes whose colours; what was given twice is the same input.

    Raises:
        UserError: there are several of each, and not as many.
    """
    known: dict[object, _Input] = {}
    inputs: list[list[_Input]] = []
    for option, given in (("sketch", sketch), ("reference", reference)):
        many = given if _is_list(given) else [given]
        found = []
        for i, one in enumerate(many):
            place = f"{option}[{i}]" if _is_list(given) else option
            key = os.fspath(one) if isinstance(one, str | os.PathLike) else id(one)
            found.append(known.setdefault(key, _Input(one, place)))
        inputs.append(found)
    drawings, colours = inputs
    if not _is_list(sketch):
        drawings *= len(colours)
    elif not _is_list(reference):
        colours *= len(drawings)
    if len(drawings) != len(colours):
        raise UserError(
            f"sketch, reference: lists of {len(drawings)} and {len(colours)}: must be of one length"
        )
    return list(zip(drawings, colours, strict=True))


def _box(crop: Sequence[int] | str) -> tuple[int, int, int, int]:
    """x, y, width and height.

    Raises:
        UserError: it is something else.
    """
    try:
        parts = crop.split(",") if isinstance(crop, str) else crop
        x, y, width, height = (int(part) for part in parts)
        if x >= 0 <= y and width > 0 < height and [x, y, width, height] == [*map(float, parts)]:
            return x, y, width, height
    except (TypeError, ValueError, OverflowError):
        pass
    raise UserError(f"crop: {shown(crop)}: must be x,y,w,h: whole pixels, w and h above 0")


class _Drawings:
    """Users' drawings as the network sees them and as they are.

    Args:
        coloured: whether they are drawings in colours, whose lines XDoG finds, and not sketches.
        size: side of the network's images, pixels.
        seed: draws XDoG's width by name.
        box: x, y, width and height of the part to colorize; None: all.
    """

    def __init__(
        self, coloured: bool, size: int, seed: int, box: tuple[int, int, int, int] | None
    ) -> None:
        self.coloured, self.size, self.seed, self.box = coloured, size, seed, box

    def _part(self, drawing: _Input, shape: tuple[int, ...]) -> tuple[slice, slice]:
        """The rows and columns to colorize.

        Raises:
            UserError: the drawing has not all of them.
        """
        if self.box is None:
            return slice(None), slice(None)
        x, y, width, height = self.box
        if x + width > shape[1] or y + height > shape[0]:
            told = ",".join(map(str, self.box))
            raise UserError(
                f"crop: {told}: is not within {drawing.told} ({shape[1]} × {shape[0]} pixels)"
            )
        return slice(y, y + height), slice(x, x + width)

    def sketch(self, drawing: _Input) -> np.ndarray:
        """(S, S) uint8."""
        picture, _ = drawing.read()
        part = self._part(drawing, picture.shape)
        drawn = picture if self.coloured else lines_of_sketch(picture)
        return network_sketch(drawn[part], self.size, self.seed, drawing.name)

    def finished(self, drawing: _Input, colours: np.ndarray, sketch: np.ndarray) -> Layers:
        """The drawing in the network's colours (S, S, 3) uint8, with its alpha where that is a shape."""
        picture, alpha = drawing.read()
        part = self._part(drawing, picture.shape)
        if self.coloured:
            found = lines_of_picture(picture[part], self.size, self.seed, drawing.name)
        else:
            found = lines_of_sketch(picture)[part]
        full = enlarged(colours, sketch, found)
        if alpha is not None and not (self.coloured or is_cut_out(picture, alpha)):
            alpha = None
        if self.box is None:
            return Layers.of(full, found, alpha)
        below, lines = picture.copy(), np.full(picture.shape[:2], 255, np.uint8)
        below[part], lines[part] = full, found
        return Layers.of(below, lines, alpha)


def _reduced(
    pairs: list[tuple[_Input, _Input]], drawings: _Drawings
) -> tuple[dict[_Input, np.ndarray], dict[_Input, np.ndarray]]:
    """All sketches (S, S) and references (S, S, 3) at the network's size.

    Raises:
        UserError: a line for each that cannot be read.
    """
    sketches: dict[_Input, np.ndarray] = {}
    references: dict[_Input, np.ndarray] = {}
    faults: list[str] = []

    def reference(given: _Input) -> np.ndarray:
        picture, _ = given.read()
        return Frame.of(picture.shape, drawings.size).squared(picture)

    for read, into, inputs in (
        (drawings.sketch, sketches, [drawing for drawing, _ in pairs]),
        (reference, references, [reference for _, reference in pairs]),
    ):
        for given in dict.fromkeys(inputs):
            try:
                into[given] = read(given)
            except UserError as error:
                faults.append(str(error))
    if faults:
        raise UserError("\n".join(dict.fromkeys(faults)))
    return sketches, references


def _batch_of(pictures: list[np.ndarray], device: torch.device) -> Tensor:
    """(B, C, S, S) in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(pictures)).to(device)
    return to_unit(stacked.unsqueeze(1) if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2))
