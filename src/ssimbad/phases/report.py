"""What people read, from what the other phases wrote; beside it all files' digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssimbad.evaluation.compare import comparisons, read_runs, table
from ssimbad.report.compose import compose
from ssimbad.verify import write_digests

if TYPE_CHECKING:
    from ssimbad.layout import Results
    from ssimbad.phases.slices import PhaseConfig


def run(config: PhaseConfig, results: Results) -> None:
    """Write tables, findings, figures and the page."""
    whole = config.whole
    found = read_runs({(run.row, whole.seed_of(run)): results.metrics(run) for run in whole.runs})
    resamples = whole.evaluate.resamples
    compose(
        whole,
        found,
        table(found, resamples, whole.seed),
        comparisons(found, resamples, whole.seed),
        results,
    )
    write_digests(results)
