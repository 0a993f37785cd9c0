"""The report phase."""

from __future__ import annotations

import seaborn as sns

from ssimbad.files import read_text
from ssimbad.inference import SETTINGS
from ssimbad.layout import Results
from ssimbad.report import figures
from ssimbad.report.table import measurements, write_tables, write_times


def report(rows: list[str], results: Results) -> None:
    """Write the tables and all figures.

    Raises:
        UserError: a row's measurements are missing.
    """
    lines = read_text(results.data / "ATTRIBUTION.txt").splitlines()
    attribution = lines[0] if lines else ""
    sns.set_theme(style="whitegrid", font_scale=0.8)
    write_tables(measurements(rows, results), attribution, results)
    write_times(results)
    figures.ssim_curves(results)
    figures.r2_ranking(results)
    figures.noisy_grid(results, attribution)
    figures.loss_curves(rows, results)
    for setting in SETTINGS:
        figures.qualitative(rows, setting, results, attribution)
