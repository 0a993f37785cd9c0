"""What named GPUs can do, by their makers' figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssimbad.errors import UserError

if TYPE_CHECKING:
    from ssimbad.counting import Arithmetic, Cost

USABLE = 0.9
"""Share of a GPU's memory that tensors may fill; the rest is for the driver, libraries and fragments."""
REACHED = 0.7
"""Share of the memory's bandwidth that operations reach: an assumption."""
LAUNCH = 25e-6
"""Seconds that an operation takes at least, its start from Python: chosen by steps of training and of
refinement, with and without recomputed activations, that were timed on an H200 (docs/plan.md)."""


@dataclass(frozen=True)
class GPU:
    """A GPU.

    Attributes:
        name: as ``--gpu`` takes it.
        peak: dense FLOPs a second by arithmetic. Convolutions of 32-bit numbers are in TF32, as
            PyTorch has them unless told otherwise; other 32-bit products are in FP32.
        bandwidth: of its memory, bytes a second.
        memory: bytes.
        source: where the figures are published.
    """

    name: str
    peak: dict[Arithmetic, float]
    bandwidth: float
    memory: float
    source: str

    def hours(self, cost: Cost, utilisation: float) -> float:
        """Time of a cost where products reach a share of the peak."""
        peak = {kind: utilisation * rate for kind, rate in self.peak.items()}
        return cost.seconds(peak, REACHED * self.bandwidth, LAUNCH) / 3600

    def fits(self, peak: int) -> bool:
        """Whether so many bytes of tensors fit."""
        return peak <= USABLE * self.memory


def _gpu(
    name: str, teraflops: tuple[float, float, float], bandwidth: float, gigabytes: int, source: str
) -> GPU:
    half, tf32, fp32 = teraflops
    peak: dict[Arithmetic, float] = {
        "half": half * 1e12,
        "convolution": tf32 * 1e12,
        "matmul": fp32 * 1e12,
    }
    return GPU(name, peak, bandwidth * 1e9, gigabytes * 1e9, source)


GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("A100", (312, 156, 19.5), 2039, 80, "NVIDIA A100 80GB SXM datasheet"),
        _gpu(
            "H100",
            (989.4, 494.7, 66.9),
            3350,
            80,
            "NVIDIA H100 SXM, Hopper architecture whitepaper",
        ),
        _gpu("H200", (989.4, 494.7, 66.9), 4800, 141, "NVIDIA H200 datasheet"),
        _gpu("RTX4090", (165.2, 82.6, 82.6), 1008, 24, "NVIDIA Ada GPU architecture whitepaper"),
    )
}
"""By name; 16-bit figures are with 32-bit accumulation, none is with sparsity."""


def gpus_of(names: list[str]) -> list[GPU]:
    """The named GPUs, all where none is named.

    Raises:
        UserError: one is not known.
    """
    for name in names:
        if name not in GPUS:
            raise UserError(f"--gpu {name}: not known: GPUs are {', '.join(GPUS)}")
    return [GPUS[name] for name in names] or list(GPUS.values())
