"""Tables and figures from the files of other phases."""

import csv
import json
from pathlib import Path

import pytest

from ssimbad.errors import UserError
from ssimbad.inference import SETTINGS
from ssimbad.layout import Results
from ssimbad.report.table import measurements, write_tables

ROWS = ["reference", "ssimbad_refined"]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    results = Results(tmp_path)
    for row in ROWS:
        for k, setting in enumerate(SETTINGS):
            metrics = {
                metric: {"value": value + k, "ci_low": value + k - 0.5, "ci_high": value + k + 0.5}
                for metric, value in (
                    ("psnr", 20),
                    ("ms_ssim", 0.5),
                    ("lpips", 0.25),
                    ("palette", 3),
                )
            }
            fid = None if row == "reference" else 44.5
            metrics["fid"] = {"value": fid, "ci_low": None, "ci_high": None}
            folder = results.metrics(row)
            folder.mkdir(parents=True, exist_ok=True)
            entry = {"n": 12, "size": 64, "ms_ssim_scales": 3, "metrics": metrics}
            (folder / f"{setting}.json").write_text(json.dumps(entry))
    return results


def test_tables_say_what_was_measured(results: Results) -> None:
    write_tables(measurements(ROWS, results), "by <somebody> & co", results)
    with (results.root / "table.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert list(lines[0]) == [
        "method",
        "setting",
        "metric",
        "value",
        "ci_low",
        "ci_high",
        "n",
        "paper",
    ]
    assert len(lines) == 2 * 2 * 5
    found = {(x["method"], x["setting"], x["metric"]): x for x in lines}
    number = found["ssimbad_refined", "cross", "psnr"]
    assert [float(number[k]) for k in ("value", "ci_low", "ci_high", "n", "paper")] == [
        21,
        20.5,
        21.5,
        12,
        15.84,
    ]
    assert found["reference", "same", "fid"]["value"] == ""
    assert found["ssimbad_refined", "same", "palette"]["paper"] == ""
    markdown = (results.root / "table.md").read_text()
    assert "20.00 [19.50, 20.50]" in markdown
    assert "3 of 5 scales" in markdown
    assert "none" in markdown
    assert "by <somebody>" in markdown
    page = (results.root / "table.html").read_text()
    assert "by &lt;somebody&gt; &amp; co" in page
    latex = (results.root / "table.tex").read_text()
    assert r"\toprule" in latex
    assert r"PSNR (dB) $\uparrow$" in latex


def test_a_missing_measurement_is_named(results: Results) -> None:
    (results.metrics("reference") / "cross.json").unlink()
    with pytest.raises(UserError, match=r"reference/cross\.json: no such file"):
        measurements(ROWS, results)
