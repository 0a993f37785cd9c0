"""Which of the package's modules a phase runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ssimbad.methods import methods
from ssimbad.phases import PHASES
from ssimbad.provenance import modules_of

if TYPE_CHECKING:
    from ssimbad.methods import Run

_CONDUCT = {
    *("ssimbad", "ssimbad.phases", "ssimbad.phases.code", "ssimbad.phases.slices"),
    *("ssimbad.provenance", "ssimbad.layout", "ssimbad.files", "ssimbad.errors", "ssimbad.machine"),
    *("ssimbad.interruption", "ssimbad.training.state"),
}


def code_of(phase: str, run: Run | None = None) -> dict[str, Path]:
    """The modules that a phase of a run's method runs: name → file.

    The rules' inputs, a training's identity, what a number was made with and ``ssimbad verify`` all ask here.
    Left out is what decides nothing about a number: the list of phases, where and how files lie, what is
    noted of code, how work ends and goes on. So is the config's code, and what methods declare, but for the
    report, which shows their titles: values come to a phase as such.

    Args:
        phase: the phase.
        run: what it is run for; None where it is not of a row.
    """
    entries = [f"ssimbad.phases.{phase}"]
    declared = {f"ssimbad.methods.{name}" for name in methods()}
    if phase == "report":
        entries += declared
    elif run is not None and PHASES[phase].model:
        entries.append(f"ssimbad.methods.{run.method}.model")
    left_out = _CONDUCT if phase == "report" else _CONDUCT | declared
    return {name: path for name, path in modules_of(entries).items() if name not in left_out}
