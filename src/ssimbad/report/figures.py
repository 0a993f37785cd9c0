"""The figures, drawn from the files of the other phases."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from PIL import Image

from ssimbad.data.store import Split
from ssimbad.evaluation.metrics import METRICS, SWEPT
from ssimbad.files import read_text, whole_file
from ssimbad.layout import Results
from ssimbad.noise.transforms import RATIONAL
from ssimbad.paper import label

_SHOWN = 8


def _save(figure: Figure, path: Path, attribution: str = "") -> None:
    if attribution:
        figure.text(0.5, -0.01, attribution, ha="center", va="top", fontsize=6, color="0.4")
    with whole_file(path) as part:
        # A fixed metadata block, so that equal figures are equal files.
        figure.savefig(
            part, format="png", dpi=130, bbox_inches="tight", metadata={"Software": None}
        )
    plt.close(figure)


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(read_text(path)))


def _grid(
    lines: Sequence[tuple[str, Sequence[np.ndarray]]], columns: Sequence[str] | None = None
) -> Figure:
    """Labelled lines of images."""
    count, labels = len(lines[0][1]), 1.4  # inches of a cell are 1
    figure, axes = plt.subplots(
        len(lines), count, figsize=(count + labels, len(lines)), squeeze=False
    )
    for line, (name, images) in zip(axes, lines, strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(image, cmap="gray" if image.ndim == 2 else None, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            sns.despine(ax=axis, left=True, bottom=True)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    for axis, title in zip(axes[0], columns or [], strict=False):
        axis.set_title(title, fontsize=7)
    figure.subplots_adjust(
        left=labels / (count + labels), right=1, bottom=0, top=1, wspace=0.04, hspace=0.04
    )
    return figure


def ssim_curves(results: Results) -> None:
    """SSIM against each spacing's own axis, with the straight line its R² speaks of."""
    curves = _table(results.phi / "curves.csv")
    spacings = list(curves["spacing"].unique())
    figure, axes = plt.subplots(1, len(spacings), figsize=(4 * len(spacings), 3.2), sharey=True)
    for axis, spacing in zip(axes, spacings, strict=True):
        part = curves[curves["spacing"] == spacing]
        x, y = part["axis"], part["ssim"]
        axis.fill_between(x, y - part["ssim_std"], y + part["ssim_std"], alpha=0.2, lw=0)
        axis.plot(x, y, marker="o", ms=3)
        slope, offset = np.polyfit(x, y, 1)
        axis.plot(x, slope * x + offset, ls="--", lw=1, color="0.4")
        axis.set(
            title=f"{spacing}: R² = {part['r2'].iloc[0]:.4f}", xlabel=part["axis_name"].iloc[0]
        )
    axes[0].set_ylabel("SSIM of noisy and clean image")
    _save(figure, results.figures / "ssim_curves.png")


def noisy_grid(results: Results, attribution: str) -> None:
    """One image under growing noise, as each spacing steps through it."""
    lines = []
    with np.load(results.phi / "noisy.npz") as grids:
        for spacing in grids.files:
            images = grids[spacing]
            shown = np.linspace(0, len(images) - 1, min(10, len(images))).round().astype(int)
            lines.append((spacing, list(images[shown])))
    _save(_grid(lines), results.figures / "noisy_images.png", attribution)


def r2_ranking(results: Results) -> None:
    """All candidates by R²."""
    ranking = _table(results.phi / "ranking.csv")
    names = [
        name.replace("+c", f"+{c:.3g}") if name == RATIONAL else name
        for name, c in zip(ranking["phi"], ranking["c"], strict=True)
    ]
    figure, axis = plt.subplots(figsize=(6, 0.24 * len(names) + 0.8))
    sns.barplot(x=ranking["r2"].clip(lower=0), y=names, ax=axis, color="C0")
    axis.set(xlabel="mean R² of SSIM against φ", ylabel="", xlim=(0, 1))
    for k, value in enumerate(ranking["r2"]):
        axis.text(max(value, 0) + 0.005, k, f"{value:.4f}", va="center", fontsize=7)
    _save(figure, results.figures / "r2_ranking.png")


def loss_curves(trained: list[str], results: Results) -> None:
    """Training and validation loss of the trained rows."""
    columns = min(4, len(trained))
    lines = -(-len(trained) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(4.2 * columns, 3 * lines), squeeze=False)
    for axis in axes.flat[len(trained) :]:
        axis.set_axis_off()
    for axis, row in zip(axes.flat, trained, strict=False):
        history = _table(results.history(row))
        for column in history.columns.drop(["step", "lr"]):
            axis.plot(history["step"], history[column], marker=".", label=column.replace("_", ": "))
        axis.set(title=label(row), xlabel="optimizer step", ylabel="loss", yscale="log")
        axis.legend(fontsize=7)
    figure.tight_layout()
    _save(figure, results.figures / "loss.png")


def metric_bars(records: list[dict[str, Any]], results: Results) -> None:
    """Every metric of every row, with its interval."""
    frame = pd.DataFrame([r for r in records if r["seed"] is None])
    methods = list(dict.fromkeys(frame["method"]))
    colours = dict(zip(("same", "cross"), sns.color_palette(), strict=False))
    lines = -(-len(METRICS) // 3)
    size = (11, lines * (0.25 * len(methods) + 0.9))
    figure, axes = plt.subplots(lines, 3, figsize=size, squeeze=False, sharey=True)
    for axis in axes.flat[len(METRICS) :]:
        axis.set_axis_off()
    for axis, (name, metric) in zip(axes.flat, METRICS.items(), strict=False):
        for k, setting in enumerate(("same", "cross")):
            part = frame[(frame["metric"] == name) & (frame["setting"] == setting)]
            values = (
                part.set_index("method")
                .reindex(methods)
                .astype({"value": float, "ci_low": float, "ci_high": float})
            )
            at = np.arange(len(methods)) + 0.4 * (k - 0.5)
            axis.barh(at, values["value"].fillna(0), 0.38, color=colours[setting], label=setting)
            known = values["ci_low"].notna().to_numpy()
            low = (values["value"] - values["ci_low"]).to_numpy()
            high = (values["ci_high"] - values["value"]).to_numpy()
            axis.errorbar(
                values["value"].to_numpy()[known],
                at[known],
                xerr=[low[known], high[known]],
                fmt="none",
                ecolor="0.2",
                elinewidth=1,
            )
        axis.set_title(metric.heading)
        axis.set_yticks(range(len(methods)), [label(m) for m in methods])
    axes[0, 0].invert_yaxis()
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    _save(figure, results.figures / "metrics.png")


def quality_against_calls(rows: list[str], results: Results) -> None:
    """Same-reference quality against network calls per image, for every sampler tried."""
    sweeps = pd.concat([_table(results.sweep / f"{row}.csv").assign(row=row) for row in rows])
    figure, axes = plt.subplots(1, len(SWEPT), figsize=(5 * len(SWEPT), 3.6))
    for axis, metric in zip(axes, SWEPT, strict=True):
        for (row, sampler), part in sweeps.groupby(["row", "sampler"], sort=False):
            part = part.sort_values("network_calls")
            axis.plot(
                part["network_calls"],
                part[metric],
                marker="o",
                ms=3,
                label=f"{label(row)}: {sampler}",
            )
        axis.set(xlabel="network calls per image", ylabel=METRICS[metric].heading, xscale="log")
    axes[-1].legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    _save(figure, results.figures / "quality_against_calls.png")


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def qualitative(rows: list[str], setting: str, results: Results, attribution: str) -> None:
    """Sketch, reference, every row's output and the truth of the first test images."""
    split = Split(results.data, "test")
    names = split.names[:_SHOWN]
    indices = [split.index[name] for name in names]
    lines = [
        ("sketch", list(split.sketches[indices])),
        (
            "reference",
            [_read(results.gallery / f"reference_{setting}" / f"{n}.png") for n in names],
        ),
    ]
    for row in rows:
        if row != "reference":  # the copy row's images are the warped references themselves
            folder = results.images(row) / setting
            images = [_read(folder / f"{name}.png") for name in names]
            lines.append((label(row).replace(", ", ",\n"), images))
    lines.append(("truth", list(split.images[indices])))
    _save(_grid(lines), results.figures / f"qualitative_{setting}.png", attribution)
