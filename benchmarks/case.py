"""A hot path measured against the plain published protocol, in turns within one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

Measured = tuple[float, Any]
"""What one side took, and what it computed."""


@dataclass
class Case:
    """One entry of ``results/benchmarks.json``.

    Attributes:
        name: what is measured.
        unit: of what both sides take.
        plain: the published protocol; takes the round's number.
        ours: the project's own code for the same work; takes the round's number.
        difference: how far the two results of a round are apart, in the words of ``compared``.
        compared: what ``difference`` measures.
        rounds: how often both are measured, in turns.
        flops: floating-point operations of ``ours`` in one round, where they can be counted.
        target: the ratio aimed at.
        notes: what else to record, such as what limits the ratio.
    """

    name: str
    unit: str
    plain: Callable[[int], Measured]
    ours: Callable[[int], Measured]
    difference: Callable[[Any, Any], float]
    compared: str
    rounds: int
    target: float
    flops: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def timed(function: Callable[[], Any]) -> Measured:
    """Seconds of one call, and its result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def kernel_seconds(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds that a call spends within each of PyTorch's operations itself, by its name."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    return {event.key: event.self_cpu_time_total / 1e6 for event in profiled.key_averages()}


def measure(case: Case, matmul_gflops: Callable[[], float]) -> dict[str, Any]:
    """Both sides in turns: medians, their spread and ratio, and the largest difference of results.

    ``matmul_gflops`` measures the machine's peak. Where operations are counted, each round measures it too:
    a shared machine's peak changes within minutes.
    """
    plain, ours, differences, peaks = [], [], [], []
    for number in tqdm(range(case.rounds), case.name, unit=" rounds"):
        took, expected = case.plain(number)
        plain.append(took)
        took, found = case.ours(number)
        ours.append(took)
        differences.append(case.difference(expected, found))
        if case.flops is not None:
            peaks.append(matmul_gflops())
    medians = statistics.median(plain), statistics.median(ours)
    entry = {
        "name": case.name,
        "plain": medians[0],
        "ours": medians[1],
        "unit": case.unit,
        "ratio": medians[0] / medians[1],
        "target": case.target,
        "equal_within": max(differences),
        "compared": case.compared,
        "spread": {"plain": [min(plain), max(plain)], "ours": [min(ours), max(ours)]},
    }
    if case.flops is not None:
        gflops, peak = case.flops / medians[1] / 1e9, statistics.median(peaks)
        entry |= {
            "gflops": gflops,
            "matmul_gflops": peak,
            "fraction_of_peak": gflops / peak,
            "ratio_at_peak": medians[0] * peak * 1e9 / case.flops,
        }
    return entry | case.notes
