"""The settings in which held-out images are colorized: the one list of whose image is the reference.

Inference, measurement, tables, figures, the page and the rules follow from it. It is quick to import.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Setting:
    """A setting.

    Attributes:
        title: what people read.
        reference: what the reference is, for captions.
        partners: takes the names of a split's images and their pairs of ``pairs.csv``; gives by name whose
            image is the reference.
        truth: what the colorized images are measured against: the sketches' own images, or these drawings
            in their partners' colours, which only a source that renders them has.
    """

    title: str
    reference: str
    partners: Callable[[list[str], dict[str, str]], dict[str, str]]
    truth: Literal["own", "recoloured"] = "own"


SETTINGS = {
    "same": Setting(
        "same-reference", "the warped truth", lambda names, pairs: {name: name for name in names}
    ),
    "cross": Setting("cross-reference", "another identity", lambda names, pairs: pairs),
}
"""By name, in the order of the table."""
