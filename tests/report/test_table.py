"""Tables and figures from the files of other phases."""

import csv
import json
import os
from pathlib import Path

import pytest

from ssimbad.errors import UserError
from ssimbad.evaluation.claims import METRICS
from ssimbad.evaluation.compare import comparisons, read_runs, table
from ssimbad.inference import SETTINGS
from ssimbad.layout import Results
from ssimbad.report.findings import verdict, write_findings
from ssimbad.report.table import write_tables, write_times

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
            for metric in ("fid", "kid"):
                metrics[metric] = {"value": fid, "ci_low": None, "ci_high": None}
            folder = results.metrics(row)
            folder.mkdir(parents=True, exist_ok=True)
            entry = {
                "n": 12,
                "size": 64,
                "ms_ssim_scales": 3,
                "metrics": metrics,
                "per_image": {
                    f"image {i}": {m: metrics[m]["value"] + i / 12 for m in METRICS}
                    for i in range(12)
                },
                "provenance": {"infer": {"parameters": 1234, "network_calls": 2.0}},
            }
            (folder / f"{setting}.json").write_text(json.dumps(entry))
    return results


def runs_of(results: Results) -> dict:
    return read_runs({(row, 42): results.metrics(row) for row in ROWS})


def test_tables_say_what_was_measured(results: Results) -> None:
    found = runs_of(results)
    write_tables(table(found, 200, 0), found, ["Images: by <somebody> & co"], results)
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
        "seed",
        "spread",
    ]
    assert len(lines) == 2 * 2 * 6
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
        runs_of(results)


def test_differences_are_paired_over_images(results: Results) -> None:
    lines = comparisons(runs_of(results), 200, 0)
    found = {(d["method"], d["baseline"], d["setting"], d["metric"]): d for d in lines}
    # The rows differ by nothing on every image, whatever the images' own spread.
    number = found["reference", "ssimbad_refined", "same", "psnr"]
    assert (number["difference"], number["ci_low"], number["ci_high"]) == (0, 0, 0)
    number = found["reference", "reference", "same - cross", "lpips"]
    assert number["ci_low"] == pytest.approx(-1)
    assert number["ci_high"] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("metric", "low", "high", "expected"),
    [
        ("psnr", 0.1, 0.3, "supported"),
        ("psnr", -0.3, -0.1, "contradicted"),
        ("psnr", -0.1, 0.1, "undecided"),
        ("lpips", -0.3, -0.1, "supported"),
        ("palette", 0.1, 0.3, "contradicted"),
    ],
)
def test_verdicts(metric: str, low: float, high: float, expected: str) -> None:
    assert verdict({"metric": metric, "ci_low": low, "ci_high": high}) == expected


def test_findings_say_which_claims_lack_rows(results: Results) -> None:
    write_findings(ROWS, comparisons(runs_of(results), 200, 0), results)
    text = (results.root / "findings.md").read_text()
    assert "## SSIMBaD beats SCFT\n\nNot tested" in text
    assert "| SSIMBaD, with refinement | same - cross | PSNR (dB) ↑ | -1.00" in text


def test_times_are_those_of_the_runs_own_jobs(results: Results) -> None:
    for job, seconds in (
        (("data", None), 20.5),
        (("train", "ssimbad"), 99.25),
        (("train", "x"), 7),
    ):
        path = results.benchmark(*job)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tmax_rss\n1.0\t1.0\n{seconds}\t512.5\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
    write_times([("data", None), ("train", "ssimbad"), ("evaluate", "ssimbad")], results)
    assert (results.root / "times.csv").read_text().splitlines() == [
        "job,seconds,max_rss_mib,ended",
        "data,20.5,512.5,2001-09-09T01:46:40+00:00",
        "train_ssimbad,99.25,512.5,2001-09-09T01:46:40+00:00",
    ]
