"""The table: one long CSV, and one page of it in Markdown, LaTeX and HTML."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd

from ssimbad.files import read_json, write_text
from ssimbad.inference import SETTINGS
from ssimbad.layout import Results
from ssimbad.report.paper import LABELS, PAPER

_FORMATS = {
    "psnr": ("PSNR (dB) ↑", ".2f"),
    "ms_ssim": ("MS-SSIM ↑", ".4f"),
    "lpips": ("LPIPS ↓", ".4f"),
    "fid": ("FID ↓", ".2f"),
    "palette": ("palette (ΔE) ↓", ".2f"),
}


def measurements(rows: list[str], results: Results) -> dict[tuple[str, str], dict[str, Any]]:
    """The JSON of every (row, setting)."""
    return {
        (row, setting): read_json(results.metrics(row) / f"{setting}.json")
        for row in rows
        for setting in SETTINGS
    }


def long_table(found: dict[tuple[str, str], dict[str, Any]]) -> pd.DataFrame:
    """``method,setting,metric,value,ci_low,ci_high,n,paper``, a line for each number."""
    records = [
        {"method": row, "setting": setting, "metric": metric}
        | entry["metrics"][metric]
        | {"n": entry["n"], "paper": PAPER.get((row, setting, metric))}
        for (row, setting), entry in found.items()
        for metric in _FORMATS
    ]
    columns = ["method", "setting", "metric", "value", "ci_low", "ci_high", "n", "paper"]
    return pd.DataFrame(records, columns=columns)


def _cell(number: dict[str, Any], form: str) -> str:
    if number["value"] is None:
        return "none"
    text = format(number["value"], form)
    if number["ci_low"] is None:
        return text
    return f"{text} [{number['ci_low']:{form}}, {number['ci_high']:{form}}]"


def _page(found: dict[tuple[str, str], dict[str, Any]]) -> pd.DataFrame:
    lines = []
    for (row, setting), entry in found.items():
        line = {"method": LABELS.get(row, row), "setting": setting}
        for metric, (title, form) in _FORMATS.items():
            line[title] = _cell(entry["metrics"][metric], form)
        known = [
            format(value, _FORMATS[metric][1])
            for metric in ("psnr", "ms_ssim", "fid")
            if (value := PAPER.get((row, setting, metric))) is not None
        ]
        lines.append(line | {"paper: PSNR / MS-SSIM / FID": " / ".join(known) or "–"})
    return pd.DataFrame(lines)


def _notes(found: dict[tuple[str, str], dict[str, Any]], attribution: str) -> list[str]:
    entry = next(iter(found.values()))
    notes = [
        f"{entry['n']} test images at {entry['size']} px; [low, high]: 95 % bootstrap interval of the "
        "mean over images. All metrics but palette compare with the truth of the sketch, in the "
        "cross-reference setting too, where the reference is another identity.",
        f"MS-SSIM over {entry['ms_ssim_scales']} of 5 scales, weights renormalised. LPIPS: AlexNet. "
        "palette: sliced Wasserstein distance of colours in CIELAB to the unwarped reference.",
        f"FID: pytorch-fid, 2048 features, bilinear resize to 299 px, {entry['n']} images a side "
        "(biased upwards at so few). A copy of the reference has none: it is made of "
        "the test images themselves.",
        "paper: arXiv 2506.04283, on 579 Danbooru faces at 256 px; not comparable in absolute terms "
        "unless the run is on those.",
    ]
    return notes + ([f"Images: {attribution}"] if attribution else [])


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em;max-width:80em}"
    "table{border-collapse:collapse}td,th{padding:.3em .7em;border-bottom:1px solid #ddd;"
    "text-align:right;font-variant-numeric:tabular-nums}"
    "td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}"
)


def write_tables(
    found: dict[tuple[str, str], dict[str, Any]], attribution: str, results: Results
) -> None:
    """Write ``table.{csv,md,tex,html}``."""
    page, notes = _page(found), _notes(found, attribution)
    long = long_table(found).to_csv(index=False, lineterminator="\n", float_format="%.6f")
    write_text(results.root / "table.csv", long)
    bullets = "\n".join(f"- {note}" for note in notes)
    write_text(results.root / "table.md", f"{page.to_markdown(index=False)}\n\n{bullets}\n")
    latex = page.rename(
        columns=lambda c: c.replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$")
    )
    latex.columns = [c.replace("Δ", r"$\Delta$") for c in latex.columns]
    comments = "\n".join(f"% {note}" for note in notes)
    body = latex.replace({"–": "--"}).to_latex(index=False, column_format="ll" + "r" * 6)
    write_text(results.root / "table.tex", f"{comments}\n{body}")
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    write_text(
        results.root / "table.html",
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>ssimbad: table</title>'
        f"<style>{_STYLE}</style>{page.to_html(index=False, border=0)}<ul>{items}</ul></html>\n",
    )


def write_times(results: Results) -> None:
    """Write ``times.csv``: seconds and peak memory of every job the workflow has run."""
    paths = sorted(results.benchmarks.glob("*.tsv"))
    records = [
        {"job": path.stem} | pd.read_csv(path, sep="\t").iloc[-1][["s", "max_rss"]].to_dict()
        for path in paths
        if path.stem != "report"
    ]
    times = pd.DataFrame(records, columns=["job", "s", "max_rss"])
    times = times.rename(columns={"s": "seconds", "max_rss": "max_rss_mib"})
    write_text(results.root / "times.csv", times.to_csv(index=False, lineterminator="\n"))
