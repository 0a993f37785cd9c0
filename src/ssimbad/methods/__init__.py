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
    found: dict[str, tuple[str, Stage]] = {}
    for name, method in methods().items():
        found |= {row: (name, stage) for row, stage in method.rows.items()}
        found |= {row: (name, method.rows[of]) for row, (of, _) in method.resampled.items()}
    return found


def row_of(run: str) -> str:
    """The row of a run: ``row``, or ``row@seed`` for a further training seed."""
    return run.partition("@")[0]


def method_of(run: str) -> str:
    """The name of a run's method."""
    return rows()[row_of(run)][0]


def stage_of(run: str) -> Stage:
    """The stage whose checkpoint a run's images come from."""
    return rows()[row_of(run)][1]


def trained_run(run: str) -> str:
    """The run whose checkpoint a run's images come from: another one where it samples that anew."""
    row = row_of(run)
    trained, _ = methods()[method_of(run)].resampled.get(row, (row, ""))
    return trained + run.removeprefix(row)


def pretrained_run(run: str) -> str:
    """The run whose checkpoint a refined row's run starts from: the same method's, of the same seed."""
    row = row_of(run)
    trained = next(r for r, s in methods()[method_of(run)].rows.items() if s == "train")
    return trained + run.removeprefix(row)
