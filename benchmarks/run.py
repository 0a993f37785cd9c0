"""Hot paths against the plain published protocol, interleaved in one run.

Writes ``results/benchmarks.json``: a list of ``{name, plain, ours, unit, ratio, equal_within}``, times as
medians, ratio = plain / ours. Results are compared before any time counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import phi_search
from ssimbad.files import write_json

ROUNDS = 3


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(
    name: str, plain: Callable[[], list[float]], ours: Callable[[], list[float]]
) -> dict[str, Any]:
    """Check that both give the same numbers, then time them in turns."""
    difference = float(np.abs(np.subtract(plain(), ours())).max())
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in tqdm(range(ROUNDS), name, unit=" rounds"):
        times["plain"].append(seconds(plain))
        times["ours"].append(seconds(ours))
    medians = {key: statistics.median(values) for key, values in times.items()}
    return {
        "name": name,
        **medians,
        "unit": "s",
        "ratio": medians["plain"] / medians["ours"],
        "equal_within": difference,
        "spread": {key: [min(values), max(values)] for key, values in times.items()},
    }


def main() -> None:
    """Run all benchmarks."""
    search = phi_search.make_search()
    found = [
        compare("phi_search", lambda: phi_search.plain(search), lambda: phi_search.ours(search))
    ]
    write_json(Path("results/benchmarks.json"), found)
    for entry in found:
        print(
            f"{entry['name']}: {entry['plain']:.2f} s plainly, {entry['ours']:.2f} s here,"
            f" {entry['ratio']:.1f} times faster, equal within {entry['equal_within']:.1e}"
        )


if __name__ == "__main__":
    main()
