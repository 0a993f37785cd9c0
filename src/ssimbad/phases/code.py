"""Which of the package's modules a phase runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ssimbad.phases import PHASES
from ssimbad.provenance import modules_of

if TYPE_CHECKING:
    from ssimbad.methods import Run

_CONDUCT = (
    *("ssimbad", "ssimbad.phases", "ssimbad.phases.code", "ssimbad.phases.slices"),
    *("ssimbad.provenance", "ssimbad.layout"),
)


def code_of(phase: str, run: Run | None = None) -> dict[str, Path]:
    """The modules that a phase of a run's method runs: name → file.

    The rules' inputs, a training's identity, what a number was made with and ``ssimbad verify`` all ask here.
    Left out is what decides nothing about a number: the list of phases, where files lie, what is noted of
    code, and the declarations of other methods. So is the config's code: its values come to a phase.

    Args:
        phase: the phase.
        run: what it is run for; None where it is not of a row.
    """
    entries = [f"ssimbad.phases.{phase}"]
    if run is not None and PHASES[phase].model:
        entries.append(f"ssimbad.methods.{run.method}.model")
    found = modules_of(entries)
    return {name: path for name, path in found.items() if name not in _CONDUCT}
