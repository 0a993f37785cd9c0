"""What people read, from what the other phases wrote; beside it all files' digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssimbad.data.image_set import ImageSet
from ssimbad.evaluation.compare import comparisons, last_fall, read_runs, table
from ssimbad.evaluation.records import to_csv
from ssimbad.files import read_text, write_text
from ssimbad.methods import Run
from ssimbad.phases import jobs
from ssimbad.report.ablations import write_ablations
from ssimbad.report.digests import write_digests
from ssimbad.report.figures import FinishedRun, draw_figures, figures_of
from ssimbad.report.findings import write_findings
from ssimbad.report.page import write_gallery, write_page
from ssimbad.report.table import write_common_calls, write_tables, write_times

if TYPE_CHECKING:
    from pathlib import Path

    from ssimbad.config.schema import Config
    from ssimbad.layout import Results
    from ssimbad.phases.slices import PhaseConfig


def _notes(config: Config, attribution: str) -> list[str]:
    """What the table notes of the images."""
    notes = [f"Images: {attribution}"] if attribution else []
    if share := config.data.make_source(config.seed).redrawn_share:
        notes.insert(
            0,
            f"References trained on: {share:.0%} another drawing in the truth's colours, the"
            " others the warped truth. References tested on are as said above.",
        )
    return notes


def _falls(config: Config, results: Results) -> dict[str, float]:
    """By row, by what part its validation loss fell in its last checkpoint interval, where that is known."""
    histories: dict[str, list[Path]] = {}
    for run in config.runs:
        if run.stage != "none":
            histories.setdefault(run.row, []).append(results.history(config.training_of(run)))
    falls = {row: last_fall(paths) for row, paths in histories.items()}
    return {row: fall for row, fall in falls.items() if fall is not None}


def _write_oracle(guided: list[Run], results: Results) -> None:
    """All rows of oracle guidance in one file, apart from the table; empty where there are none."""
    parts = [read_text(results.oracle / f"{row}.csv").splitlines() for row in guided]
    lines = [*parts[0][:1], *(line for part in parts for line in part[1:])] if parts else []
    write_text(results.root / "oracle.csv", "".join(f"{line}\n" for line in lines))


def run(config: PhaseConfig, results: Results) -> None:
    """Write tables, findings, figures and the page that leads to them.

    Raises:
        UserError: what another phase should have left is missing.
    """
    whole = config.whole
    folders = {(run.row, whole.seed_of(run)): results.metrics(run) for run in whole.runs}
    found = read_runs(folders, whole.settings)
    resamples = whole.evaluate.resamples
    records = table(found, resamples, whole.seed)
    differences = comparisons(found, resamples, whole.seed)
    lines = read_text(results.data / "ATTRIBUTION.txt").splitlines()
    attribution = lines[0] if lines else ""
    tables = write_tables(records, found, _notes(whole, attribution), results)
    variants = {run: whole.changes(run) for run in map(Run, whole.rows) if run.variant}
    tables += write_ablations(variants, records, differences, found, results)
    tables += write_common_calls(whole.swept_rows, whole.sweep, results)
    write_text(results.root / "comparisons.csv", to_csv(differences, list(differences[0])))
    plain = [row for row in whole.rows if Run(row) not in variants]
    write_findings(plain, differences, found, _falls(whole, results), results)
    write_times(jobs(whole), results)
    _write_oracle(whole.guided_rows, results)
    test_set = ImageSet(results.data, "test", whole.seed, whole.data.warp)
    write_gallery(test_set, results)
    draw_figures(FinishedRun(whole, results, records), attribution)
    write_page(whole.rows, tables, attribution, figures_of(whole), test_set, results)
    write_digests(results)
