"""The report phase: what people read, from the numbers that other phases computed."""

from __future__ import annotations

from typing import Any

import seaborn as sns

from ssimbad.data.warp import WarpConfig
from ssimbad.evaluation.compare import Run, to_csv
from ssimbad.files import read_text, write_text
from ssimbad.inference import SETTINGS
from ssimbad.layout import Results
from ssimbad.report import figures
from ssimbad.report.findings import write_findings
from ssimbad.report.page import write_gallery, write_page
from ssimbad.report.table import write_tables, write_times


def report(
    rows: list[str],
    warp: WarpConfig,
    seed: int,
    found: dict[tuple[str, str], dict[int, Run]],
    records: list[dict[str, Any]],
    differences: list[dict[str, Any]],
    results: Results,
) -> None:
    """Write tables, findings and all figures.

    Args:
        rows: the table's rows, in its order.
        warp, seed: how the references were warped.
        found: the measurements by (row, setting) and seed.
        records: the table's numbers.
        differences: paired differences between rows.
        results: where everything lies.

    Raises:
        UserError: what another phase should have left is missing.
    """
    lines = read_text(results.data / "ATTRIBUTION.txt").splitlines()
    attribution = lines[0] if lines else ""
    sns.set_theme(style="whitegrid", font_scale=0.8)
    table = write_tables(records, found, attribution, results)
    write_text(results.root / "comparisons.csv", to_csv(differences, list(differences[0])))
    write_findings(rows, differences, results)
    write_times(results)
    _write_oracle(results)
    figures.ssim_curves(results)
    figures.r2_ranking(results)
    figures.noisy_grid(results, attribution)
    figures.loss_curves(rows, results)
    figures.metric_bars(records, results)
    figures.quality_against_calls(results)
    for setting in SETTINGS:
        figures.qualitative(rows, setting, results, attribution)
    write_gallery(warp, seed, results)
    write_page(rows, table, attribution, results)


def _write_oracle(results: Results) -> None:
    """All rows of oracle guidance in one file, apart from the table."""
    parts = [read_text(path).splitlines() for path in sorted(results.oracle.glob("*.csv"))]
    if parts:
        lines = [parts[0][0], *(line for part in parts for line in part[1:])]
        write_text(results.root / "oracle.csv", "\n".join(lines) + "\n")
