"""One folder a method, its name the config section's: what it declares, and the model in ``model.py``."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssimbad.methods.base import Method
    from ssimbad.methods.declaration import Declaration, Row, Stage


@cache
def methods() -> dict[str, Declaration]:
    """Every method by its folder's name."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__) if found.ispkg)
    return {name: import_module(f"{__name__}.{name}").METHOD for name in names}


def model_of(method: str) -> type[Method]:
    """The class of a method."""
    return import_module(f"{__name__}.{method}.model").MODEL


@cache
def rows() -> dict[str, Row]:
    """Every row of the table."""
    return {name: row for method in methods().values() for name, row in method.rows.items()}


def title_of(row: str) -> str:
    """A row as people read it; one that no method makes is called by its id."""
    return rows()[row].title if row in rows() else row


class Run(str):
    """A row with a training seed, written ``row``, or ``row@seed`` for a further seed than the first.

    It is its own name: in commands, files and wildcards.
    """

    @property
    def row(self) -> str:
        """The row's id."""
        return self.partition("@")[0]

    @property
    def seed(self) -> int | None:
        """The training seed; None is the config's first."""
        seed = self.partition("@")[2]
        return int(seed) if seed else None

    @property
    def method(self) -> str:
        """The name of its method."""
        return next(name for name, method in methods().items() if self.row in method.rows)

    @property
    def stage(self) -> Stage:
        """The stage whose checkpoint its images come from."""
        return rows()[self.row].stage

    @property
    def on_images(self) -> bool:
        """Whether its stage minimises ``refine.strategy``'s losses of the images it makes."""
        said = rows()[self.row].on_images
        return self.stage == "refine" if said is None else said

    @property
    def passes_of(self) -> Run | None:
        """The refined row's run for as many network passes as which it is trained, pretraining included."""
        other = rows()[self.row].passes_of
        return None if other is None else self._with(other)

    @property
    def trained(self) -> Run:
        """The run whose checkpoint its images come from: another one where it samples that anew."""
        return self._with(rows()[self.row].of or self.row)

    @property
    def pretrained(self) -> Run:
        """The run whose checkpoint a refined row's run starts from: the same method's, of the same seed."""
        siblings = methods()[self.method].rows
        return self._with(next(name for name, row in siblings.items() if row.stage == "train"))

    def _with(self, row: str) -> Run:
        return Run(row + self.removeprefix(self.row))
