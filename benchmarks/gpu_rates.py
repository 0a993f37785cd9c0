"""What compiling and layout give the default's network on a GPU: ``python -m benchmarks.gpu_rates``.

Images a second of a pretraining step, a refinement step and sampling, at two sizes, in bf16-mixed: plain
eager PyTorch, channels-last, compiled, and both; on a GPU also pretraining whose network is replayed from a
CUDA graph. Writes a JSON file, anew after each line.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import matmul_gflops
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
_WAYS = (*_LAYOUTS, "compiled", "compiled channels_last", "graphed")
_KERNELS = 20  # in a profile


def _run(work: Callable[[], Any], device: torch.device, steps: int) -> float:
    """Seconds of so many steps, until the device is done."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()
    start = time.perf_counter()
    for _ in range(steps):
        work()
    wait()
    return time.perf_counter() - start


def _seconds(work: Callable[[], Any], device: torch.device, steps: int) -> float:
    """Median seconds of a step, of three runs of so many; the first two steps are not counted."""
    work(), work()
    return statistics.median(_run(work, device, steps) / steps for _ in range(3))


def _profile(work: Callable[[], Any], device: torch.device, steps: int) -> dict[str, Any]:
    """Where the time of so many steps goes, as PyTorch's profiler, which slows them, sees it.

    Returns:
        Milliseconds of a step; the share of them that the host spends within PyTorch's operations, not
        waiting for the device; and the kernels that take most of a step, each with milliseconds and share.
    """
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu]
    with profile(activities=activities) as profiled:
        wall = _run(work, device, steps)
    events = profiled.key_averages()
    host = [event for event in events if event.device_type == DeviceType.CPU]
    own = sum(e.self_cpu_time_total for e in host if not e.key.endswith("Synchronize"))
    took = {event.key: event.self_cpu_time_total for event in host}
    if on_gpu:
        on_device = [e for e in events if e.device_type == DeviceType.CUDA]
        # An annotation is the span of kernels that are there themselves.
        kernels = [event for event in on_device if not event.is_user_annotation]
        took = {event.key: event.self_device_time_total for event in kernels}
    most = sorted(took.items(), key=lambda kernel: -kernel[1])[:_KERNELS]
    return {
        "ms": wall * 1e3 / steps,
        "host_share": own / 1e6 / wall,
        "kernels": [
            {"name": name, "ms": us / 1e3 / steps, "share": us / 1e6 / wall} for name, us in most
        ],
    }


def _graph(network: nn.Module, work: Callable[[], Any], autocast: torch.autocast) -> None:
    """From now on replay a network's forward and backward passes as CUDA graphs, on inputs as ``work``'s."""
    given: list[tuple[torch.Tensor, ...]] = []
    hook = network.register_forward_pre_hook(lambda _, inputs: given.append(inputs))
    work()
    hook.remove()
    samples = tuple(t.detach().clone().requires_grad_(t.requires_grad) for t in given[0])
    with autocast:
        torch.cuda.make_graphed_callables(network, samples)


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
        # A graph cannot hold weights that were cast before it was recorded.
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=how != "graphed")

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

    if how == "graphed":
        assert method.backbone is not None
        _graph(method.backbone, step, autocast())
    return step


def _cases(
    sizes: list[int], batches: list[int], device: torch.device
) -> Iterator[tuple[str, int, int, str]]:
    for size, batch in zip(sizes, batches, strict=True):
        for name in _PASSES:
            for how in _WAYS:
                if how != "graphed" or (name == "train" and device.type == "cuda"):
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
    parser.add_argument("--ways", nargs="+", choices=_WAYS, default=_WAYS, metavar="WAY")
    parser.add_argument("--profile", action="store_true", help="note the plain steps' kernels too")
    parser.add_argument("--seconds", type=float, default=600, help="begin no case after so many")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks_gpu_rates.json"))
    given = parser.parse_args()
    start, device = time.monotonic(), device_of(given.device)
    peak = matmul_gflops(torch.bfloat16, device, given.matrix) * 1e9
    entries: list[dict[str, Any]] = []
    counted: dict[tuple[str, int, int], int] = {}
    head = {"machine": machine(device), "code": code_version({}), "packages": packages()}
    for name, size, batch, how in _cases(given.sizes, given.batches, device):
        if how not in given.ways:
            continue
        if time.monotonic() - start > given.seconds:
            break
        if "compiled" in how:
            torch._dynamo.reset()
        work = _work(given.config, name, size, batch, device, how)
        if (name, size, batch) not in counted:
            with FlopCounterMode(display=False) as counter:
                _work(given.config, name, size, batch, device, "plain")()
            counted[name, size, batch] = counter.get_total_flops()
        flops = counted[name, size, batch]
        begun = time.monotonic()
        seconds = _seconds(work, device, given.steps)
        entry = {"pass": name, "size": size, "batch": batch, "how": how, "flops": flops}
        entry |= {"images_per_s": batch / seconds, "of_peak": flops / seconds / peak}
        entry |= {"measuring_s": time.monotonic() - begun}
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in entry.items()}, flush=True)
        if given.profile and (name, how) == ("train", "plain"):
            entry["profile"] = _profile(work, device, given.steps)
        entries.append(entry)
        write_json(given.out, head | {"matmul_flops": peak, "entries": entries})


if __name__ == "__main__":
    main()
