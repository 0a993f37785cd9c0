"""The compare phase: the table's numbers over all seeds, and paired differences between rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ssimbad.evaluation.metrics import of_images, of_sets
from ssimbad.evaluation.statistics import bootstrap
from ssimbad.files import read_json, read_text
from ssimbad.methods import Run
from ssimbad.paper import CLAIMS, EASIER, MAIN
from ssimbad.settings import SETTINGS, exact

Measurement = dict[str, Any]
"""The JSON of one row, seed and setting."""


def read_runs(
    folders: dict[tuple[str, int], Path], settings: Iterable[str] = SETTINGS
) -> dict[tuple[str, str], dict[int, Measurement]]:
    """The measurements by (row, setting) and seed.

    Args:
        folders: where the JSON files of each (row, seed) are.
        settings: those that were measured.

    Raises:
        UserError: a file is missing or no JSON.
    """
    found: dict[tuple[str, str], dict[int, Measurement]] = {}
    for (row, seed), folder in folders.items():
        for setting in settings:
            found.setdefault((row, setting), {})[seed] = read_json(folder / f"{setting}.json")
    return found


def _values(runs: dict[int, Measurement], metric: str) -> np.ndarray:
    """A per-image metric: (S, N), seeds as they come, images in the order of their names."""
    names = sorted(next(iter(runs.values()))["per_image"])
    return np.array([[run["per_image"][name][metric] for name in names] for run in runs.values()])


def table(
    found: dict[tuple[str, str], dict[int, Measurement]], resamples: int, seed: int
) -> list[dict[str, Any]]:
    """A record for each number: of every seed where there are several, then of their mean.

    The mean's interval is a bootstrap over seeds and images; ``spread`` is the standard deviation of the
    seeds' values.
    """
    records: list[dict[str, Any]] = []
    for (row, setting), runs in found.items():
        for metric in (*of_images(), *of_sets()):
            label = {"method": row, "setting": setting, "metric": metric}
            each = {s: run["metrics"][metric] for s, run in runs.items()}
            n = next(iter(runs.values()))["n"]
            if len(each) == 1:
                records.append(label | {"seed": None, "spread": None, "n": n} | each.popitem()[1])
                continue
            records += [label | {"seed": s, "spread": None, "n": n} | v for s, v in each.items()]
            values = [v["value"] for v in each.values()]
            whole: dict[str, Any] = {"value": None, "spread": None, "ci_low": None, "ci_high": None}
            if None not in values:
                whole |= {"value": float(np.mean(values)), "spread": float(np.std(values, ddof=1))}
            if metric in of_images():
                mean = bootstrap(_values(runs, metric), resamples, seed)
                whole |= {"ci_low": mean.low, "ci_high": mean.high}
            records.append(label | {"seed": None, "n": n} | whole)
    return records


def comparisons(
    found: dict[tuple[str, str], dict[int, Measurement]], resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Paired differences of per-image metrics, ``method`` minus ``baseline``, with intervals and p.

    Every row against :data:`~ssimbad.paper.MAIN`, a variant against its own row, the pairs of the claims, and
    every row's settings of :data:`~ssimbad.paper.EASIER`. Seeds are paired, too: a refined row's goes on from
    its pretrained row's. A row without seeds is the same beside each of another's.
    """
    rows = list(dict.fromkeys(row for row, _ in found))
    settings = list(dict.fromkeys(setting for _, setting in found))
    pairs = [(row, MAIN if Run(row).variant is None else Run(row).base) for row in rows]
    pairs = [(row, other) for row, other in pairs if row != other]
    pairs += [(claim.better, claim.worse) for claim in CLAIMS]
    sides = [
        ((method, setting), (baseline, setting))
        for method, baseline in dict.fromkeys(pairs)
        if method in rows and baseline in rows
        for setting in settings
    ]
    worse = dict.fromkeys((exact(EASIER.worse, settings), EASIER.worse))
    sides += [((row, EASIER.better), (row, other)) for row in rows for other in worse]
    records = []
    for (method, setting), (baseline, other) in sides:
        for metric in of_images():
            own, others = (
                _values(found[side], metric) for side in ((method, setting), (baseline, other))
            )
            difference = bootstrap(own - others, resamples, seed)
            records.append(
                {
                    "method": method,
                    "baseline": baseline,
                    "setting": setting if setting == other else f"{setting} - {other}",
                    "metric": metric,
                    "difference": difference.value,
                    "ci_low": difference.low,
                    "ci_high": difference.high,
                    "p": difference.p,
                    "n": own.shape[1],
                    "seeds": max(len(own), len(others)),
                }
            )
    return records


def last_fall(histories: list[Path]) -> float | None:
    """By what part of itself the validation loss fell in a training's last checkpoint interval, mean over
    seeds; None where too little of it was taken.

    Args:
        histories: of each seed's training, losses by step.

    Raises:
        UserError: a file is missing.
    """
    falls = []
    for path in histories:
        lines = list(csv.DictReader(io.StringIO(read_text(path))))
        losses = [float(line["validation"]) for line in lines[-2:] if line.get("validation")]
        if len(losses) == 2 and losses[0]:
            falls.append((losses[0] - losses[1]) / abs(losses[0]))
    return sum(falls) / len(falls) if falls else None
