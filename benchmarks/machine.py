"""What this machine can do: the peaks that every time is a fraction of."""

from __future__ import annotations

import os
import re
import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.case import timed
from ssimbad.provenance import processor

_MATRIX = 2048
_COPIED = 2**28  # bytes, well beyond the caches
_ROUNDS = 7


def peak_mib(process: int) -> float:
    """Largest resident memory of a process so far, in MiB; 0 once it has ended.

    The kernel's ``ru_maxrss`` would not do: a child's starts at its parent's.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def matmul_gflops(
    dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu", side: int = _MATRIX
) -> float:
    """Rate of a product of two square matrices of that side, a median; a CPU's is of all threads."""
    a, b = torch.randn(2, side, side, dtype=dtype, device=device)

    def product() -> None:
        torch.matmul(a, b)
        if a.is_cuda:
            torch.cuda.synchronize(a.device)

    product()  # its kernel is chosen
    taken = statistics.median(timed(product)[0] for _ in range(_ROUNDS))
    return 2 * side**3 / taken / 1e9


def peaks() -> dict[str, Any]:
    """Matrix product (float32, GFLOP/s) and copy (read and write, GB/s), medians on all threads."""
    source = torch.randn(_COPIED // 4)
    target = torch.empty_like(source)
    copy = statistics.median(timed(lambda: target.copy_(source))[0] for _ in range(_ROUNDS))
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "matmul_gflops": matmul_gflops(),
        "copy_gb_per_s": 2 * _COPIED / copy / 1e9,
    }
