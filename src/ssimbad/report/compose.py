"""The report phase: what people read, from the numbers that other phases computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssimbad.evaluation.records import to_csv
from ssimbad.files import read_text, write_text
from ssimbad.phases import jobs
from ssimbad.report.figures import FinishedRun, draw_figures, figures_of
from ssimbad.report.findings import write_findings
from ssimbad.report.page import write_gallery, write_page
from ssimbad.report.table import write_tables, write_times

if TYPE_CHECKING:
    from ssimbad.config.schema import Config
    from ssimbad.evaluation.compare import Measurement
    from ssimbad.layout import Results
    from ssimbad.methods import Run


def compose(
    config: Config,
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
    data = [f"Images: {attribution}"] if attribution else []
    if share := config.data.make_source(config.seed).redrawn_share:
        data.insert(
            0,
            f"References trained on: {share:.0%} another drawing in the truth's colours, the"
            " others the warped truth. References tested on are as said above.",
        )
    table = write_tables(records, found, data, results)
    write_text(results.root / "comparisons.csv", to_csv(differences, list(differences[0])))
    write_findings(config.rows, differences, results)
    write_times(jobs(config), results)
    _write_oracle(config.guided_rows, results)
    write_gallery(config.data.warp, config.seed, results)
    draw_figures(FinishedRun(config, results, records), attribution)
    write_page(config.rows, table, attribution, figures_of(config), results)


def _write_oracle(guided: list[Run], results: Results) -> None:
    """All rows of oracle guidance in one file, apart from the table; empty where there are none."""
    parts = [read_text(results.oracle / f"{row}.csv").splitlines() for row in guided]
    lines = [*parts[0][:1], *(line for part in parts for line in part[1:])] if parts else []
    write_text(results.root / "oracle.csv", "".join(f"{line}\n" for line in lines))
