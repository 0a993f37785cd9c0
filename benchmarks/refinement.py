"""Refinement through 50 Euler steps: every activation kept against recomputed, each in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from benchmarks.case import Case, Measured
from benchmarks.machine import peak_mib
from benchmarks.train_step import make_batch, make_method
from ssimbad.config.files import load
from ssimbad.methods.draws import Draws
from ssimbad.methods.schema import RefinementConfig

STEPS, COUNT, SIZE, ROUNDS = 50, 6, 64, 2


def step(checkpointing: bool) -> None:
    """Print seconds, peak memory in MiB beyond that before the step, and gradient of one step."""
    method = make_method(load([]).unet).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = make_batch(COUNT, SIZE)
    part = RefinementConfig(
        steps=STEPS, single_step=0.0, last_call=True, checkpointing=checkpointing
    )
    before = peak_mib(os.getpid())
    start = time.perf_counter()
    draws = Draws(torch.Generator().manual_seed(0), COUNT)
    images = method.rollout(batch, draws, part)
    ((images - batch.target) ** 2).mean().backward()
    took = time.perf_counter() - start
    peak = peak_mib(os.getpid()) - before
    gradient = method.network.input.weight.grad
    assert gradient is not None
    print(
        json.dumps({"s": took, "MiB": peak, "gradient": gradient.flatten().tolist()}),
        flush=True,
    )


@lru_cache
def _measured(checkpointing: bool, number: int) -> dict[str, Any]:
    """A process's step; time and memory are entries of their own, but one measurement."""
    command = [sys.executable, "-m", "benchmarks.refinement", str(int(checkpointing))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _difference(a: list[float], b: list[float]) -> float:
    return float(np.abs(np.subtract(a, b)).max() / np.abs(a).max())


def case(name: str, unit: str, target: float) -> Case:
    """``refine_memory`` in MiB or ``refine_time`` in s."""

    def side(checkpointing: bool, number: int) -> Measured:
        measured = _measured(checkpointing, number)
        return measured[unit], measured["gradient"]

    return Case(
        name,
        f"{unit} a step of {COUNT} at {SIZE} px through {STEPS} Euler steps",
        lambda number: side(False, number),
        lambda number: side(True, number),
        _difference,
        "largest difference of the first layer's gradient, of its largest value",
        ROUNDS,
        target,
    )


if __name__ == "__main__":
    step(bool(int(sys.argv[1])))
