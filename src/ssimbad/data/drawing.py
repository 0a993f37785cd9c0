"""Drawings of any size: reduced to a network's square, and the colours found there brought back.

A network of 64 or 256 pixels cannot draw the lines of a large sketch, and need not: the sketch has them.
So the network finds the colours, :func:`spread` brings them to the sketch's size without letting them
cross its lines, and the lines themselves are laid over them, as a colourist's line layer is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, minimum_filter

from ssimbad.data.xdog import draw_sigma, sketch_of, xdog

_PAPER = 90  # percentile of the grey that is taken for the paper
_WHITE = 230  # from which a sketch's opaque pixel is paper
_BAND = 1 << 18  # pixels worked on at once, which bounds the memory a large drawing takes
_FINEST = 16  # pixels a side that each colour is spread over at most
_SOFTENED = 0.5  # pixels; XDoG's lines have no grey edges of their own
_SAMPLES = 8  # points looked at between a pixel and a colour that it may take
_BLOCKING = 4.0  # a solid line between them lowers that colour's weight by e to this power
_LEAST = 1e-4  # weight kept by every colour, for pixels that lines cut off from all


def _resized(picture: np.ndarray, shape: tuple[int, ...], method: Image.Resampling) -> np.ndarray:
    height, width = shape
    return np.asarray(Image.fromarray(picture).resize((width, height), method))


@dataclass(frozen=True)
class Frame:
    """Where a drawing lies in a square: whole, as large as fits, in the middle.

    Attributes:
        size: side of the square, pixels.
        width, height: of the reduced drawing.
    """

    size: int
    width: int
    height: int

    @classmethod
    def of(cls, shape: tuple[int, ...], size: int) -> Frame:
        """The frame of a picture of ``shape`` (H, W, …) in a square of ``size`` pixels a side."""
        longest = max(shape[:2])
        height, width = (max(1, round(side * size / longest)) for side in shape[:2])
        return cls(size, width, height)

    @property
    def rows(self) -> slice:
        """The square's rows that show the drawing."""
        top = (self.size - self.height) // 2
        return slice(top, top + self.height)

    @property
    def columns(self) -> slice:
        """The square's columns that show the drawing."""
        left = (self.size - self.width) // 2
        return slice(left, left + self.width)

    def squared(self, picture: np.ndarray) -> np.ndarray:
        """A picture (H, W, 3) uint8 in the square (S, S, 3), its border pixels repeated up to the edges."""
        reduced = _resized(picture, (self.height, self.width), Image.Resampling.LANCZOS)
        bars = [(part.start, self.size - part.stop) for part in (self.rows, self.columns)]
        return np.pad(reduced, [*bars, (0, 0)], mode="edge")


def lines_of_sketch(picture: np.ndarray) -> np.ndarray:
    """A sketch's lines on clean paper.

    Paper is the 90th percentile of the grey, so that a scan's paper is white.

    Args:
        picture: (H, W, 3) uint8, on white.

    Returns:
        (H, W) uint8, 255 where there is no line.
    """
    grey = np.asarray(Image.fromarray(picture).convert("L"))
    paper = max(float(np.percentile(grey, _PAPER)), 1.0)
    return (np.arange(256) / paper * 255).round().clip(0, 255).astype(np.uint8)[grey]


def lines_of_picture(picture: np.ndarray, size: int, seed: int, name: str) -> np.ndarray:
    """The lines that XDoG finds in a drawing in colours, as wide as at the network's size.

    Args:
        picture: (H, W, 3) uint8, on white.
        size: side of the network's images, pixels.
        seed, name: draw the width of XDoG's Gaussian, which grows with the drawing.

    Returns:
        (H, W) uint8, 255 where there is no line.
    """
    scale = max(picture.shape[:2]) / size
    if scale <= 1:
        return sketch_of(picture, seed, name)
    grey = np.asarray(Image.fromarray(picture).convert("L")) / 255
    return gaussian_filter(xdog(grey, scale * draw_sigma(seed, name)), _SOFTENED)


def network_sketch(picture: np.ndarray, size: int, seed: int, name: str) -> np.ndarray:
    """The sketch (size, size) uint8 that a network is shown: XDoG, which made those it was trained on.

    XDoG leaves a sketch of its own as it is; of a large sketch's lines, which the reduction makes
    faint, it makes black ones again.

    Args:
        picture: a drawing in colours (H, W, 3), or lines (H, W); uint8.
        size: side of the network's images, pixels.
        seed, name: draw the width of XDoG's Gaussian.
    """
    frame = Frame.of(picture.shape, size)
    if picture.ndim == 2:
        # Thinner lines than a third of a pixel of the network's would be lost.
        width = max(1, round(max(picture.shape) / size / 3))
        picture = np.repeat(minimum_filter(picture, width)[..., None], 3, 2)
    sketch = np.full((size, size), 255, np.uint8)
    drawn = sketch_of(frame.squared(picture), seed, name)
    sketch[frame.rows, frame.columns] = drawn[frame.rows, frame.columns]
    return sketch


def is_cut_out(picture: np.ndarray, alpha: np.ndarray) -> bool:
    """Whether a transparent sketch's alpha is the shape of its paper, and not that of its lines.

    Args:
        picture: (H, W, 3) uint8, on white.
        alpha: (H, W) uint8.
    """
    visible = picture[alpha >= 128]
    return len(visible) > 0 and float((visible.min(1) >= _WHITE).mean()) > 0.5


@dataclass(frozen=True)
class _Axis:
    """One axis of :func:`spread`: what each of n pixels reads of m colours, four to choose from.

    Attributes:
        colours: (4, n) indices of the colours.
        weights: (4, n), cubic B-spline; they sum to 1.
        between: (4, samples, n) indices of the pixels on the way there.
    """

    colours: np.ndarray
    weights: np.ndarray
    between: np.ndarray

    @classmethod
    def of(cls, pixels: int, colours: int) -> _Axis:
        scale = pixels / colours
        i = np.arange(pixels)
        place = (i + 0.5) / scale - 0.5
        first = np.floor(place) - 1
        t = place - first - 1
        weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 0, t**3]
        weights[2] = 6 - weights[0] - weights[1] - weights[3]
        chosen = first + np.arange(4)[:, None]
        centres = (chosen + 0.5) * scale - 0.5
        steps = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
        between = i + steps[:, None] * (centres - i)[:, None, :]
        return cls(
            chosen.clip(0, colours - 1).astype(int),
            np.stack(weights).astype(np.float32) / 6,
            between.round().clip(0, pixels - 1).astype(int),
        )

    def part(self, chosen: slice) -> _Axis:
        """The same for some of the pixels."""
        return _Axis(self.colours[:, chosen], self.weights[:, chosen], self.between[:, :, chosen])


def _spread_band(
    colours: np.ndarray, trust: np.ndarray, barrier: np.ndarray, y: _Axis, x: _Axis
) -> np.ndarray:
    shape = (y.weights.shape[1], x.weights.shape[1])
    total = np.zeros(shape, np.float32)
    mixed = np.zeros((*shape, 3), np.float32)
    for j in range(4):
        for i in range(4):
            cells = np.ix_(y.colours[j], x.colours[i])
            crossed = sum(
                barrier[np.ix_(y.between[j, k], x.between[i, k])] for k in range(_SAMPLES)
            )
            free = np.exp(-_BLOCKING * crossed) * trust[cells] + _LEAST
            weight = y.weights[j][:, None] * x.weights[i] * free
            total += weight
            mixed += weight[..., None] * colours[cells]
    return mixed / total[..., None]


def spread(colours: np.ndarray, trust: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Colours enlarged to a drawing's size, without crossing its lines.

    Each pixel takes a mean of the sixteen colours around it, weighted by a cubic B-spline and by how free
    of lines the straight way to them is. Beyond sixteen times the colours' size that mean is itself enlarged.

    Args:
        colours: (h, w, 3) uint8.
        trust: (h, w) in [0, 1], how far each colour is one, and not a line.
        lines: (H, W) uint8, 255 where there is none; H ≥ h, W ≥ w.

    Returns:
        (H, W, 3) uint8.
    """
    scale = max(lines.shape) / max(colours.shape[:2])
    step = max(1, int(scale / _FINEST))
    # Wide enough that no line slips through between two samples or is left out by the step.
    blocked = minimum_filter(lines, max(step, round(2 * scale / _SAMPLES), 1))
    seen = blocked[tuple(slice(min(step, side) // 2, None, step) for side in lines.shape)]
    barrier = 1 - seen.astype(np.float32) / 255
    y, x = (_Axis.of(*sides) for sides in zip(barrier.shape, colours.shape, strict=False))
    known, trusted = colours.astype(np.float32), trust.astype(np.float32)
    rows = max(1, _BAND // barrier.shape[1])
    bands = (slice(start, start + rows) for start in range(0, len(barrier), rows))
    mixed = np.concatenate([_spread_band(known, trusted, barrier, y.part(b), x) for b in bands])
    return _resized(mixed.round().astype(np.uint8), lines.shape, Image.Resampling.BILINEAR)


def enlarged(colours: np.ndarray, sketch: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """A network's colours at the drawing's size.

    Args:
        colours: (S, S, 3) uint8, a network's output.
        sketch: (S, S) uint8, the :func:`network_sketch` it was made for.
        lines: (H, W) uint8, the drawing's lines.

    Returns:
        (H, W, 3) uint8.
    """
    frame = Frame.of(lines.shape, len(sketch))
    inner = colours[frame.rows, frame.columns]
    if max(lines.shape) > frame.size:
        return spread(inner, sketch[frame.rows, frame.columns] > 0, lines)
    return _resized(inner, lines.shape, Image.Resampling.LANCZOS)
