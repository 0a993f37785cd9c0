"""The compare phase: the table's numbers over all seeds, and paired differences between rows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ssimbad.evaluation.metrics import of_images, of_sets
from ssimbad.evaluation.statistics import bootstrap_interval
from ssimbad.files import read_json
from ssimbad.paper import CLAIMS, EASIER, MAIN
from ssimbad.settings import SETTINGS

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
    """A per-image metric, averaged over seeds: (N,) in the order of names."""
    names = sorted(next(iter(runs.values()))["per_image"])
    return np.array(
        [[run["per_image"][name][metric] for name in names] for run in runs.values()]
    ).mean(0)


def table(
    found: dict[tuple[str, str], dict[int, Measurement]], resamples: int, seed: int
) -> list[dict[str, Any]]:
    """A record for each number: of every seed where there are several, then of their mean.

    The mean's interval is a bootstrap over images of each image's mean over seeds; ``spread`` is the
    standard deviation of the seeds' values.
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
                low, high = bootstrap_interval(_values(runs, metric), resamples, seed)
                whole |= {"ci_low": low, "ci_high": high}
            records.append(label | {"seed": None, "n": n} | whole)
    return records


def comparisons(
    found: dict[tuple[str, str], dict[int, Measurement]], resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Paired differences of per-image metrics, ``method`` minus ``baseline``, with intervals.

    Every row against :data:`MAIN`, the pairs of the claims, and every row's two settings of
    :data:`EASIER`.
    """
    rows = list(dict.fromkeys(row for row, _ in found))
    pairs = [(row, MAIN) for row in rows if row != MAIN]
    pairs += [(claim.better, claim.worse) for claim in CLAIMS]
    sides = [
        ((method, setting), (baseline, setting))
        for method, baseline in dict.fromkeys(pairs)
        if method in rows and baseline in rows
        for setting in dict.fromkeys(setting for _, setting in found)
    ]
    sides += [((row, EASIER.better), (row, EASIER.worse)) for row in rows]
    records = []
    for (method, setting), (baseline, other) in sides:
        for metric in of_images():
            difference = _values(found[method, setting], metric) - _values(
                found[baseline, other], metric
            )
            low, high = bootstrap_interval(difference, resamples, seed)
            records.append(
                {
                    "method": method,
                    "baseline": baseline,
                    "setting": setting if setting == other else f"{setting} - {other}",
                    "metric": metric,
                    "difference": float(difference.mean()),
                    "ci_low": low,
                    "ci_high": high,
                    "n": len(difference),
                }
            )
    return records
