"""The plan against measured steps: time and memory of the pretraining step at several sizes on this CPU.

Three properties of the machine are measured by themselves: how fast it moves memory, multiplies matrices,
and starts an operation on next to nothing. The fourth, how fast it convolves, is told by the steps at the
least size: it is the rate at which the plan's time there is the measured one. The times at the other
sizes are predicted from these and the counted operations; memory is predicted at every size. The
sizes take turns, and of each the least time counts, as other work on the machine only adds. Memory is
measured in a process for each size: the most that steps take above what the process held before the method
was built. There the allocator returns freed blocks at once, so that its keeping them is not taken for need.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.machine import peak_mib
from ssimbad.config.files import load
from ssimbad.counting import Arithmetic, Cost, make_fake, measured
from ssimbad.devices import training_layout
from ssimbad.methods import Run
from ssimbad.plan.workload import make_stepper

if TYPE_CHECKING:
    from ssimbad.plan.steps import Stepper

ROW, BATCH, ROUNDS = Run("ssimbad"), 8, 15
SIZES = (64, 96, 128)
_RETURN_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # glibc's
_MATRIX, _FLOATS, _CALLS = 1024, 2**25, 2000


def _config(size: int) -> Any:
    return load([], {"data": {"size": size}})


def predicted(size: int) -> Cost:
    """The counted cost of a step at a size."""
    with make_fake():
        stepper = make_stepper(_config(size), "train", ROW, BATCH)
    return measured(stepper.tensors(), stepper.step)


def _least_seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats + 1):  # the first one is a warm-up
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def matmul_rate() -> float:
    """FLOPs a second in products of square matrices."""
    matrix = torch.randn(_MATRIX, _MATRIX)
    return 2 * _MATRIX**3 / _least_seconds(lambda: matrix @ matrix)


def bandwidth() -> float:
    """Bytes a second, read and written, of an elementwise operation."""
    floats, out = torch.ones(_FLOATS), torch.empty(_FLOATS)
    return 2 * floats.nbytes / _least_seconds(lambda: torch.neg(floats, out=out))


def overhead() -> float:
    """Seconds that an operation on one number takes, its backward pass's share included."""
    number = torch.ones(1, requires_grad=True)

    def chain() -> None:
        value = number
        for _ in range(_CALLS):
            value = value * 2.0
        value.backward()

    return _least_seconds(chain) / (2 * _CALLS)


def _rate(seconds: Callable[[float], float], wanted: float) -> float:
    """The rate, of which ``seconds`` is a falling function, for ``wanted`` seconds; by bisection."""
    slow, fast = 1e8, 1e14
    while fast / slow > 1.001:
        middle = (slow * fast) ** 0.5
        slow, fast = (middle, fast) if seconds(middle) > wanted else (slow, middle)
    return slow


def _stepper(size: int) -> Stepper:
    stepper = make_stepper(_config(size), "train", ROW, BATCH)
    layout = training_layout(stepper.method, torch.device("cpu"))
    stepper.method.to(memory_format=layout)  # type: ignore[call-overload]
    return stepper


def step_seconds() -> dict[int, float]:
    """The least seconds of a real step at each size."""
    steppers = {size: _stepper(size) for size in SIZES}
    rounds = [{s: _least_seconds(steppers[s].step, 1) for s in SIZES} for _ in range(ROUNDS)]
    return {size: min(seconds[size] for seconds in rounds) for size in SIZES}


def step_bytes(size: int) -> float:
    """The bytes that real steps need."""
    warm = torch.nn.Conv2d(8, 8, 3)  # libraries' first call takes memory of its own
    warm(torch.zeros(1, 8, 8, 8)).sum().backward()
    before = peak_mib(os.getpid())
    stepper = _stepper(size)
    for _ in range(2):
        stepper.step()
    return (peak_mib(os.getpid()) - before) * 2**20


def _bytes_elsewhere(size: int) -> float:
    command = [sys.executable, "-m", "benchmarks.plan", str(size)]
    environment = os.environ | _RETURN_BLOCKS
    return json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
    )


def main() -> None:
    """Print predicted and measured figures of every size."""
    matmul, moved, start = matmul_rate(), bandwidth(), overhead()
    print(
        f"matrix products: {matmul / 1e9:.0f} GFLOP/s; memory: {moved / 1e9:.1f} GB/s;"
        f" an operation: at least {start * 1e6:.1f} µs",
        flush=True,
    )
    times = step_seconds()
    convolution = 0.0
    for size in SIZES:
        real = _bytes_elsewhere(size)
        cost = predicted(size)

        def seconds(rate: float, cost: Cost = cost) -> float:
            peak: dict[Arithmetic, float] = {
                "convolution": rate,
                "matmul": matmul,
                "half": matmul,
            }
            return cost.seconds(peak, moved, start)

        if not convolution:
            convolution = _rate(seconds, times[size])
            print(f"convolutions, from the steps at {size} px: {convolution / 1e9:.0f} GFLOP/s")
        planned = seconds(convolution)
        print(
            f"{size} px: {cost.total / 1e9:.1f} GFLOP a step;"
            f" {planned:.2f} s predicted, {times[size]:.2f} s measured"
            f" ({planned / times[size] - 1:+.0%});"
            f" {cost.peak / 1e6:.0f} MB predicted, {real / 1e6:.0f} MB measured"
            f" ({cost.peak / real - 1:+.0%})",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(step_bytes(int(sys.argv[1]))))
    else:
        main()
