"""Hot paths against the plain published protocol, and how the phases scale: ``make benchmark``.

Writes ``results/benchmarks.json``, a list of ``{name, plain, ours, unit, ratio, equal_within, …}`` with
medians of rounds taken in turns and ratio = plain / ours; ``results/benchmarks_machine.json`` with the
machine's peaks, the commands' start, the code's version and the minutes that all of it took;
``results/benchmarks_scaling.csv``; and a figure of each list. Needs ``results/`` to hold the default run's
data and pretrained SSIMBaD, which ``make benchmark`` sees to.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    batches,
    evaluation,
    figure,
    machine,
    phi_search,
    refinement,
    sampling,
    scaling,
    train_step,
    xdog,
)
from benchmarks.case import Case, measure
from benchmarks.faces import write_faces
from ssimbad.files import write_json, write_text
from ssimbad.phases.resources import KEPT_PAGES
from ssimbad.provenance import code_version

RESULTS = Path("results")
FACES = 256


def _cases(folder: Path) -> dict[str, Callable[[], Case]]:
    faces: list[Path] = []

    def files() -> list[Path]:
        if not faces:
            faces.extend(write_faces(folder / "faces", FACES, batches.SIZE))
        return faces

    return {
        "phi_search": phi_search.case,
        "batches": lambda: batches.case(files(), folder),
        "xdog": lambda: xdog.case(files()),
        "train_step_paper": train_step.paper,
        "train_step_default": train_step.default,
        "refine_memory": lambda: refinement.case("refine_memory", "MiB", 8.0),
        "refine_time": lambda: refinement.case("refine_time", "s", 1 / 1.4),
        "sampling_calls": lambda: sampling.case(RESULTS),
        "evaluation": lambda: evaluation.case(RESULTS / "data", folder / "evaluation"),
    }


def main() -> None:
    """Run the named benchmarks and print them, or all of them and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="benchmarks, or scaling; all where none is named")
    chosen = parser.parse_args().names
    # As the workflow's jobs have it; glibc reads it when a process starts.
    if "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = KEPT_PAGES
        os.execv(sys.executable, sys.orig_argv)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = _cases(folder)
        if unknown := set(chosen) - {*cases, "scaling"}:
            parser.error(f"no benchmark {min(unknown)!r}: they are {', '.join(cases)}, scaling")
        peaks = machine.peaks()
        print(
            f"{peaks['processor']}, {peaks['cores']} cores: {peaks['matmul_gflops']:.0f} GFLOP/s in"
            f" matrix products, {peaks['copy_gb_per_s']:.0f} GB/s in copies",
            flush=True,
        )
        entries = []
        for name, make in cases.items():
            if chosen and name not in chosen:
                continue
            entry = measure(make(), machine.matmul_gflops)
            entries.append(entry)
            peak = (
                f", {entry['fraction_of_peak']:.0%} of peak" if "fraction_of_peak" in entry else ""
            )
            print(
                f"{name}: {entry['plain']:.4g} plainly, {entry['ours']:.4g} here ({entry['unit']}),"
                f" ratio {entry['ratio']:.2f} (aim {entry['target']:.2f}){peak},"
                f" {entry['compared']}: {entry['equal_within']:.1e}",
                flush=True,
            )
        if not chosen or "scaling" in chosen:
            peaks["startup_s"] = scaling.startup(folder)
            table = scaling.study(folder / "scaling")
            print(table.to_string(index=False), peaks["startup_s"], sep="\n")
    if not chosen:
        peaks |= {"code": code_version({}), "minutes": (time.perf_counter() - start) / 60}
        write_json(RESULTS / "benchmarks.json", entries)
        write_json(RESULTS / "benchmarks_machine.json", peaks)
        write_text(RESULTS / "benchmarks_scaling.csv", table.to_csv(index=False))
        figure.draw_ratios(entries, RESULTS / "figures/benchmarks.png")
        figure.draw_scaling(table, RESULTS / "figures/benchmarks_scaling.png")


if __name__ == "__main__":
    main()
