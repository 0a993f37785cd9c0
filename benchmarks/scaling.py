"""Time and memory of every phase against the number of images and against resolution, by its real command."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import yaml
from tqdm import tqdm

from benchmarks.case import timed
from benchmarks.machine import peak_mib

NUMBERS = {250: 16, 2000: 64, 16000: 256}
"""Training images, and the test images beside them; the first are those of every size too."""
PHASES = ("data", "phi", "train", "refine", "infer", "evaluate")
OF_TEST_IMAGES = PHASES[4:]
EVALUATED = 64  # test images that are evaluated at most; more would only take longer
SIZES = (64, 128, 256)  # the first is that of every number
STEPS = 2
ROW = {
    "train": "ssimbad",
    "refine": "ssimbad_refined",
    "infer": "ssimbad",
    "evaluate": "ssimbad",
}

Values = dict[str, Any]


def _overlay(folder: Path, train: int, test: int, size: int) -> Path:
    """A config of one size: short training, the default's network."""
    stage = {"steps": STEPS, "checkpoint_every": STEPS, "warmup": 1}
    values: Values = {
        "results": str(folder),
        "data": {"size": size, "faces": {"train": train, "validation": 8, "test": test}},
        "phi": {"size": size, "images": 4},
        "train": stage,
        "refine": stage,
    }
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(values))
    return path


def run(phase: str, row: str | None, overlays: list[Path], log: Path) -> tuple[float, float]:
    """Seconds of a command, and the sum of its processes' peak memories (MiB).

    Raises:
        RuntimeError: it failed.
    """
    program = Path(sys.executable).with_name("ssimbad")
    command = [str(program), phase, *([row] if row else [])]
    for overlay in overlays:
        command += ["--config", str(overlay)]
    memory: dict[int, float] = {}
    start = time.perf_counter()
    with log.open("w") as stream, psutil.Popen(command, stdout=stream, stderr=stream) as process:
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                for each in (process, *process.children(recursive=True)):
                    memory[each.pid] = max(memory.get(each.pid, 0.0), peak_mib(each.pid))
            time.sleep(0.02)
        took = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: failed\n{log.read_text()}")
    return took, sum(memory.values())


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    numbers = list(NUMBERS.items())
    points = [(*number, SIZES[0]) for number in numbers]
    points += [(*numbers[0], size) for size in SIZES[1:]]
    for train, test, size in points:
        overlay = _overlay(folder / f"images{train}-size{size}", train, test, size)
        for phase in PHASES:
            if phase == "evaluate" and test > EVALUATED:
                continue
            took, memory = run(phase, ROW.get(phase), [overlay], folder / "log")
            values = {"phase": phase, "seconds": took, "peak_mib": memory}
            if size == SIZES[0]:
                tested = phase in OF_TEST_IMAGES
                axis, at = ("test images", test) if tested else ("training images", train)
                yield {"axis": axis, "at": at} | values
            if (train, test) == numbers[0]:
                yield {"axis": "side in pixels", "at": size} | values


def study(folder: Path) -> pd.DataFrame:
    """A row for each phase at each number of images and each size."""
    folder.mkdir()
    return pd.DataFrame(tqdm(_records(folder), "scaling", unit=" records"))


def startup(folder: Path) -> dict[str, float]:
    """Seconds of importing what training cannot do without, and of ``ssimbad --help``."""
    found = {}
    for library in ("torch", "torch._dynamo", "ssimbad.training.lightning"):
        command = [sys.executable, "-c", f"import {library}"]
        found[f"import {library}"] = timed(partial(subprocess.run, command, check=True))[0]
    found["--help"] = run("--help", None, [], folder / "log")[0]
    return found
