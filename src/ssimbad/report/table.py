"""The table: one long CSV, and one page of it in Markdown, LaTeX and HTML; what the rows cost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from ssimbad.evaluation.metrics import METRICS, SWEPT, against, enumerated, of_images, of_sets
from ssimbad.evaluation.records import read_csv, to_csv
from ssimbad.files import read_json, write_json, write_text
from ssimbad.methods import Run, title_of
from ssimbad.paper import PAPER
from ssimbad.report.html import render
from ssimbad.settings import SETTINGS, exact, images_of, inferred

if TYPE_CHECKING:
    from ssimbad.evaluation.compare import Measurement
    from ssimbad.evaluation.schema import SearchConfig
    from ssimbad.layout import Results

COLUMNS = [
    *("method", "setting", "metric", "value", "ci_low", "ci_high", "n", "paper", "seed", "spread")
]


def measured_cell(value: float | None, record: dict[str, Any], sign: str = "") -> str:
    """A number of a record with its spread over seeds and its interval, where it has them.

    Args:
        value: the number.
        record: its metric, ``spread``, ``ci_low`` and ``ci_high``.
        sign: ``+`` for one that is shown of numbers above 0.
    """
    if value is None:
        return "none"
    form = sign + METRICS[record["metric"]].format
    text = format(value, form)
    if record.get("spread") is not None:
        text += f" ± {record['spread']:{form}}"
    if record["ci_low"] is None:
        return text
    return f"{text} [{record['ci_low']:{form}}, {record['ci_high']:{form}}]"


def shown_settings(settings: list[str]) -> list[str]:
    """The settings of the main table: each with the best truth there is."""
    return [exact(setting, settings) for setting in settings if images_of(setting) == setting]


def _page(
    records: list[dict[str, Any]],
    settings: list[str],
    metrics: list[str],
    paper: bool,
    calls: dict[str, float] | None = None,
) -> pd.DataFrame:
    """A line for each row and setting, a column for each metric; the paper's numbers in one beside them.

    Args:
        records: the numbers.
        settings, metrics: those shown.
        paper: whether the paper's numbers are.
        calls: network calls an image, by row, for a column; None: no such column.
    """
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for record in records:
        if record["seed"] is not None or record["setting"] not in settings:
            continue
        key = record["method"], record["setting"]
        line = lines.setdefault(key, {"method": title_of(key[0]), "setting": key[1]})
        if calls:
            line["calls"] = f"{calls[key[0]]:g}"
        line[METRICS[record["metric"]].heading] = measured_cell(record["value"], record)
    headings = [METRICS[name].heading for name in metrics]
    if paper:
        published = _published()
        headings.append(f"paper: {' / '.join(METRICS[name].title for name in published)}")
        for key, line in lines.items():
            known = [
                format(value, METRICS[name].format)
                for name in published
                if (value := PAPER.get((*key, name))) is not None
            ]
            line[headings[-1]] = " / ".join(known) or "–"
    return pd.DataFrame(
        lines.values(), columns=["method", "setting", *(["calls"] if calls else []), *headings]
    )


def _published() -> list[str]:
    return [name for name in METRICS if any(name == metric for _, _, metric in PAPER)]


def _pages(
    records: list[dict[str, Any]], settings: list[str], calls: dict[str, float]
) -> dict[str, pd.DataFrame]:
    """The tables of the numbers by what stands above each; nothing above the main one.

    A setting stands in it with the best truth there is; where that is not the paper's, another has the
    paper's way of measuring.
    """
    best = shown_settings(settings)
    main = [name for name, metric in METRICS.items() if metric.main]
    replaced = len(best) < len(settings)
    pages = {"": _page(records, best, main, not replaced, calls)}
    if replaced:
        own = [setting for setting in settings if images_of(setting) == setting]
        pages["As the paper measures: cross against the sketch's own image:"] = _page(
            records, own, _published(), paper=True
        )
    if further := [name for name in METRICS if name not in main]:
        pages["Further metrics:"] = _page(records, best, further, paper=False)
    return pages


def told_sampling(sampling: dict[str, Any] | None) -> str:
    """A sampling section's values in a few words; a dash where nothing is sampled in steps."""
    if not sampling:
        return "–"
    rest = dict(sampling)
    words = [f"{rest.pop('sampler', 'ddim')} {rest.pop('steps', '')}".strip()]
    usual = {"guidance": 1.0, "last_call": False, "spacing": "own", "sigma_max": 0.0}
    words += [
        f"{key.replace('_', ' ')} {value:g}" if isinstance(value, float) else f"{key}: {value}"
        for key, value in rest.items()
        if usual.get(key) != value
    ]
    return ", ".join(words)


def _training_seconds(infer: dict[str, Any], summaries: dict[str, dict[str, Any]]) -> float | None:
    """Of all stages behind a run's checkpoint; None where one is not known whole: it was resumed.

    Args:
        infer: how the run's images were made.
        summaries: of all trainings, by their checkpoints' SHA-256.
    """
    digests = [infer.get("checkpoint"), infer.get("header", {}).get("pretrained")]
    stages = [summaries.get(digest) for digest in digests if digest]
    if any(stage is None or stage["resumed"] for stage in stages):
        return None
    return sum((stage["seconds"] for stage in stages if stage), 0.0)


_PASS = 3
"""Forward passes that a training pass counts as: its own, and a backward one of twice its operations."""


def _told_flops(count: float) -> str:
    units = {"GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15, "EFLOP": 1e18}
    unit = next((unit for unit, size in units.items() if count < 1000 * size), "EFLOP")
    return f"{count / units[unit]:.3g} {unit}"


def systems(
    found: dict[tuple[str, str], dict[int, Measurement]], results: Results
) -> list[dict[str, Any]]:
    """What each row's network is and what it took to train, from its provenance and history."""
    records = []
    histories = map(read_json, sorted((results.root / "history").glob("*/*.json")))
    summaries = {summary["checkpoint"]: summary for summary in histories}
    made = {row: runs for (row, _), runs in found.items()}  # alike in all settings
    for row, runs in made.items():
        one = next(iter(runs.values()))
        infer = one["provenance"]["infer"]
        header = infer.get("header", {})
        stages = header.get("stages", [])
        passes = sum(stage["network_passes"] for stage in stages)
        calls, flops = infer["network_calls"], infer["flops_per_image"]
        records.append(
            {
                "method": row,
                "parameters": infer["parameters"],
                "optimizer_steps": sum(stage["steps"] for stage in stages),
                "images_seen": sum(stage["steps"] * stage["batch"] for stage in stages),
                "network_passes": passes,
                "training_seconds": _training_seconds(infer, summaries),
                "training_flops": round(_PASS * passes * flops / calls) if calls else 0,
                "sampling": told_sampling(infer.get("sampling")),
                "chosen_by": infer.get("choice", {}).get("metric"),
                "network_calls": calls,
                "flops_per_image": flops,
                "loss_networks": " ".join(n["network"] for n in header.get("loss_networks", [])),
                "seconds_per_image": infer["seconds"] / (len(inferred()) * one["n"]),
                "noise_spread": infer["noise_spread"]["levels"],
            }
        )
    return records


def _systems_page(records: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": title_of(r["method"]),
            "parameters": f"{r['parameters']:,}",
            "optimizer steps": f"{r['optimizer_steps']:,}",
            "images seen": f"{r['images_seen']:,}",
            "network passes": f"{r['network_passes']:,}",
            "training": "–" if r["training_seconds"] is None else f"{r['training_seconds']:,.0f} s",
            "training FLOP": _told_flops(r["training_flops"]),
            "sampling": r["sampling"],
            "network calls per image": f"{r['network_calls']:g}",
            "FLOP per image": _told_flops(r["flops_per_image"]),
            "seconds per image": f"{r['seconds_per_image']:.2g}",
            "spread over noise": f"{r['noise_spread']:.2f}",
            "loss networks": r["loss_networks"] or "–",
        }
        for r in records
    )


def _chosen_note(found: dict[tuple[str, str], dict[int, Measurement]]) -> list[str]:
    """Which rows sample as the sweep chose, by what, if any."""
    made = {
        row: next(iter(runs.values()))["provenance"]["infer"] for (row, _), runs in found.items()
    }
    choices = {row: infer["choice"] for row, infer in made.items() if "choice" in infer}
    if not choices:
        return []
    first = next(iter(choices.values()))
    return [
        f"Sampling of {'; '.join(map(title_of, choices))}: chosen by {METRICS[first['metric']].title}, mean "
        f"over settings, on {first['images']} validation images (sweep/ROW.csv has all that was tried). "
        "Other rows sample as the config says."
    ]


_TRUTHS = {
    "own": "the sketch's own image",
    "recoloured": "the sketch's own drawing in the reference's colours",
}


def _notes(
    found: dict[tuple[str, str], dict[int, Measurement]], settings: list[str], data: list[str]
) -> list[str]:
    seeds = max(len(runs) for runs in found.values())
    by_setting = {setting: next(iter(runs.values())) for (_, setting), runs in found.items()}
    entry = by_setting[settings[0]]
    spread = entry["provenance"]["infer"]["noise_spread"]
    floors = [
        f"{setting} {' / '.join(format(own['floor'][name], METRICS[name].format) for name in of_sets())}"
        for setting, own in by_setting.items()
    ]

    def noted(names: list[str]) -> str:
        return " ".join(METRICS[name].note for name in names if METRICS[name].note).format(**entry)

    others = [*against("reference"), *against("sketch")]
    notes = [
        f"{entry['n']} test images at {entry['size']} px; [low, high]: 95 % bootstrap interval of the "
        f"mean over images. All metrics but {enumerated(others)} compare with the truth: "
        + "; ".join(f"{name}, {_TRUTHS[SETTINGS[name].truth]}" for name in settings)
        + ". Cross references are other identities.",
        noted(of_images()),
        noted(of_sets()),
        f"Floor: {' / '.join(METRICS[name].title for name in of_sets())} of training images against the "
        f"truth, which other identities' pictures reach: {'; '.join(floors)}.",
        "Network passes: of all training images through the network, once for each unrolled step; an "
        "inversion's, without gradient, are included. "
        "FLOP: of the row's network alone, in convolutions, matrix products and attention; a training pass "
        "counts as three forward ones, since a backward pass is about two. `ssimbad plan` counts the code "
        "that runs, loss networks included. "
        "Spread over noise: standard deviation of a pixel, in levels of 255, over "
        f"{spread['samples']} noises of {spread['images']} images, same-reference; 0: sketch and reference "
        "alone make the image. Seconds per image are of the machine that colorized.",
        "paper: arXiv 2506.04283, on 579 Danbooru faces at 256 px; not comparable in absolute terms "
        "unless the run is on those.",
    ]
    if seeds > 1:
        notes.append(
            f"Means over {seeds} training seeds, ± their standard deviation; intervals are over these, too."
        )
    return notes + data


def table_csv(records: list[dict[str, Any]]) -> str:
    """The text of ``table.csv``: the numbers, and the paper's beside them."""
    long = [
        record | {"paper": PAPER.get((record["method"], record["setting"], record["metric"]))}
        for record in records
    ]
    return to_csv(long, COLUMNS)


def _nested(records: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """The numbers over all seeds by row, setting and metric, for ``dvc metrics``."""
    nested: dict[str, dict[str, dict[str, float]]] = {}
    for record in records:
        if record["seed"] is None and record["value"] is not None:
            metrics = nested.setdefault(record["method"], {}).setdefault(record["setting"], {})
            metrics[record["metric"]] = round(record["value"], 6)
    return nested


def write_tables(
    records: list[dict[str, Any]],
    found: dict[tuple[str, str], dict[int, Measurement]],
    data: list[str],
    results: Results,
) -> str:
    """Write ``table.{csv,md,tex,html}``, ``metrics.json`` and ``systems.csv``.

    Args:
        records: the table's numbers.
        found: the measurements by (row, setting) and seed.
        data: what to note of the images: how they were trained on, whose they are.
        results: where everything lies.

    Returns:
        The table as an HTML fragment.
    """
    settings = list(dict.fromkeys(setting for _, setting in found))
    notes = _notes(found, settings, _chosen_note(found) + data)
    made = systems(found, results)
    calls = {line["method"]: line["network_calls"] for line in made}
    pages = _pages(records, settings, calls)
    pages |= {"What each row is and took:": _systems_page(made)}
    write_text(results.root / "table.csv", table_csv(records))
    write_json(results.root / "metrics.json", _nested(records))
    write_text(results.root / "systems.csv", to_csv(made, list(made[0])))
    bullets = "\n".join(f"- {note}" for note in notes)
    write_text(
        results.root / "table.md",
        "".join(
            f"{above}\n\n{page.to_markdown(index=False)}\n\n".lstrip()
            for above, page in pages.items()
        )
        + f"{bullets}\n",
    )
    comments = "\n".join(f"% {note}" for note in notes)
    bodies = "\n".join(f"% {above}\n{_latex(page)}" for above, page in pages.items())
    write_text(results.root / "table.tex", f"{comments}\n{bodies}")
    tables = {above: page.to_html(index=False, border=0) for above, page in pages.items()}
    fragment = render("tables.html.jinja", tables=tables, notes=notes)
    write_text(results.root / "table.html", render("table.html.jinja", table=fragment))
    return fragment


def write_common_calls(rows: list[Run], sweep: SearchConfig, results: Results) -> str:
    """Write ``common_calls.{csv,md}``: swept rows at one number of network calls, each as it is then best.

    Args:
        rows: those.
        sweep: its config, which names the number.
        results: where the sweep's records lie.

    Returns:
        The table as an HTML fragment, empty where there are no rows.
    """
    metric, records = sweep.objective, []
    for row in rows:
        tried = read_csv(
            results.sweep / f"{row}.csv", "setting", "sampler", "network_calls", *SWEPT, "n"
        )
        at = list(tried.columns)
        keys = at[at.index("sampler") : at.index("network_calls")]
        tried = tried[tried["network_calls"] == sweep.common_calls]
        if tried.empty:
            continue
        tried = tried.assign(way=tried[keys].astype(str).agg(" ".join, axis=1))
        means = METRICS[metric].better * tried.groupby("way", sort=False)[metric].mean()
        for line in tried[tried["way"] == means.idxmax()].to_dict("records"):
            records.append(
                {
                    "method": str(row),
                    "setting": line["setting"],
                    "sampling": told_sampling({key: line[key] for key in keys}),
                    "network_calls": sweep.common_calls,
                    **{name: line[name] for name in SWEPT},
                    "n": line["n"],
                }
            )
    columns = ["method", "setting", "sampling", "network_calls", *SWEPT, "n"]
    write_text(results.root / "common_calls.csv", to_csv(records, columns))
    if not records:
        write_text(results.root / "common_calls.md", "No row's ways of sampling were measured.\n")
        return ""
    page = pd.DataFrame(
        {
            "method": title_of(record["method"]),
            "setting": record["setting"],
            "sampling": record["sampling"],
            **{METRICS[m].heading: format(record[m], METRICS[m].format) for m in SWEPT},
        }
        for record in records
    )
    title = f"All swept rows at {sweep.common_calls} network calls an image"
    note = (
        f"Means over {records[0]['n']} validation images, not of the test set: what the sweep measured. Of a"
        f" row's ways of sampling with so many calls, the best in {METRICS[metric].title} over all settings."
    )
    write_text(
        results.root / "common_calls.md",
        f"## {title}\n\n{page.to_markdown(index=False)}\n\n{note}\n",
    )
    table = page.to_html(index=False, border=0)
    return render("below.html.jinja", title=title, table=table, note=note)


def _latex(frame: pd.DataFrame) -> str:
    symbols = {
        **{"↑": r"$\uparrow$", "↓": r"$\downarrow$", "Δ": r"$\Delta$", "±": r"$\pm$"},
        **{"φ": r"$\varphi$", "–": "--", "%": r"\%"},
    }

    def plain(text: str) -> str:
        for symbol, command in symbols.items():
            text = text.replace(symbol, command)
        return text

    written = frame.rename(columns=plain).map(plain)
    left = 2 if "setting" in frame.columns else 1
    columns = "l" * left + "r" * (len(frame.columns) - left)
    return written.to_latex(index=False, column_format=columns)


def write_times(jobs: list[tuple[str, Run | None]], results: Results) -> None:
    """Write ``times.csv``: of the jobs the workflow has run, seconds, peak memory and when they ended."""
    records = []
    for phase, run in jobs:
        path = results.benchmark(phase, run)
        if path.exists():
            measured = read_csv(path, "s", "max_rss", separator="\t").iloc[-1]
            ended = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            records.append(
                {
                    "job": f"{phase}_{run}" if run else phase,
                    "seconds": measured["s"],
                    "max_rss_mib": measured["max_rss"],
                    "ended": ended.isoformat(timespec="seconds"),
                }
            )
    times = pd.DataFrame(records, columns=["job", "seconds", "max_rss_mib", "ended"])
    write_text(results.root / "times.csv", times.to_csv(index=False, lineterminator="\n"))
