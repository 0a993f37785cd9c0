"""One file a method. A module here that defines ``METHOD`` is a method, its name the config section's."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from ssimbad.methods.base import Method, Stage


@cache
def methods() -> dict[str, type[Method]]:
    """Every method by its module's name."""
    modules = {
        name: import_module(f"{__name__}.{name}") for _, name, _ in pkgutil.iter_modules(__path__)
    }
    return {name: m.METHOD for name, m in sorted(modules.items()) if hasattr(m, "METHOD")}


@cache
def rows() -> dict[str, tuple[str, Stage]]:
    """Every row of the table: its method and the stage whose checkpoint it uses."""
    return {row: (name, stage) for name, m in methods().items() for row, stage in m.rows.items()}
