"""The floor: the (warped) reference itself, handed back."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ssimbad.methods.base import Method, Noise, Stage
from ssimbad.section import Section


class Reference(Method):
    """Copies the reference; a method is useful only above this row."""

    rows: ClassVar[dict[str, Stage]] = {"reference": "none"}

    def colorize(
        self, sketch: Tensor, reference: Tensor, noise: Noise, sampling: Section | None
    ) -> Tensor:
        """The reference."""
        return reference


METHOD = Reference
