"""What jobs are granted on this machine: processors, GPUs, and how the C library keeps memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ssimbad.phases import PHASES

if TYPE_CHECKING:
    from ssimbad.config.schema import Config

KEPT_PAGES = f"glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold={2**30}:glibc.malloc.trim_threshold={2**31}"
"""``GLIBC_TUNABLES`` of the workflow's jobs: glibc keeps freed tensors' pages, in huge pages, instead of
having the kernel clear new ones for each step's tensors."""


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU that jobs may see, told without PyTorch."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any(Path("/dev").glob("nvidia[0-9]*"))


def gpus_of(phase: str, config: Config) -> int:
    """GPUs that a job of a phase asks for on a node."""
    use = PHASES[phase].gpu
    if use == "none" or config.device == "cpu":
        return 0
    return config.devices if use == "shared" else 1


def threads_of(phase: str, config: Config, cores: int) -> int:
    """Processors that a job of a phase is granted of ``cores``."""
    use, on_gpu = PHASES[phase].threads, config.device != "cpu" and has_gpu()
    if use == "all" or (use == "with a GPU" and on_gpu):
        return cores
    if use == "training":
        # A small network's step leaves processors idle: two trainings side by side take less time than one
        # after the other.
        side_by_side = 1 if on_gpu else min(2, len(config.pretrained_runs) or 1)
        return max(1, cores // side_by_side)
    return 1
