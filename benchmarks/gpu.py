"""Throughput, memory and fraction of peak of each phase on a GPU: ``make benchmark-gpu``.

Writes ``results/benchmarks_gpu.json``: the machine with its peaks, and for each phase an entry as ``make
benchmark`` writes them, with images a second and the most memory of both sides. It is written anew after
each case, so that what a killed run measured stays.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.case import measure
from benchmarks.gpu_cases import Bench, Scale
from benchmarks.machine import matmul_gflops
from ssimbad.devices import device_of
from ssimbad.files import write_json
from ssimbad.provenance import code_version, machine, packages

OUTPUT = Path("results/benchmarks_gpu.json")
MATRIX = 8192


def peaks(bench: Bench, side: int) -> dict[str, float]:
    """GFLOP/s of a matrix product in each precision; float32 as TF32, which torch's convolutions of float32
    are by default on a GPU that has it."""
    dtypes = {
        "32-true": torch.float32,
        "16-mixed": torch.float16,
        "bf16-mixed": torch.bfloat16,
    }
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    found = {
        name: matmul_gflops(dtypes[name], bench.device, side) for name in ("32-true", bench.half)
    }
    torch.set_float32_matmul_precision(before)
    return found


def run(
    device: torch.device,
    scale: Scale,
    names: list[str],
    output: Path | None = None,
    matrix: int = MATRIX,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Measure the named cases, or all: the record, which ``output`` gets after each case, and its table."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(device, scale, Path(folder))
        reached = peaks(bench, matrix)
        entries: list[dict[str, Any]] = []
        record = {
            "machine": machine(device) | {"matmul_gflops": reached},
            "code": code_version({}),
            "packages": packages(),
            "entries": entries,
        }
        for name in names or bench.cases:
            case = bench.cases[name]()
            entry = measure(case, partial(reached.__getitem__, case.notes["precision"]))
            rates = {f"{k}_images_per_s": entry["images"] / entry[k] for k in ("plain", "ours")}
            entries.append(entry | rates)
            if output:
                write_json(output, record)
            if device.type == "cuda":
                torch.cuda.empty_cache()
    columns = {
        "name": "phase",
        "precision": "precision",
        "plain_images_per_s": "plain, images/s",
        "ours_images_per_s": "ours, images/s",
        "ratio": "ratio",
        "plain_peak_mib": "plain, MiB",
        "our_peak_mib": "ours, MiB",
        "fraction_of_peak": "of peak",
        "equal_within": "equal within",
    }
    return record, pd.DataFrame(entries).reindex(columns=list(columns)).rename(columns=columns)


def main() -> None:
    """On the first GPU: print the named cases, or print and write all; one line where there is no GPU."""
    known = list(Bench(torch.device("cpu"), Scale(), Path()).cases)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"{', '.join(known)}; all where none is named")
    names = parser.parse_args().names
    if unknown := set(names) - set(known):
        parser.error(f"no benchmark {min(unknown)!r}: they are {', '.join(known)}")
    if not torch.cuda.is_available():
        print("benchmarks.gpu: torch finds no CUDA GPU here", file=sys.stderr)
        sys.exit(2)
    _, table = run(device_of("cuda:0"), Scale(), names, None if names else OUTPUT)
    print(table.to_string(index=False, float_format="{:.4g}".format))


if __name__ == "__main__":
    main()
