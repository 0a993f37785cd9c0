"""Tables and figures from the files of other phases."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ssimbad.errors import UserError
from ssimbad.evaluation.compare import comparisons, read_runs, table
from ssimbad.evaluation.metrics import METRICS, Metric, of_images, of_sets
from ssimbad.evaluation.statistics import holm
from ssimbad.layout import Results
from ssimbad.paper import CLAIMS
from ssimbad.report.figures import FIGURES, FinishedRun
from ssimbad.report.findings import ClaimTest, claim_tests, write_findings
from ssimbad.report.table import write_tables, write_times
from ssimbad.settings import SETTINGS

ROWS = ["reference", "ssimbad_refined"]


def write_measurements(results: Results, run: str, rise: float = 0, change: float = 0) -> None:
    """Leave what evaluating a run would: by metric 20, 21, …, one more in the cross setting.

    Args:
        results: where.
        run: the row, or row@seed.
        rise: added to every value.
        change: by how much each image's value is above the one before.
    """
    for k, setting in enumerate(SETTINGS):
        values = {metric: 20.0 + i + k + rise for i, metric in enumerate(METRICS)}
        metrics = {
            metric: {"value": values[metric], "ci_low": None, "ci_high": None} for metric in METRICS
        }
        for metric in of_images():
            metrics[metric] |= {"ci_low": values[metric] - 0.5, "ci_high": values[metric] + 0.5}
        for metric in of_sets() if run == "reference" else []:
            metrics[metric]["value"] = None
        entry = {
            "n": 12,
            "size": 64,
            "ms_ssim_scales": 3,
            "metrics": metrics,
            "per_image": {
                f"image {i}": {m: values[m] + i * change for m in of_images()} for i in range(12)
            },
            "floor": dict.fromkeys(of_sets(), 1.5),
            "provenance": {
                "infer": {
                    "parameters": 1234,
                    "network_calls": 2.0,
                    "flops_per_image": 4 * 10**9,
                    "header": {"stages": [{"steps": 5, "batch": 6, "network_passes": 60}]},
                    "seconds": 12.0,
                    "noise_spread": {"levels": 3.25, "images": 8, "samples": 4},
                }
            },
        }
        folder = results.metrics(run)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{setting}.json").write_text(json.dumps(entry))


@pytest.fixture
def results(tmp_path: Path) -> Results:
    results = Results(tmp_path)
    for row in ROWS:
        write_measurements(results, row, change=1 / 12)
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
    assert len(lines) == len(ROWS) * len(SETTINGS) * len(METRICS)
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
    assert "All metrics but palette and line F1 compare with the truth: " in markdown
    assert "same 1.50 / 1.5000; cross 1.50 / 1.5000; cross_exact 1.50 / 1.5000." in markdown
    assert "over 4 noises of 8 images" in markdown
    with (results.root / "systems.csv").open() as stream:
        made = next(csv.DictReader(stream))
    # 12 seconds for the 12 images of two settings.
    assert [float(made[key]) for key in ("seconds_per_image", "noise_spread")] == [0.5, 3.25]
    # 60 passes of 2 GFLOP forward and twice as many backward.
    flops = [float(made[key]) for key in ("training_flops", "flops_per_image")]
    assert flops == [360e9, 4e9]
    assert "360 GFLOP" in markdown
    assert "none" in markdown
    assert "by <somebody>" in markdown
    page = (results.root / "table.html").read_text()
    assert "by &lt;somebody&gt; &amp; co" in page
    latex = (results.root / "table.tex").read_text()
    assert r"\toprule" in latex
    assert r"PSNR (dB) $\uparrow$" in latex


def test_the_main_table_has_the_best_truth_there_is_and_the_papers_stands_below(
    results: Results,
) -> None:
    def tables(settings: list[str]) -> list[list[list[str]]]:
        found = read_runs({(row, 42): results.metrics(row) for row in ROWS}, settings)
        write_tables(table(found, 200, 0), found, [], results)
        blocks = (results.root / "table.md").read_text().split("\n\n")
        return [
            [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
            for block in blocks
            if block.startswith("|")
        ]

    main, published, further, _ = tables(list(SETTINGS))
    assert [line[1] for line in main[2:4]] == ["same", "cross_exact"]
    assert "KID ↓" not in main[0]
    assert "KID ↓" in further[0]
    assert [line[1] for line in published[2:4]] == ["same", "cross"]
    assert published[0][2:] == ["PSNR (dB) ↑", "MS-SSIM ↑", "FID ↓", "paper: PSNR / MS-SSIM / FID"]
    assert published[-1][-1] == "15.84 / 0.8207 / 37.10"
    # Where the exact truth is not known, the paper's stands beside the numbers.
    main, *_ = tables(["same", "cross"])
    assert [line[1] for line in main[2:4]] == ["same", "cross"]
    assert main[-1][-1] == "15.84 / 0.8207 / 37.10"


def test_of_several_seeds_the_table_has_each_the_mean_and_the_spread(results: Results) -> None:
    rises = {"ssimbad@42": 0.0, "ssimbad@7": 1.0, "ssimbad@8": 5.0}
    for run, rise in rises.items():
        write_measurements(results, run, rise)
    runs = {("ssimbad", int(run.split("@")[1])): results.metrics(run) for run in rises}
    found = read_runs({("reference", 42): results.metrics("reference")} | runs)
    records = table(found, 200, 0)
    write_tables(records, found, [], results)
    with (results.root / "table.csv").open() as stream:
        lines = {
            (x["method"], x["setting"], x["metric"], x["seed"]): x for x in csv.DictReader(stream)
        }
    # The copy has no seeds: a line for it and one for each seed and their mean.
    assert len(lines) == (1 + len(rises) + 1) * len(SETTINGS) * len(METRICS)
    for k, setting in enumerate(SETTINGS):
        for i, metric in enumerate(METRICS):
            own = {seed: lines["ssimbad", setting, metric, seed] for seed in ("42", "7", "8", "")}
            values = {seed: float(line["value"]) for seed, line in own.items()}
            first = 20 + i + k
            assert values == {"42": first, "7": first + 1, "8": first + 5, "": first + 2}
            # Deviations −2, −1 and 3 of three seeds: the square root of 14 / 2.
            assert float(own[""]["spread"]) == pytest.approx(7**0.5, abs=1e-6)
            assert [own[seed]["spread"] for seed in ("42", "7", "8")] == ["", "", ""]
            # Every image has the same value, so the interval is that of seeds drawn with replacement: in
            # 1 of 27 resamples all three are the lowest one, in as many the highest.
            interval = (own[""]["ci_low"], own[""]["ci_high"])
            ends = (f"{first:.6f}", f"{first + 5:.6f}")
            assert interval == (ends if metric in of_images() else ("", ""))
            assert lines["reference", setting, metric, ""]["spread"] == ""
    markdown = (results.root / "table.md").read_text()
    assert "22.00 ± 2.65 [20.00, 25.00]" in markdown
    assert (
        "Means over 3 training seeds, ± their standard deviation; intervals are over these, too."
        in markdown
    )
    metrics = json.loads((results.root / "metrics.json").read_text())
    assert metrics["ssimbad"]["same"]["psnr"] == 22


@pytest.mark.parametrize("of", ["image", "set"])
def test_a_metric_put_into_the_table_is_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    def panels() -> list[str]:
        records = table(runs_of(results), 200, 0)
        config = SimpleNamespace(rows=ROWS)
        drawn = FIGURES["metrics"].draw(FinishedRun(config, results, records))
        return [axis.get_title() for axis in drawn.axes if axis.axison]

    results = Results(tmp_path)
    before = list(METRICS)
    seventh = Metric(
        "invented", -1, ".1f", lambda *given: None, unit="px", of=of, note="{n} of it."
    )
    monkeypatch.setitem(METRICS, "seventh", seventh)
    for row in ROWS:
        write_measurements(results, row)
    found = runs_of(results)
    write_tables(table(found, 200, 0), found, [], results)
    with (results.root / "table.csv").open() as stream:
        lines = [x for x in csv.DictReader(stream) if x["metric"] == "seventh"]
    value = 20.0 + len(before)
    assert [(x["method"], x["setting"]) for x in lines] == [(r, s) for r in ROWS for s in SETTINGS]
    assert [float(x["value"]) for x in lines[-3:]] == [value, value + 1, value + 2]
    markdown = (results.root / "table.md").read_text()
    assert "invented (px) ↓" in markdown.splitlines()[0]
    assert f"{value:.1f}" in markdown
    assert "12 of it." in markdown
    titles = panels()
    assert titles == [metric.heading for metric in METRICS.values()]
    assert titles[-1] == "invented (px) ↓"
    write_findings(ROWS, comparisons(found, 200, 0), found, {}, results)
    findings = (results.root / "findings.md").read_text()
    # Lower is better, and the cross setting's values are higher by one than the one before.
    told = "| invented (px) ↓ | -1.0 [-1.0, -1.0] | < 0.0001 | **in this run** |"
    assert findings.count(told) == (len(ROWS) if of == "image" else 0)
    assert "invented" in findings


def test_names_and_captions_are_read_without_what_computes_and_draws() -> None:
    heavy = ["torch", "skimage", "cv2", "matplotlib", "seaborn", "pandas"]
    program = (
        "import sys, ssimbad.evaluation.metrics, ssimbad.paper, ssimbad.report.figures\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


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


def make_test(metric: str, low: float, high: float, seeds: int, p: float | None) -> ClaimTest:
    """A test of a claim on two rows, a and b; the primary one where no corrected p is given."""
    record = {"metric": metric, "ci_low": low, "ci_high": high, "seeds": seeds}
    return ClaimTest(CLAIMS[0], "what", ("a", "b"), record, p is None, p or 0.0)


@pytest.mark.parametrize(
    ("metric", "low", "high", "several", "one"),
    [
        ("psnr", 0.1, 0.3, "supported", "in this run"),
        ("psnr", -0.3, -0.1, "contradicted", "not in this run"),
        ("psnr", -0.1, 0.1, "undecided", "undecided"),
        ("lpips", -0.3, -0.1, "supported", "in this run"),
        ("palette", 0.1, 0.3, "contradicted", "not in this run"),
    ],
)
def test_verdicts(metric: str, low: float, high: float, several: str, one: str) -> None:
    assert make_test(metric, low, high, 3, None).verdict({}) == several
    assert make_test(metric, low, high, 1, None).verdict({}) == one
    # What is not primary has its p corrected, and must be below the level as well.
    assert make_test(metric, low, high, 3, 0.04).verdict({}) == several
    assert make_test(metric, low, high, 3, 0.06).verdict({}) == "undecided"
    # Of rows that were still learning nothing is said.
    assert make_test(metric, low, high, 3, None).verdict({"b": 0.06}) == "not converged"
    assert (
        make_test(metric, low, high, 3, None).verdict({"a": -0.1, "b": 0.04, "c": 0.9}) == several
    )


def test_each_claim_has_one_primary_test_and_the_others_are_corrected_together(
    results: Results,
) -> None:
    write_measurements(results, "ssimbad", change=1 / 12)
    rows = [*ROWS, "ssimbad"]
    found = read_runs({(row, 42): results.metrics(row) for row in rows})
    differences = comparisons(found, 200, 0)
    tests = claim_tests(rows, differences)
    primary = [t for t in tests if t.primary]
    assert [(t.claim.name, t.record["metric"]) for t in primary] == [
        ("Refinement helps", "lpips"),
        *[("Same-reference above cross-reference", "psnr")] * 3,
    ]
    assert [t.record["setting"] for t in primary] == ["same"] + ["same - cross_exact"] * 3
    others = [t for t in tests if not t.primary]
    assert [t.p for t in others] == holm([t.record["p"] for t in others])
    assert {t.record["seeds"] for t in tests} == {1}


def test_seeds_are_paired_and_a_row_without_seeds_is_beside_each(results: Results) -> None:
    for seed, rise in ((42, 0.0), (7, 1.0)):
        write_measurements(results, f"ssimbad@{seed}", rise)
        write_measurements(results, f"ssimbad_refined@{seed}", rise + 2)
    runs = {
        (row, seed): results.metrics(f"{row}@{seed}")
        for row in ("ssimbad", "ssimbad_refined")
        for seed in (42, 7)
    }
    found = read_runs({("reference", 42): results.metrics("reference")} | runs)
    lines = {
        (d["method"], d["baseline"]): d
        for d in comparisons(found, 200, 0)
        if (d["setting"], d["metric"]) == ("same", "psnr")
    }
    # What seeds have in common cancels.
    number = lines["ssimbad", "ssimbad_refined"]
    assert (number["difference"], number["ci_low"], number["ci_high"]) == (-2, -2, -2)
    assert (number["seeds"], number["n"]) == (2, 12)
    number = lines["reference", "ssimbad_refined"]
    assert number["seeds"] == 2
    assert number["ci_high"] - number["ci_low"] == pytest.approx(1, abs=0.3)


def findings_of(results: Results, rows: list[str], falls: dict[str, float] | None = None) -> str:
    found = read_runs({(row, 42): results.metrics(row) for row in rows})
    write_findings(rows, comparisons(found, 200, 0), found, falls or {}, results)
    return (results.root / "findings.md").read_text()


def test_findings_say_which_claims_lack_rows(results: Results) -> None:
    text = findings_of(results, ROWS)
    answer = text.splitlines()[4]
    assert "SSIMBaD beats SCFT" in answer.split("**not tested**: ")[1]
    assert "SSIMBaD beats SCFT" not in text.replace(answer, "")
    assert "| SSIMBaD, with refinement | same - cross | PSNR (dB) ↑ | -1.00" in text
    for name in ("The working point needs fewer calls", "φ* has the straightest decay"):
        assert f"## {name}\n\nNot tested" in text


def test_findings_begin_with_a_plain_sentence_on_regression(results: Results) -> None:
    rows = [*ROWS, "regression"]
    # LPIPS, too, has the value 22 there, and lower is better.
    write_measurements(results, "regression", rise=-1)
    text = findings_of(results, rows)
    first = text.splitlines()[2]
    assert first.startswith("Plain regression (")
    assert "beats every diffusion row of this run by" in first
    assert "Where that may not hold" in text
    change_metrics(results, "regression", {"psnr": 30.0})
    first = findings_of(results, rows).splitlines()[2]
    assert "beats every diffusion row of this run, the best of which is SSIMBaD, with" in first
    change_metrics(results, "regression", {"psnr": 10.0, "lpips": 30.0})
    text = findings_of(results, rows)
    assert "SSIMBaD, with refinement (" in text.splitlines()[2]
    assert "Where that may not hold" not in text


def change_metrics(results: Results, row: str, values: dict[str, float]) -> None:
    for path in results.metrics(row).glob("*.json"):
        entry = json.loads(path.read_text())
        for metric, value in values.items():
            entry["metrics"][metric]["value"] = value
        path.write_text(json.dumps(entry))


def test_findings_speak_of_calls_of_spread_and_of_convergence(results: Results) -> None:
    rows = ["ssimbad", "ssimbad_refined", "edm"]
    for row, calls, spread in (("ssimbad", 2, 9.0), ("edm", 10, 9.5), ("ssimbad_refined", 1, 0.5)):
        write_measurements(results, row)
        for path in results.metrics(row).glob("*.json"):
            entry = json.loads(path.read_text())
            infer = entry["provenance"]["infer"]
            infer |= {"network_calls": float(calls), "choice": {"metric": "lpips"}}
            infer["noise_spread"]["levels"] = spread
            path.write_text(json.dumps(entry))
    text = findings_of(results, rows, {"edm": 0.2, "ssimbad": 0.01})
    told = "| SSIMBaD, without refinement against EDM | 2 against 10 | **in this run** |"
    assert told in text
    told = "| SSIMBaD, with refinement against SSIMBaD, without refinement | 0.50 against 9.00 |"
    assert f"{told} **in this run** |" in text
    assert "Not converged: EDM (20%)." in text
    spacing = [x for x in text.splitlines() if x.startswith("| φ* helps over EDM's spacing |")]
    assert spacing
    assert all(line.endswith("| **not converged** |") for line in spacing)
    not_converged = text.splitlines()[4].split("**not converged**: ")[1].split(";")[0]
    assert "φ* helps over EDM's spacing" in not_converged


def test_the_first_five_lines_say_what_holds_and_primary_tests_show_their_p(
    results: Results,
) -> None:
    write_measurements(results, "ssimbad", rise=0.5, change=1 / 12)
    rows = [*ROWS, "ssimbad"]
    text = findings_of(results, rows)
    # LPIPS is better where it is lower, and lower without change of any image.
    assert "**in this run**: Refinement helps" in text.splitlines()[4]
    primary, others = (
        text.split(f"## {name} tests\n")[1].split("\n## ")[0] for name in ("Primary", "All other")
    )
    line = next(x for x in primary.splitlines() if x.startswith("| Refinement helps | "))
    assert line.endswith("| LPIPS ↓ | -0.5000 [-0.5000, -0.5000] | < 0.0001 | **in this run** |")
    found = read_runs({(row, 42): results.metrics(row) for row in rows})
    tests = claim_tests(rows, comparisons(found, 200, 0))
    for part, count in ((primary, 1 + len(rows)), (others, len(tests) - 1 - len(rows))):
        assert sum(line.endswith("** |") for line in part.splitlines()) == count


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
