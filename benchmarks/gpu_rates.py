"""What compiling and layout give the default's network on a GPU: ``python -m benchmarks.gpu_rates``.

Images a second of a pretraining step, a refinement step and sampling, at two sizes, in bf16-mixed: plain
eager PyTorch, channels-last, compiled, and both. Writes a JSON file, anew after each line.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ssimbad.config.files import load
from ssimbad.devices import device_of
from ssimbad.files import write_json
from ssimbad.methods import Run
from ssimbad.methods.base import RefinedMethod
from ssimbad.methods.draws import Draws
from ssimbad.phases.slices import PhaseConfig
from ssimbad.plan.steps import blank_batch
from ssimbad.plan.workload import make_method
from ssimbad.provenance import code_version, machine, packages
from ssimbad.training.objective import objectives
from ssimbad.training.optimizer import build, clip_gradients
from ssimbad.training.schema import in_steps

_LAYOUTS = {"plain": torch.contiguous_format, "channels_last": torch.channels_last}
_PASSES = ("train", "refine", "infer")


def _seconds(work: Callable[[], Any], device: torch.device, steps: int) -> float:
    """Median seconds of a step, of three runs of so many; the first two steps are not counted."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    work(), work()
    taken = []
    for _ in range(3):
        wait()
        start = time.perf_counter()
        for _ in range(steps):
            work()
        wait()
        taken.append((time.perf_counter() - start) / steps)
    return statistics.median(taken)


def _peak(device: torch.device, side: int) -> float:
    """FLOP/s of a bf16 matrix product."""
    a, b = torch.randn(2, side, side, device=device, dtype=torch.bfloat16)
    return 2 * side**3 / _seconds(lambda: a @ b, device, 5)


def _work(
    config_path: Path, name: str, size: int, batch: int, device: torch.device, how: str
) -> Any:
    config = load([config_path])
    row = Run("ssimbad" if name == "train" else "ssimbad_refined")
    method = make_method(config, row).to(device)
    assert isinstance(method, RefinedMethod)
    channels_last = "channels_last" in how
    layout = _LAYOUTS["channels_last" if channels_last else "plain"]
    method = method.to(memory_format=layout)  # type: ignore[call-overload]
    if "compiled" in how:
        assert method.backbone is not None
        method.backbone.compile()
    images = blank_batch(batch, size).to(device)
    noise = torch.randn_like(images.target)
    phase = PhaseConfig(config, name, row)

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16)

    if name == "infer":

        @torch.inference_mode()
        def sample() -> None:
            with autocast():
                method.eval().colorize(
                    images.sketch, images.reference, lambda k: noise, phase.method
                )

        return sample
    schedule = in_steps(getattr(phase, name), 1)
    refinement = phase.method if name == "refine" else None
    at, _, _ = objectives(method, schedule, refinement, "blank", device)
    objective, optimizer = at(1.0), build(method.optimizer_groups(schedule.lr), schedule)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        with autocast():
            losses = objective(images, Draws(generator, batch))
            total = torch.stack(list(losses.values())).sum()
        total.backward()
        clip_gradients(optimizer, schedule, None)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _cases(sizes: list[int], batches: list[int]) -> Iterator[tuple[str, int, int, str]]:
    for size, batch in zip(sizes, batches, strict=True):
        for name in _PASSES:
            for how in ("plain", "channels_last", "compiled", "compiled channels_last"):
                yield name, size, batch, how


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("config/gpu.yaml"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 64])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--matrix", type=int, default=8192)
    parser.add_argument("--seconds", type=float, default=600, help="begin no case after so many")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks_gpu_rates.json"))
    given = parser.parse_args()
    start, device = time.monotonic(), device_of(given.device)
    peak = _peak(device, given.matrix)
    entries: list[dict[str, Any]] = []
    head = {"machine": machine(device), "code": code_version({}), "packages": packages()}
    for name, size, batch, how in _cases(given.sizes, given.batches):
        if time.monotonic() - start > given.seconds:
            break
        torch._dynamo.reset()
        work = _work(given.config, name, size, batch, device, how)
        with FlopCounterMode(display=False) as counter:
            if "compiled" not in how:
                work()
        flops = counter.get_total_flops() if "compiled" not in how else entries[-1]["flops"]
        begun = time.monotonic()
        seconds = _seconds(work, device, given.steps)
        entry = {"pass": name, "size": size, "batch": batch, "how": how, "flops": flops}
        entry |= {"images_per_s": batch / seconds, "of_peak": flops / seconds / peak}
        entry |= {"measuring_s": time.monotonic() - begun}
        entries.append(entry)
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in entry.items()}, flush=True)
        write_json(given.out, head | {"matmul_flops": peak, "entries": entries})


if __name__ == "__main__":
    main()
