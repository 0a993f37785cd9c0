"""Images and sketches into the packed store; test pairs; attribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssimbad.data.prepare import prepare

if TYPE_CHECKING:
    from ssimbad.layout import Results
    from ssimbad.phases.slices import PhaseConfig


def run(config: PhaseConfig, results: Results) -> None:
    """Build the store."""
    prepare(config.data, config.seed, results.data)
