"""The report phase: what people read, from the numbers that other phases computed."""

from __future__ import annotations

from typing import Any

from ssimbad.config import Phase, runs
from ssimbad.evaluation.compare import Measurement
from ssimbad.evaluation.records import to_csv
from ssimbad.files import read_text, write_text
from ssimbad.layout import Results
from ssimbad.methods import stage_of, trained_run
from ssimbad.report.figures import FinishedRun, draw_figures, figures_of
from ssimbad.report.findings import write_findings
from ssimbad.report.page import write_gallery, write_page
from ssimbad.report.table import write_tables, write_times


def compose(
    config: Phase,
    found: dict[tuple[str, str], dict[int, Measurement]],
    records: list[dict[str, Any]],
    differences: list[dict[str, Any]],
    results: Results,
) -> None:
    """Write tables, findings, figures and the page that leads to them.

    Args:
        config: the whole config.
        found: the measurements by (row, setting) and seed.
        records: the table's numbers.
        differences: paired differences between rows.
        results: where everything lies.

    Raises:
        UserError: what another phase should have left is missing.
    """
    lines = read_text(results.data / "ATTRIBUTION.txt").splitlines()
    attribution = lines[0] if lines else ""
    swept = [row for row in config.sweep.rows if row in config.rows]
    guided = [row for row in config.oracle.rows if row in config.rows]
    data = [f"Images: {attribution}"] if attribution else []
    if config.data.redrawn:
        data.insert(
            0,
            f"References trained on: {config.data.redrawn:.0%} another drawing in the truth's colours, the"
            " others the warped truth. References tested on are as said above.",
        )
    table = write_tables(records, found, data, results)
    write_text(results.root / "comparisons.csv", to_csv(differences, list(differences[0])))
    write_findings(config.rows, differences, results)
    write_times(_jobs(config, swept, guided), results)
    _write_oracle(guided, results)
    write_gallery(config.data.warp, config.seed, results)
    draw_figures(FinishedRun(config, results, records), attribution)
    write_page(config.rows, table, attribution, figures_of(config), results)


def _jobs(config: Phase, swept: list[str], guided: list[str]) -> list[tuple[str, str | None]]:
    """The jobs behind the table: phase and run."""
    jobs: list[tuple[str, str | None]] = [("data", None), ("phi", None)]
    for run in runs(config):
        stage = stage_of(run)
        trains = stage != "none" and trained_run(run) == run
        phases = ([stage] if trains else []) + ["infer", "evaluate"]
        jobs += [(phase, run) for phase in phases]
    return jobs + [("sweep", row) for row in swept] + [("oracle", row) for row in guided]


def _write_oracle(guided: list[str], results: Results) -> None:
    """All rows of oracle guidance in one file, apart from the table; empty where there are none."""
    parts = [read_text(results.oracle / f"{row}.csv").splitlines() for row in guided]
    lines = [*parts[0][:1], *(line for part in parts for line in part[1:])] if parts else []
    write_text(results.root / "oracle.csv", "".join(f"{line}\n" for line in lines))
