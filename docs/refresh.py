"""Copy a finished default run's table, times and pictures into README.md and docs/images.

    .venv/bin/python docs/refresh.py

The README's text between its ``<!-- results -->`` markers is replaced; nothing in it is typed by hand.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
PICTURES = ("qualitative_same", "qualitative_cross", "ssim_curves")


def main() -> None:
    images = ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    for name in PICTURES:
        shutil.copyfile(RESULTS / "figures" / f"{name}.png", images / f"{name}.png")
    times = pd.read_csv(RESULTS / "times.csv")
    origin = json.loads((RESULTS / "metrics/ssimbad_refined/same.json").read_text())["provenance"]
    if origin["code"]["dirty"]:
        raise SystemExit("results/ was made by uncommitted code; run `make reproduce` on a commit")
    machine = origin["machine"]
    text = (
        f"{(RESULTS / 'table.md').read_text()}\n"
        f"The jobs took {times['seconds'].sum() / 60:.1f} minutes in all, at most "
        f"{times['max_rss_mib'].max() / 1024:.1f} GiB each, on {machine['threads']} cores of an "
        f"{machine['processor']}: `make reproduce`, commit {origin['code']['commit'][:10]}.\n"
    )
    readme = ROOT / "README.md"
    head, rest = readme.read_text().split(BEGIN)
    tail = rest.split(END)[1]
    readme.write_text(f"{head}{BEGIN}\n\n{text}\n{END}{tail}")


if __name__ == "__main__":
    main()
