"""The plan as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabulate import tabulate

from ssimbad.counting import Cost
from ssimbad.plan.gpus import GPU, LAUNCH, REACHED, USABLE

if TYPE_CHECKING:
    from ssimbad.plan.disk import Bytes
    from ssimbad.plan.workload import Line

_GIB = 2**30
_LONG = 10  # hours below which a plan is told in minutes

LEFT_OUT = (
    "elementwise operations, normalisation, resizing: of them bytes are counted, no FLOP",
    "the phases data, phi and report, warping, and the metrics without a network: they run on the CPU",
    "loading data, starting up, waiting, writing checkpoints and images",
    "memory of the driver, of libraries' workspaces and of fragments: a tenth of a GPU is kept free",
    "mixed precision's formats as the CPU has them, but for normalisation's 32 bits",
    "the time GPUs take to exchange gradients",
)


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _time(hours: float, unit: str, fits: bool) -> str:
    value = f"{hours:.2f}" if unit == "h" else f"{60 * hours:.1f}"
    return value if fits else f"{value} †"


def table(
    lines: list[Line], disk: list[Bytes], gpus: list[GPU], count: int, utilisation: float
) -> str:
    """The plan.

    Args:
        lines: the phases, a GPU's share of each.
        disk: what lies on the disk.
        gpus: for which times are wanted: hours, or minutes where all is done within ten hours.
        count: how many of them share the work.
        utilisation: share of the peak that is reached, in (0, 1].
    """
    many = f" of {count} GPUs" if count > 1 else ""
    total = Cost()
    for line in lines:
        total = total.then(line.total)
    longest = max((gpu.hours(total, utilisation) for gpu in gpus), default=0.0)
    unit = "h" if longest >= _LONG else "min"

    def times_of(cost: Cost) -> list[str]:
        return [_time(gpu.hours(cost, utilisation), unit, gpu.fits(cost.peak)) for gpu in gpus]

    header = ["phase", "row", "parameters", "TFLOP a pass", "passes", "PFLOP in all", "peak GiB"]
    rows = []
    for line in lines:
        whole, (first, times) = line.total, line.passes[0]
        rows.append(
            [
                line.phase,
                line.row + (f" × {line.runs} seeds" if line.runs > 1 else ""),
                f"{line.parameters:,}" if line.parameters else "–",
                f"{first.total / 1e12:.4g}",
                f"{times:,.0f}" if times >= 10 else f"{times:.2g}",
                f"{whole.total * count / 1e15:.4g}",
                f"{whole.peak / _GIB:.2f}",
                *times_of(whole),
            ]
        )
    sums = [f"{total.total * count / 1e15:.4g}", f"{total.peak / _GIB:.2f}"]
    rows.append(["all", "", "", "", "", *sums, *times_of(total)])
    headers = [*header, *(f"{gpu.name} {unit}" for gpu in gpus)]
    text = tabulate(rows, headers, disable_numparse=True, colalign=_alignment(len(headers)))
    return "\n".join([text, "", *_notes(disk, gpus, utilisation, many)])


def _alignment(columns: int) -> list[str]:
    return ["left", "left"] + ["right"] * (columns - 2)


def _notes(disk: list[Bytes], gpus: list[GPU], utilisation: float, many: str) -> list[str]:
    lines = [
        f"A pass: an optimizer step or a batch{', on one' + many if many else ''}. Its operations and",
        "its peak memory (weights, gradients, optimizer, moving average, activations) are counted in the",
        "code that will run. PFLOP in all includes validation and the metrics' networks.",
        f"Times: each operation takes the longest of FLOP / (peak × {utilisation:.0%}), bytes / (bandwidth ×"
        f" {REACHED:.0%}) and {LAUNCH * 1e6:g} µs (assumptions){', on each' + many if many else ''}.",
        f"† does not fit: more than {USABLE:.0%} of the memory.",
        "",
    ]
    for gpu in gpus:
        peaks = gpu.peak
        lines.append(
            f"{gpu.name}: {peaks['half'] / 1e12:g} TFLOP/s in 16 bits, {peaks['convolution'] / 1e12:g}"
            f" TF32 (32-bit convolutions), {peaks['matmul'] / 1e12:g} FP32, {gpu.memory / 1e9:.0f} GB"
            f" ({gpu.source})"
        )
    lines += ["", "On disk:"]
    lines += [f"  {_size(entry.count):>8}  {entry.what}" for entry in disk]
    return [*lines, "", "Left out:", *(f"  {text}" for text in LEFT_OUT)]
