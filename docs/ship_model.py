"""Put a trained row into the package, as the model that ``ssimbad colorize`` takes unless told otherwise.

    .venv/bin/python docs/ship_model.py RESULTS ROW

RESULTS needs the row's checkpoint (of any precision), the histories of its stages, its sweep, and
``data/manifest.json`` with ``data/ATTRIBUTION.txt``. Weights are halved. What the run's records say and whose
pictures it saw go into the card beside them, between its markers ``run`` and ``attribution``.
The rest of the card is written by hand: measure and read it anew.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
from refresh import ROOT, replace

from ssimbad.colorizer import SHIPPED
from ssimbad.errors import UserError
from ssimbad.files import read_json, sha256_file
from ssimbad.layout import Results
from ssimbad.methods import methods
from ssimbad.phases.trained import read_choice
from ssimbad.training import checkpoint

LICENSE = "CC-BY-4.0"
"""Of the weights. Their images' creators ask for attribution; it may be passed on under this licence."""


def ship(results: Results, row: str, out: Path) -> dict[str, Any]:
    """Write a row's weights in half precision, with a header that says how to sample them and whose they are.

    Returns:
        The header: the checkpoint's, with ``sampling``, ``license``, ``attribution``, and the
        ``full_precision`` checkpoint's SHA-256.

    Raises:
        UserError: a file is missing, or the files are not of one run.
    """
    path, manifest = results.checkpoint(row), results.data / "manifest.json"
    attribution = results.data / "ATTRIBUTION.txt"
    method, header = checkpoint.load(path)
    summary = read_json(results.history(row).with_suffix(".json"))
    # A checkpoint that was halved to be carried has another digest than its records name.
    of_one_run = header["best"].items() <= summary.items() and header["data"] == sha256_file(
        manifest
    )
    if not of_one_run or sha256_file(attribution) != read_json(manifest)["files"][attribution.name]:
        raise UserError(f"{path}: is not of the run whose history and data lie in {results.root}")
    if kind := methods()[header["method"]].sampling:
        sampling, choice = read_choice(results.choice(row), kind)
        if choice["checkpoint"] != summary["checkpoint"]:
            raise UserError(f"{results.choice(row)}: is of another checkpoint")
        header["sampling"] = sampling.model_dump(mode="json")
    header |= {
        "license": LICENSE,
        "attribution": attribution.read_text("utf-8"),
        "full_precision": summary["checkpoint"],
    }
    checkpoint.save(out, method.half(), header)
    return header


def records(results: Results, row: str, header: dict[str, Any]) -> str:
    """What the run's records say of the model, in Markdown."""
    facts = {"row": f"`{row}`, {header['size']} px, training seed {header['seed']}"}
    histories = map(read_json, (results.root / "history").glob("*/*.json"))
    by_checkpoint = {summary["checkpoint"]: summary for summary in histories}
    trained = [header[key] for key in ("pretrained", "full_precision") if key in header]
    for stage, digest in zip(header["stages"], trained, strict=True):
        summary = by_checkpoint[digest]
        facts[{"train": "pretraining", "refine": "refinement"}[stage["stage"]]] = (
            f"{stage['steps'] * stage['batch']:,} images seen in {stage['steps']} steps of"
            f" {stage['batch']}, {summary['seconds']:.0f} s, `{stage['precision']}`"
        )
    machine, code = summary["machine"], summary["code"]
    facts["parameters"] = f"{summary['parameters']:,}"
    facts["machine"] = (
        f"{machine.get('gpu', machine['processor'])}, PyTorch {summary['packages']['torch']}"
    )
    facts["commit on record"] = f"{code['commit'][:10]}{', changed' if code['dirty'] else ''}"
    facts["full-precision checkpoint"] = f"SHA-256 `{header['full_precision']}`"
    parts = ["\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in facts.items())])]
    if "sampling" in header:
        choice, tried = read_json(results.choice(row)), results.choice(row).with_suffix(".csv")
        named = ", ".join(f"`{key}` {value}" for key, value in header["sampling"].items())
        parts.append(
            f"Sampling: {named}; chosen from {choice['candidates']} candidates by {choice['metric']} on"
            f" {choice['images']} {choice['split']} images:"
        )
        lines = pd.read_csv(tried).query("chosen == 1")
        columns = ["setting", "psnr", "ms_ssim", "lpips", "n"]
        formats = ("", ".2f", ".4f", ".4f", "")
        parts.append(lines[columns].to_markdown(index=False, floatfmt=formats))
    return "\n\n".join(parts)


def main() -> None:
    results, row = Results(sys.argv[1]), sys.argv[2]
    header = ship(results, row, SHIPPED)
    card = SHIPPED.with_name("README.md")
    replace(card, records(results, row, header), "run")
    credits = header["attribution"].splitlines()
    replace(card, "\n".join(f"- {line}" for line in credits), "attribution")
    print(f"{SHIPPED.relative_to(ROOT)}: {SHIPPED.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
