"""The settings in which held-out images are colorized and measured: the one list of whose image is the
reference, and of what the colorized images are compared with.

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
        truth: what the colorized images are measured against: the sketches' own images; or these drawings
            in their partners' colours, which only a source that renders them has.
        images: the setting whose images it measures; empty: it has images of its own.
    """

    title: str
    reference: str
    partners: Callable[[list[str], dict[str, str]], dict[str, str]]
    truth: Literal["own", "recoloured"] = "own"
    images: str = ""


SETTINGS = {
    "same": Setting(
        "same-reference", "the warped truth", lambda names, pairs: {name: name for name in names}
    ),
    "cross": Setting("cross-reference", "another identity", lambda names, pairs: pairs),
    "cross_exact": Setting(
        "cross-reference, exact truth",
        "another identity",
        lambda names, pairs: pairs,
        truth="recoloured",
        images="cross",
    ),
}
"""By name, in the order of the table."""


def images_of(setting: str) -> str:
    """The setting whose images are measured in a setting."""
    return SETTINGS[setting].images or setting


def inferred() -> list[str]:
    """The settings with images of their own."""
    return [setting for setting in SETTINGS if images_of(setting) == setting]


def exact(setting: str, settings: list[str]) -> str:
    """Which of some settings measures a setting's images against a better truth; itself where none does."""
    others = (other for other in settings if SETTINGS[other].images == setting)
    return next(others, setting)
