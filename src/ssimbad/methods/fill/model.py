"""Regions of the sketch filled with colours of the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ssimbad.methods.base import Method, Noise

if TYPE_CHECKING:
    from ssimbad.schema import Section


def filled(sketch: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The sketch, each of its white regions in the median colour that the reference has there.

    A region is connected through pixels' sides; its median is of each channel by itself. Lines are black.

    Args:
        sketch: (S, S) in [-1, 1], white above 0.
        reference: (3, S, S) in [-1, 1].

    Returns:
        (3, S, S) in [-1, 1].
    """
    from scipy import ndimage

    regions, count = ndimage.label(sketch > 0)
    image = np.full_like(reference, -1)
    for channel, values in zip(image, reference, strict=True):
        medians = ndimage.median(values, regions, range(1, count + 1))
        channel[:] = np.concatenate([[-1.0], medians])[regions]
    return image


class Fill(Method):
    """Fills regions; like the reference it is a row that a method must stand above."""

    def colorize(
        self, sketch: Tensor, reference: Tensor, noise: Noise, sampling: Section | None
    ) -> Tensor:
        """Each sketch filled from its reference."""
        pairs = zip(sketch[:, 0].cpu().numpy(), reference.cpu().numpy(), strict=True)
        return torch.from_numpy(np.stack([filled(*pair) for pair in pairs])).to(reference)


MODEL = Fill
