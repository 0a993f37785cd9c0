"""A training step of SSIMBaD's network: the plain module in PyTorch's default layout against ours.

Both take the same images through the same loss and AdamW; ours in the layout and with the fused optimizer
that the training loop gives it.
"""

from __future__ import annotations

import copy
import statistics
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.case import Case, Measured, kernel_seconds, timed
from ssimbad.config.files import load
from ssimbad.devices import training_layout
from ssimbad.methods.base import Batch
from ssimbad.methods.draws import Draws
from ssimbad.methods.ssimbad import SSIMBaDConfig
from ssimbad.methods.ssimbad.model import SSIMBaD
from ssimbad.networks.schema import UNetConfig
from ssimbad.noise.transforms import Phi
from ssimbad.training.optimizer import build

if TYPE_CHECKING:
    from ssimbad.training.schema import StageConfig

PAPER = UNetConfig(
    width=64, multipliers=[1, 2, 4, 8], blocks=2, attention=[], heads=4, groups=32, zero_init=False
)
KERNELS = {
    "forward_convolution_s": ("mkldnn_convolution",),
    "backward_convolution_s": ("convolution_backward",),
    "product_s": (
        *("addmm", "mm", "bmm"),
        *(f"_scaled_dot_product_flash_attention_for_cpu{end}" for end in ("", "_backward")),
    ),
    "normalisation_s": (
        *("native_group_norm", "native_group_norm_backward"),
        *("silu", "silu_backward"),
    ),
}
"""PyTorch's kernels for convolutions, for matrix products and attention, and for group normalisation and
SiLU, which nearly always follows it."""
FUSED_PASSES = 5
"""Tensors that a kernel for both would read and write: x and y forwards, x, dy and dx back."""
PHI = Phi("sigma/(sigma+c)", 0.3, 0.002, 80.0)


def make_method(unet: UNetConfig) -> SSIMBaD:
    """SSIMBaD as the default config has it, with fresh weights."""
    values = load([]).model_dump()["ssimbad"]
    section = {k: v for k, v in values.items() if k in SSIMBaDConfig.model_fields}
    torch.manual_seed(0)
    return SSIMBaD(SSIMBaDConfig(**section), unet, PHI)


def make_batch(count: int, size: int) -> Batch:
    """Random images."""
    generator = torch.Generator().manual_seed(0)
    sketch, reference, target = (
        torch.rand(count, channels, size, size, generator=generator) * 2 - 1
        for channels in (1, 3, 3)
    )
    warp = torch.zeros(count, size, size, 2)
    return Batch([str(i) for i in range(count)], sketch, reference, target, warp)


def _step(method: SSIMBaD, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    optimizer.zero_grad()
    draws = Draws(torch.Generator().manual_seed(0), len(batch.names))
    loss = torch.stack(list(method.training_losses(batch, draws).values())).sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(method.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def _profile(method: SSIMBaD, schedule: StageConfig, batch: Batch) -> dict[str, float]:
    """Of a step, on a copy: median seconds within :data:`KERNELS`, and the bytes that normalisation and
    SiLU would move in :data:`FUSED_PASSES`."""
    method = copy.deepcopy(method)
    optimizer = build(method.optimizer_groups(schedule.lr), schedule)
    normalised = 0

    def count(_: nn.Module, inputs: tuple[Tensor]) -> None:
        nonlocal normalised
        normalised += inputs[0].nbytes

    hooks = [
        m.register_forward_pre_hook(count) for m in method.modules() if isinstance(m, nn.GroupNorm)
    ]
    _step(method, optimizer, batch)
    for hook in hooks:
        hook.remove()
    spent: dict[str, list[float]] = {name: [] for name in KERNELS}
    for _ in range(5):
        found = kernel_seconds(lambda: _step(method, optimizer, batch))
        for name, kernels in KERNELS.items():
            spent[name].append(sum(found.get(f"aten::{kernel}", 0.0) for kernel in kernels))
    medians = {name: statistics.median(seconds) for name, seconds in spent.items()}
    return medians | {"fused_bytes": FUSED_PASSES * normalised}


def case(name: str, unet: UNetConfig, count: int, size: int, rounds: int) -> Case:
    """A step a round; each side trains on, so that losses of the same step are compared."""
    schedule = load([]).train.model_copy(update={"optimizer": "adamw", "lr": 1e-4})
    batch = make_batch(count, size)
    plain = make_method(unet)
    layout = training_layout(plain, torch.device("cpu"))
    ours = copy.deepcopy(plain).to(memory_format=layout)  # type: ignore[call-overload]
    plain_optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-4, weight_decay=0.01)
    our_optimizer = build(ours.optimizer_groups(schedule.lr), schedule)
    with FlopCounterMode(display=False) as counter:
        _step(ours, our_optimizer, batch)
    _step(plain, plain_optimizer, batch)

    def side(method: SSIMBaD, optimizer: torch.optim.Optimizer) -> Measured:
        return timed(lambda: _step(method, optimizer, batch))

    return Case(
        name,
        f"s a step of {count} at {size} px",
        lambda _: side(plain, plain_optimizer),
        lambda _: side(ours, our_optimizer),
        lambda a, b: abs(a - b) / abs(a),
        "relative difference of the losses, step by step",
        rounds,
        target=1.25,
        flops=counter.get_total_flops(),
        notes=_profile(ours, schedule, batch),
    )


def paper() -> Case:
    """The published network at 128 px."""
    return case("train_step_paper", PAPER, 1, 128, 5)


def default() -> Case:
    """The default config's network and batch at 64 px."""
    loaded: Any = load([])
    return case("train_step_default", loaded.unet, loaded.train.batch, loaded.data.size, 11)
