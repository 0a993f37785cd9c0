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
    base, plus, variant = row.partition("+")
    return f"{rows()[base].title}{plus and ' + '}{variant}" if base in rows() else row


def known_rows(value: list[str]) -> list[str]:
    """Rows of a config, each a method's or a variant of one.

    Raises:
        ValueError: one is no such row, or stands twice.
    """
    for row in value:
        if "@" in row or Run(row).base not in rows():
            raise ValueError(f"no row {row!r}: rows are {', '.join(rows())}")
        if value.count(row) > 1:
            raise ValueError(f"row {row!r} stands twice")
    return value


VARIANT = r"[a-z0-9_]+"
"""What a variant may be called."""
RUN = rf"(?:\+{VARIANT})?(?:@\d+)?"
"""What may follow a declared row's id in a run's name."""


class Run(str):
    """A row with a training seed, written ``row``, or ``row@seed`` for a further seed than the first.

    A row is a method's, or ``row+variant``: that row under the config's values of a variant. A run is its own
    name: in commands, files and wildcards.
    """

    @property
    def row(self) -> str:
        """The row's id."""
        return self.partition("@")[0]

    @property
    def base(self) -> str:
        """The id of the row that a method declares."""
        return self.row.partition("+")[0]

    @property
    def variant(self) -> str | None:
        """The variant's name; None of a row as the config has it."""
        _, plus, name = self.row.partition("+")
        return name if plus else None

    @property
    def plain(self) -> Run:
        """The run without its variant, of the same seed."""
        return Run(self.base + self.removeprefix(self.row))

    @property
    def declared(self) -> Row:
        """What its method declares of the row."""
        return rows()[self.base]

    @property
    def seed(self) -> int | None:
        """The training seed; None is the config's first."""
        seed = self.partition("@")[2]
        return int(seed) if seed else None

    @property
    def method(self) -> str:
        """The name of its method."""
        return next(name for name, method in methods().items() if self.base in method.rows)

    @property
    def stage(self) -> Stage:
        """The stage whose checkpoint its images come from."""
        return self.declared.stage

    @property
    def on_images(self) -> bool:
        """Whether its stage minimises ``refine.strategy``'s losses of the images it makes."""
        said = self.declared.on_images
        return self.stage == "refine" if said is None else said

    @property
    def passes_of(self) -> Run | None:
        """The refined row's run for as many network passes as which it is trained, pretraining included."""
        other = self.declared.passes_of
        return None if other is None else self._with(other)

    @property
    def trained(self) -> Run:
        """The run of the same variant whose checkpoint its images come from: another's that it samples anew.

        Whether the variant has a training of its own the config knows: ``Config.training_of``.
        """
        return self._with(self.declared.of or self.base)

    @property
    def pretrained(self) -> Run:
        """The run whose checkpoint a refined row's run starts from: the same method's, variant's and seed's.

        Whether the variant has a pretraining of its own the config knows: ``Config.pretraining_of``.
        """
        siblings = methods()[self.method].rows
        return self._with(next(name for name, row in siblings.items() if row.stage == "train"))

    def _with(self, row: str) -> Run:
        return Run(row + self.removeprefix(self.base))
