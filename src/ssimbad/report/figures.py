"""The figures: how each is drawn from the files of other phases, its caption, and which runs have it.

Plotting libraries are imported by what draws, so that the workflow can ask for names alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ssimbad.evaluation.metrics import METRICS, SWEPT
from ssimbad.files import whole_file
from ssimbad.methods import title_of
from ssimbad.settings import SETTINGS, inferred

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ssimbad.config.schema import Config
    from ssimbad.layout import Results

_SHOWN = 8


@dataclass(frozen=True)
class FinishedRun:
    """What a figure may show of a run.

    Attributes:
        config: the whole config.
        results: where everything lies.
        records: the table's numbers.
    """

    config: Config
    results: Results
    records: list[dict[str, Any]]


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
        draw: makes it.
        caption: what it shows.
        when: true of the configs whose runs have it.
        images: whether it shows images of the data, and so names their author.
    """

    draw: Callable[[FinishedRun], Figure]
    caption: str
    when: Callable[[Config], object]
    images: bool


FIGURES: dict[str, Drawing] = {}
"""Every figure by the name of its file, in the order they are shown."""


def figure(
    name: str,
    caption: str,
    when: Callable[[Config], object] = lambda config: True,
    images: bool = False,
) -> Callable[[Callable[[FinishedRun], Figure]], Callable[[FinishedRun], Figure]]:
    """Put a function that draws into :data:`FIGURES`; arguments as :class:`Drawing` has them."""

    def put(draw: Callable[[FinishedRun], Figure]) -> Callable[[FinishedRun], Figure]:
        FIGURES[name] = Drawing(draw, caption, when, images)
        return draw

    return put


def figures_of(config: Config) -> list[str]:
    """The names of the figures that a run of a config has."""
    return [name for name, drawing in FIGURES.items() if drawing.when(config)]


def draw_figures(run: FinishedRun, attribution: str) -> None:
    """Draw every figure of a run into ``figures/<name>.png``.

    Args:
        run: what they show.
        attribution: what is said below those that show images.

    Raises:
        UserError: what another phase should have left is missing.
    """
    import matplotlib

    matplotlib.use("Agg")

    import matplotlib.pyplot as plt
    import seaborn as sns

    sns.set_theme(style="whitegrid", font_scale=0.8)
    for name in figures_of(run.config):
        drawn = FIGURES[name].draw(run)
        if attribution and FIGURES[name].images:
            drawn.text(0.5, -0.01, attribution, ha="center", va="top", fontsize=6, color="0.4")
        with whole_file(run.results.figures / f"{name}.png") as part:
            # A fixed metadata block, so that equal figures are equal files.
            drawn.savefig(
                part, format="png", dpi=130, bbox_inches="tight", metadata={"Software": None}
            )
        plt.close(drawn)


def _table(path: Path, *columns: str) -> pd.DataFrame:
    from ssimbad.evaluation.records import read_csv

    return read_csv(path, *columns)


def _panels(
    count: int, across: int, width: float, height: float, **kinds: Any
) -> tuple[Figure, list[Any]]:
    """A figure of ``count`` panels, at most ``across`` side by side, each of a size in inches."""
    import matplotlib.pyplot as plt

    across = min(across, count)
    down = -(-count // across)
    drawn, axes = plt.subplots(
        down, across, figsize=(width * across, height * down), squeeze=False, **kinds
    )
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    return drawn, list(axes.flat[:count])


def _grid(
    lines: Sequence[tuple[str, Sequence[np.ndarray]]], columns: Sequence[str] | None = None
) -> Figure:
    """Labelled lines of images."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    count, labels = len(lines[0][1]), 1.4  # inches of a cell are 1
    drawn, axes = plt.subplots(
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
    drawn.subplots_adjust(
        left=labels / (count + labels), right=1, bottom=0, top=1, wspace=0.04, hspace=0.04
    )
    return drawn


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def qualitative(run: FinishedRun, setting: str) -> Figure:
    """Sketch, reference, every row's output and the truth of the first test images."""
    from ssimbad.data.image_set import ImageSet

    results = run.results
    names = ImageSet(results.data, "test", run.config.seed).names[:_SHOWN]
    lines = [
        ("sketch", results.gallery / "sketch"),
        ("reference", results.gallery / f"reference_{setting}"),
    ]
    for row in run.config.rows:
        if row != "reference":  # the copy row's images are the warped references themselves
            lines.append((title_of(row).replace(", ", ",\n"), results.images(row) / setting))
    lines.append(("truth", results.gallery / f"truth_{setting}"))
    return _grid(
        [(label, [_read(folder / f"{name}.png") for name in names]) for label, folder in lines]
    )


for _name in inferred():
    figure(
        f"qualitative_{_name}",
        f"{SETTINGS[_name].title.capitalize()}: the reference is {SETTINGS[_name].reference}",
        images=True,
    )(partial(qualitative, setting=_name))


@figure("metrics", "Every metric of every row, with 95 % intervals")
def metric_bars(run: FinishedRun) -> Figure:
    """Every metric of every row, with its interval."""
    import pandas as pd
    import seaborn as sns

    frame = pd.DataFrame([r for r in run.records if r["seed"] is None])
    methods = list(dict.fromkeys(frame["method"]))
    settings = list(dict.fromkeys(frame["setting"]))
    thick = 0.76 / len(settings)
    drawn, axes = _panels(len(METRICS), 3, 11 / 3, 0.25 * len(methods) + 0.9, sharey=True)
    for axis, (name, metric) in zip(axes, METRICS.items(), strict=True):
        for k, (setting, colour) in enumerate(zip(settings, sns.color_palette(), strict=False)):
            part = frame[(frame["metric"] == name) & (frame["setting"] == setting)]
            values = (
                part.set_index("method")
                .reindex(methods)
                .astype({"value": float, "ci_low": float, "ci_high": float})
            )
            at = np.arange(len(methods)) + 0.8 / len(settings) * (k - (len(settings) - 1) / 2)
            axis.barh(at, values["value"].fillna(0), thick, color=colour, label=setting)
            known = values["ci_low"].notna().to_numpy()
            # A percentile interval need not hold the value, as of few images.
            low = (values["value"] - values["ci_low"]).clip(lower=0).to_numpy()
            high = (values["ci_high"] - values["value"]).clip(lower=0).to_numpy()
            axis.errorbar(
                values["value"].to_numpy()[known],
                at[known],
                xerr=[low[known], high[known]],
                fmt="none",
                ecolor="0.2",
                elinewidth=1,
            )
        axis.set_title(metric.heading)
        axis.set_yticks(range(len(methods)), [title_of(m) for m in methods])
    axes[0].invert_yaxis()
    axes[0].legend(fontsize=7)
    drawn.tight_layout()
    return drawn


@figure(
    "quality_against_calls",
    "Quality of validation images against network calls, unguided; stars: where sampling is chosen",
    when=lambda config: config.swept_rows,
)
def quality_against_calls(run: FinishedRun) -> Figure:
    """Validation images' quality against network calls per image, for every sampler tried."""
    import pandas as pd

    needed = ("setting", "varied", "sampler", "network_calls", *SWEPT, "chosen")
    tables = {
        row: _table(run.results.sweep / f"{row}.csv", *needed) for row in run.config.swept_rows
    }
    sweeps = pd.concat([table.assign(row=row) for row, table in tables.items()])
    settings = list(sweeps["setting"].unique())
    drawn, axes = _panels(len(SWEPT) * len(settings), len(SWEPT), 4.4, 3.2)
    for k, axis in enumerate(axes):
        setting, metric = settings[k // len(SWEPT)], SWEPT[k % len(SWEPT)]
        own = sweeps[sweeps["setting"] == setting]
        for (row, sampler), part in own.groupby(["row", "sampler"], sort=False):
            line = part[part["varied"] == "steps"].sort_values("network_calls")
            (drawn_line,) = axis.plot(
                line["network_calls"],
                line[metric],
                marker="o",
                ms=3,
                label=f"{title_of(row)}: {sampler}",
            )
            star = part[(part["chosen"] == 1) & (row in run.config.chosen_rows)]
            colour = drawn_line.get_color()
            axis.scatter(
                star["network_calls"], star[metric], s=60, color=colour, marker="*", zorder=3
            )
        axis.set(
            title=SETTINGS[setting].title,
            xlabel="network calls per image",
            ylabel=METRICS[metric].heading,
            xscale="log",
        )
    axes[len(SWEPT) - 1].legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
    drawn.tight_layout()
    return drawn


@figure("ssim_curves", "SSIM as noise grows, along each noise schedule's own axis")
def ssim_curves(run: FinishedRun) -> Figure:
    """SSIM against each spacing's own axis, with the straight line its R² speaks of."""
    curves = _table(
        run.results.phi / "curves.csv",
        *("spacing", "axis_name", "axis", "sigma", "ssim", "ssim_std", "r2"),
    )
    spacings = list(curves["spacing"].unique())
    drawn, axes = _panels(len(spacings), len(spacings), 4, 3.2, sharey=True)
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
    return drawn


@figure(
    "noisy_images",
    "One image under growing noise, as each schedule steps through it",
    images=True,
)
def noisy_images(run: FinishedRun) -> Figure:
    """One image under growing noise, as each spacing steps through it."""
    lines = []
    with np.load(run.results.phi / "noisy.npz") as grids:
        for spacing in grids.files:
            images = grids[spacing]
            shown = np.linspace(0, len(images) - 1, min(10, len(images))).round().astype(int)
            lines.append((spacing, list(images[shown])))
    return _grid(lines)


@figure("r2_ranking", "The search for φ*: how straight SSIM falls along each candidate")
def r2_ranking(run: FinishedRun) -> Figure:
    """All candidates by R²."""
    import seaborn as sns

    from ssimbad.noise.transforms import RATIONAL

    ranking = _table(run.results.phi / "ranking.csv", "phi", "c", "r2")
    names = [
        name.replace("+c", f"+{c:.3g}") if name == RATIONAL else name
        for name, c in zip(ranking["phi"], ranking["c"], strict=True)
    ]
    drawn, (axis,) = _panels(1, 1, 6, 0.24 * len(names) + 0.8)
    sns.barplot(x=ranking["r2"].clip(lower=0), y=names, ax=axis, color="C0")
    axis.set(xlabel="mean R² of SSIM against φ", ylabel="", xlim=(0, 1))
    for k, value in enumerate(ranking["r2"]):
        axis.text(max(value, 0) + 0.005, k, f"{value:.4f}", va="center", fontsize=7)
    return drawn


@figure("loss", "Training curves", when=lambda config: config.trained_runs)
def loss_curves(run: FinishedRun) -> Figure:
    """Training and validation loss of the trained rows."""
    trained = run.config.trained_runs
    drawn, axes = _panels(len(trained), 4, 4.2, 3)
    for axis, row in zip(axes, trained, strict=True):
        history = _table(run.results.history(row), "step", "lr")
        for column in history.columns.drop(["step", "lr"]):
            axis.plot(history["step"], history[column], marker=".", label=column.replace("_", ": "))
        axis.set(title=title_of(row), xlabel="optimizer step", ylabel="loss", yscale="log")
        axis.legend(fontsize=7)
    drawn.tight_layout()
    return drawn
