"""Reproducible reference-based colorization of anime face sketches (SSIMBaD, arXiv 2506.04283)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssimbad.colorizer import Colorizer

__all__ = ["Colorizer", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # PyTorch is loaded once it is asked for; and by name, since no phase runs this.
    if name == "Colorizer":
        return import_module("ssimbad.colorizer").Colorizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
