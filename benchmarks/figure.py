"""The benchmarks' figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import seaborn as sns

from ssimbad.files import whole_file

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def draw_ratios(entries: list[dict[str, Any]], path: Path) -> None:
    """Each entry's ratio beside its target, and its fraction of the machine's peak where counted."""
    table = pd.DataFrame(entries)
    figure, axes = plt.subplots(1, 2, figsize=(10, 0.45 * len(table) + 1.2), sharey=True)
    sns.barplot(table, y="name", x="ratio", color="tab:blue", ax=axes[0])
    axes[0].scatter(table["target"], range(len(table)), marker="|", s=300, color="black")
    axes[0].set(xscale="log", xlabel="plain protocol / ours (bar: target)", ylabel="")
    sns.barplot(table, y="name", x="fraction_of_peak", color="tab:orange", ax=axes[1])
    axes[1].set(xlim=(0, 1), xlabel="of the measured matrix-product peak", ylabel="")
    figure.tight_layout()
    with whole_file(path) as part:
        figure.savefig(part, format="png", dpi=120)
    plt.close(figure)


def draw_scaling(table: pd.DataFrame, path: Path) -> None:
    """Seconds and peak memory of the phases along each axis."""
    long = table.melt(["axis", "at", "phase"], ["seconds", "peak_mib"])
    grid = sns.relplot(
        long,
        x="at",
        y="value",
        hue="phase",
        col="axis",
        row="variable",
        kind="line",
        marker="o",
        height=3,
        aspect=1.3,
        facet_kws={"sharex": "col", "sharey": "row"},
    )
    grid.set(xscale="log", yscale="log")
    grid.set_titles("{row_name} against {col_name}")
    grid.set_axis_labels("", "")
    for (_, axis), axes in grid.axes_dict.items():
        at = sorted(set(table.loc[table["axis"] == axis, "at"]))
        axes.set_xticks(at, labels=at)
        axes.set_xticks([], minor=True)
    with whole_file(path) as part:
        grid.savefig(part, format="png", dpi=110)
    plt.close(grid.figure)
