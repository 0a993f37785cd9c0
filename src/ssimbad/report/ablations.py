"""The ablations: rows' variants, each beside its own row, with what it changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from ssimbad.evaluation.metrics import METRICS
from ssimbad.evaluation.records import to_csv
from ssimbad.files import write_text
from ssimbad.methods import Run, title_of
from ssimbad.report.html import render
from ssimbad.report.table import measured_cell, shown_settings

if TYPE_CHECKING:
    from ssimbad.evaluation.compare import Measurement
    from ssimbad.layout import Results

Changes = dict[str, tuple[Any, Any]]
"""By dotted key of the config, the value without a variant and with it."""

COLUMNS = [
    *("method", "baseline", "changes", "setting", "metric", "value", "baseline_value"),
    *("difference", "ci_low", "ci_high", "p", "n", "seeds"),
]
TITLE = "Ablations"
_NOTE = (
    "A line with a + has its row's training, sampling and seed but for what stands beside it, and shows the"
    " difference from that row: mean over the same test images, [low, high]: 95 % bootstrap interval, paired"
    " by image, where the metric is of images. The intervals are not corrected for their number, and none of"
    " the paper's claims rests on them."
)


def told_changes(changes: Changes) -> str:
    """A variant's changes in a line."""
    return ", ".join(
        f"{key} {json.dumps(before)} → {json.dumps(after)}"
        for key, (before, after) in changes.items()
    )


def ablations(
    variants: dict[Run, Changes], records: list[dict[str, Any]], differences: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A record for each variant, setting and metric: its value, its own row's, and the difference.

    Args:
        variants: what each changes.
        records: the table's numbers.
        differences: between rows, paired.
    """
    numbers = {
        (r["method"], r["setting"], r["metric"]): r["value"] for r in records if r["seed"] is None
    }
    paired = {(d["method"], d["baseline"], d["setting"], d["metric"]): d for d in differences}
    lines = []
    for (row, setting, metric), value in numbers.items():
        run = Run(row)
        if run not in variants:
            continue
        other = numbers[run.base, setting, metric]
        known = None not in (value, other)
        unpaired = {
            "difference": value - other if known else None,
            **dict.fromkeys(("ci_low", "ci_high", "p", "n", "seeds")),
        }
        lines.append(
            {
                "method": row,
                "baseline": run.base,
                "changes": told_changes(variants[run]),
                "setting": setting,
                "metric": metric,
                "value": value,
                "baseline_value": other,
            }
            | (paired.get((row, run.base, setting, metric)) or unpaired)
        )
    return lines


def _page(
    lines: list[dict[str, Any]], records: list[dict[str, Any]], calls: dict[str, float]
) -> pd.DataFrame:
    """Each setting's rows, below each its variants; the metrics of the main table."""
    shown = [name for name, metric in METRICS.items() if metric.main]
    settings = shown_settings(list(dict.fromkeys(record["setting"] for record in records)))
    rows = list(dict.fromkeys(line["baseline"] for line in lines))
    page = []
    for setting in settings:
        for row in rows:
            own = [line for line in lines if (line["baseline"], line["setting"]) == (row, setting)]
            plain = [
                record
                for record in records
                if (record["method"], record["setting"], record["seed"]) == (row, setting, None)
            ]
            for method in (row, *dict.fromkeys(line["method"] for line in own)):
                told = [line for line in own if line["method"] == method]
                cells = {
                    record["metric"]: measured_cell(
                        record.get("difference", record["value"]), record, "+" if told else ""
                    )
                    for record in told or plain
                }
                page.append(
                    {
                        "row": f"+ {Run(method).variant}" if told else title_of(row),
                        "changes": told[0]["changes"] if told else "–",
                        "setting": setting,
                        "calls": f"{calls[method]:g}",
                        **{METRICS[name].heading: cells[name] for name in shown},
                    }
                )
    return pd.DataFrame(page)


def write_ablations(
    variants: dict[Run, Changes],
    records: list[dict[str, Any]],
    differences: list[dict[str, Any]],
    found: dict[tuple[str, str], dict[int, Measurement]],
    results: Results,
) -> str:
    """Write ``ablations.{csv,md}`` of a run that has variants of rows.

    Args:
        variants: what each changes; none leaves no files.
        records: the table's numbers.
        differences: between rows, paired.
        found: the measurements by (row, setting) and seed.
        results: where everything lies.

    Returns:
        The table as an HTML fragment, empty where there are no variants.
    """
    if not variants:
        for ending in ("csv", "md"):
            (results.root / f"ablations.{ending}").unlink(missing_ok=True)
        return ""
    lines = ablations(variants, records, differences)
    calls = {
        row: next(iter(runs.values()))["provenance"]["infer"]["network_calls"]
        for (row, _), runs in found.items()
    }
    page = _page(lines, records, calls)
    text = f"## {TITLE}\n\n{page.to_markdown(index=False, disable_numparse=True)}\n\n{_NOTE}\n"
    write_text(results.root / "ablations.csv", to_csv(lines, COLUMNS))
    write_text(results.root / "ablations.md", text)
    table = page.to_html(index=False, border=0)
    return render("below.html.jinja", title=TITLE, table=table, note=_NOTE)
