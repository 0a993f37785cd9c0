"""The plan against measured steps: time and memory of the pretraining step at several sizes on this CPU.

The least size tells how many operations a second this machine does; from that and the counted operations
the times at the others are predicted. Memory is predicted at every size. Each size is measured in a
process of its own: the least time of its steps, as other work on the machine only adds; and in a
further one the most memory they take above what the process held before the method was built. There
the allocator returns freed blocks at once, so that its keeping them is not taken for need.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import torch

from ssimbad import config
from ssimbad.plan.counting import Cost, make_fake, measured
from ssimbad.plan.workload import make_stepper

ROW, BATCH, STEPS = "ssimbad", 8, 5
SIZES = (64, 128)
_RETURN_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # glibc's


def _config(size: int) -> Any:
    return config.load([], {"data": {"size": size}})


def predicted(size: int) -> Cost:
    """The counted cost of a step at a size."""
    with make_fake():
        stepper = make_stepper(_config(size), "train", ROW, BATCH)
    return measured(stepper.tensors(), stepper.step)


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_steps(size: int) -> dict[str, float]:
    """Take real steps: their least seconds, and the bytes they need."""
    warm = torch.nn.Conv2d(8, 8, 3)  # libraries' first call takes memory of its own
    warm(torch.zeros(1, 8, 8, 8)).sum().backward()
    before = _resident()
    stepper = make_stepper(_config(size), "train", ROW, BATCH)
    stepper.method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    times = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        stepper.step()
        times.append(time.perf_counter() - start)
    return {"seconds": min(times[1:]), "bytes": _resident() - before}


def _measure(size: int, environment: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.plan", str(size)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | environment)
    return json.loads(done.stdout)


def main() -> None:
    """Print predicted and measured figures of every size."""
    rate = 0.0
    for size in SIZES:
        found = _measure(size, {})
        found["bytes"] = _measure(size, _RETURN_BLOCKS)["bytes"]
        cost = predicted(size)
        rate = rate or cost.total / found["seconds"]
        seconds = cost.total / rate
        print(
            f"{size} px: {cost.total / 1e9:.1f} GFLOP a step;"
            f" {seconds:.2f} s predicted, {found['seconds']:.2f} s measured"
            f" ({seconds / found['seconds'] - 1:+.0%});"
            f" {cost.peak / 1e6:.0f} MB predicted, {found['bytes'] / 1e6:.0f} MB measured"
            f" ({cost.peak / found['bytes'] - 1:+.0%})",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(run_steps(int(sys.argv[1]))))
    else:
        main()
