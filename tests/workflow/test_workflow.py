"""The real workflow with config/tiny.yaml: what it leaves, and what a change reruns."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssimbad.config.files import load_merged
from ssimbad.data.store import Split, read_pairs
from ssimbad.evaluation.metrics import METRICS, against, of_images
from ssimbad.files import sha256_file
from ssimbad.layout import Results
from ssimbad.paper import CLAIMS
from ssimbad.phases import jobs
from ssimbad.report.figures import FIGURES
from ssimbad.settings import SETTINGS
from ssimbad.training.checkpoint import read_header
from tests.conftest import REPOSITORY, picture
from tests.workflow.conftest import ROWS, planned, planned_jobs, snakemake


def test_table(finished: Results) -> None:
    with (finished.root / "table.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    found = {(x["method"], x["setting"], x["metric"]): x for x in lines}
    assert {key[0] for key in found} == set(ROWS)
    assert len(found) == len(ROWS) * 3 * len(METRICS)
    for (row, _, metric), line in found.items():
        if METRICS[metric].of == "set":
            assert (line["value"] == "") == (row == "reference")
        else:
            assert float(line["ci_low"]) <= float(line["value"]) <= float(line["ci_high"])
        assert line["n"] == "6"
    for ending in ("md", "tex", "html"):
        assert "SSIMBaD, with refinement" in (finished.root / f"table.{ending}").read_text()


def test_images_are_there_for_every_test_image(finished: Results) -> None:
    names = Split(finished.data, "test").names
    for row in ROWS:
        for setting in ("same", "cross"):
            for name in names:
                with Image.open(finished.images(row) / setting / f"{name}.png") as image:
                    assert image.size == (32, 32)


def test_figures_show_something(finished: Results) -> None:
    figures = {path.stem for path in finished.figures.glob("*.png")}
    assert figures == set(FIGURES)
    for path in finished.figures.glob("*.png"):
        with Image.open(path) as image:
            assert np.asarray(image.convert("L")).std() > 10, path


def test_the_chosen_phi_is_the_one_in_the_checkpoints(finished: Results) -> None:
    chosen = json.loads((finished.phi / "phi.json").read_text())
    with (finished.phi / "ranking.csv").open() as stream:
        ranking = list(csv.DictReader(stream))
    assert list(ranking[0]) == ["phi", "c", "r2"]
    assert len(ranking) == 23
    assert (ranking[0]["phi"], float(ranking[0]["c"])) == (
        chosen["name"],
        pytest.approx(chosen["c"], rel=1e-5),
    )
    for row in ROWS[2:]:
        header = read_header(finished.checkpoint(row))
        assert header["phi"].items() <= chosen.items()


def test_numbers_lead_back_to_what_made_them(finished: Results) -> None:
    found = json.loads((finished.metrics("ssimbad_refined") / "cross.json").read_text())
    origin = found["provenance"]
    assert origin["infer"]["checkpoint"] == sha256_file(finished.checkpoint("ssimbad_refined"))
    assert origin["data"] == sha256_file(finished.data / "manifest.json")
    header = origin["infer"]["header"]
    assert header["pretrained"] == sha256_file(finished.checkpoint("ssimbad"))
    pairs = read_pairs(finished.data)
    assert len(found["per_image"]) == 6
    assert all(x["reference"] == pairs[name] for name, x in found["per_image"].items())


def test_findings_give_a_verdict_on_every_claim(finished: Results) -> None:
    text = (finished.root / "findings.md").read_text()
    assert "Not tested" not in text
    verdicts = re.findall(r"\*\*([\w ]+)\*\* \|$", text, re.M)
    # One seed supports nothing.
    assert set(verdicts) <= {"in this run", "not in this run", "undecided", "not converged"}
    between_rows = len(CLAIMS) * len(SETTINGS) * len(of_images())
    between_settings = len(ROWS) * 2 * len(against("truth"))
    calls, spreads = 2, 3  # pairs of rows that are swept, and that are refined
    assert len(verdicts) == between_rows + between_settings + calls + spreads
    primary = text.split("## Primary tests\n")[1].split("\n## ")[0]
    assert primary.count("** |\n") == len(CLAIMS) + len(ROWS)
    with (finished.root / "comparisons.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    with (finished.root / "table.csv").open() as stream:
        values = {(x["method"], x["setting"], x["metric"]): x for x in csv.DictReader(stream)}
    for line in lines:
        settings = line["setting"].split(" - ")
        own = values[line["method"], settings[0], line["metric"]]
        other = values[line["baseline"], settings[-1], line["metric"]]
        difference = float(own["value"]) - float(other["value"])
        assert float(line["difference"]) == pytest.approx(difference, abs=3e-6)
        assert float(line["ci_low"]) <= float(line["difference"]) <= float(line["ci_high"])


def test_systems_state_what_each_row_took(finished: Results) -> None:
    with (finished.root / "systems.csv").open() as stream:
        found = {line.pop("method"): line for line in csv.DictReader(stream)}
    assert list(found) == list(ROWS)
    numbers = {row: [float(v) for v in list(line.values())[:4]] for row, line in found.items()}
    assert numbers["reference"] == [0, 0, 0, 0]
    assert numbers["ssimbad"][1:] == [8, 32, 32]
    assert numbers["ssimbad_refined"][1:] == [12, 48, 32 + 4 * 4 * 2]
    assert numbers["edm_refined"][1:] == [12, 48, 64]
    assert numbers["animediffusion"][1:] == [8, 32, 32]
    assert numbers["scft"][1:] == [4, 16, 16]
    assert numbers["fill"] == [0, 0, 0, 0]
    assert numbers["regression"][1:] == [16, 64, 64]
    assert numbers["ssimbad_longer"][1:] == [16, 64, 64]
    seconds = {row: float(line["training_seconds"]) for row, line in found.items()}
    assert seconds["fill"] == 0 < seconds["ssimbad"] < seconds["ssimbad_refined"]
    calls = {row: float(line["network_calls"]) for row, line in found.items()}
    assert (calls["reference"], calls["scft"]) == (0, 1)
    assert calls["edm_refined"] == 4  # as its section says, guided: two calls a step
    assert calls["regression"] == 1
    assert all(0 < float(line["seconds_per_image"]) < 5 for line in found.values())
    unets = {numbers[row][0] for row in ROWS if numbers[row][0] and row != "scft"}
    assert len(unets) == 2  # with an image to denoise among the inputs, and without
    # What a row without noise makes does not depend on it.
    spreads = {row: float(line["noise_spread"]) for row, line in found.items()}
    assert spreads["reference"] == spreads["scft"] == spreads["fill"] == 0
    assert spreads["ssimbad"] > 0
    assert found["ssimbad"]["loss_networks"] == ""
    assert found["ssimbad_refined"]["loss_networks"] == "vgg16"
    assert found["scft"]["loss_networks"] in ("vgg16", "vgg19")


def test_swept_rows_sample_as_validation_images_chose(finished: Results) -> None:
    with (finished.root / "systems.csv").open() as stream:
        systems = {line["method"]: line for line in csv.DictReader(stream)}
    swept = load_merged(finished.config).swept_rows
    assert 0 < len(swept) < len(ROWS)
    for row in swept:
        choice = json.loads(finished.choice(row).read_text())
        assert (choice["split"], choice["images"]) == ("validation", 2)
        with (finished.sweep / f"{row}.csv").open() as stream:
            tried = list(csv.DictReader(stream))
        assert {line["setting"] for line in tried} == set(choice["settings"])
        (calls,) = {float(line["network_calls"]) for line in tried if line["chosen"] == "1"}
        infer = json.loads((finished.images(row) / "infer.json").read_text())
        assert infer["sampling"] == choice["sampling"]
        assert infer["choice"] == choice
        assert infer["network_calls"] == calls == choice["network_calls"]
        assert float(systems[row]["network_calls"]) == calls
        assert systems[row]["chosen_by"] == "lpips"
        assert str(choice["sampling"]["steps"]) in systems[row]["sampling"]
    assert {line["method"] for line in systems.values() if line["chosen_by"]} == set(swept)
    with (finished.root / "common_calls.csv").open() as stream:
        common = list(csv.DictReader(stream))
    assert {line["method"] for line in common} == set(swept)
    assert {line["network_calls"] for line in common} == {"2"}
    assert "validation images" in (finished.root / "index.html").read_text()


def test_the_oracle_stays_out_of_the_table(finished: Results) -> None:
    with (finished.root / "oracle.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert {line["guide"] for line in lines} == {"ssim"}
    assert {(x["method"], x["setting"]) for x in lines} == {
        ("ssimbad_refined", "same"),
        ("ssimbad_refined", "cross"),
    }
    with (finished.root / "table.csv").open() as stream:
        table = {(x["method"], x["setting"], x["metric"]): x for x in csv.DictReader(stream)}
    for line in lines:
        own = table[line["method"], line["setting"], line["metric"]]["value"]
        assert line["value"] != own or not METRICS[line["metric"]].main


def test_a_second_run_has_nothing_to_do(finished: Results) -> None:
    done = snakemake(finished.root)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("overlay", "rerun"),
    [
        (
            "ssimbad: {refinement: {steps: 3}}",
            {
                *(
                    (p, "ssimbad_refined")
                    for p in ("refine", "sweep", "infer", "evaluate", "oracle")
                ),
                # What takes as many network passes.
                *((p, "regression") for p in ("train", "infer", "evaluate")),
                *((p, "ssimbad_longer") for p in ("refine", "infer", "evaluate")),
            },
        ),
        ("phi: {choice: atan(sigma)}", None),
        ("rows: [reference]", set()),
    ],
)
def test_a_change_reruns_what_reads_it(
    finished: Results, overlay: str, rerun: set[tuple[str, str]] | None
) -> None:
    """Which phases read a key, tests/test_config.py says of many more."""
    planned = planned_jobs(snakemake(finished.root, "-n", overlay=overlay))
    if rerun is None:
        untrained = {(p, row) for p in ("infer", "evaluate") for row in ("reference", "fill")}
        copied = {("data", ""), *untrained}
        every = {(rule, run or "") for rule, run in jobs(load_merged(finished.config))}
        rerun = every - copied
    assert planned == rerun | {("report", "")}


def state_of(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file but Snakemake's own."""
    files = (p for p in root.rglob("*") if p.is_file() and ".snakemake" not in p.parts)
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in files}


def test_what_only_looks_changes_nothing(project: Path, finished: Results) -> None:
    (project / ".snakemake/locks").mkdir(exist_ok=True)
    before = state_of(project)
    config = ["--configfile", "results.overlay.yaml"]
    for looks in (["-n", "--forceall"], ["--lint"], ["--rulegraph"], ["--list"]):
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *looks, *config], capture_output=True, text=True
        )
        assert done.returncode == 0 or looks == ["--lint"], done.stderr
        assert state_of(project) == before, looks


def test_a_shown_command_is_one_that_a_person_can_type(project: Path, finished: Results) -> None:
    """And gives the same results again."""
    done = snakemake(finished.root, "-n", "-p", "--forcerun", "evaluate")
    shown = re.findall(r"(ssimbad \w+.*?) 2> >", done.stdout + done.stderr)
    command = next(line for line in shown if line.startswith("ssimbad evaluate reference "))
    assert command == "ssimbad evaluate reference --config results/config.yaml"
    measured = finished.metrics("reference") / "cross.json"
    before, text = state_of(finished.metrics("reference")), measured.read_text()
    again = subprocess.run([sys.executable, "-m", *command.split()], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert json.loads(measured.read_text())["metrics"] == json.loads(text)["metrics"]
    # The time it took differs, and is noted: only the report is asked for again.
    assert planned(snakemake(finished.root, "-n")) == {"report"}
    snakemake(finished.root)
    assert before.keys() == state_of(finished.metrics("reference")).keys()


def test_the_workflow_runs_from_another_folder_and_as_a_module(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "Snakefile").write_text(
        f"module paper:\n    snakefile: '{project}/Snakefile'\n"
        "    config: {'results': 'out', 'data': {'size': 32}, 'phi': {'size': 32}}\n"
        "use rule * from paper as paper_*\n"
    )
    tiny = f"{project}/config/tiny.yaml"
    elsewhere = ["-s", f"{project}/Snakefile", "--directory", str(tmp_path), "--configfile", tiny]
    for arguments, results in ([], "out"), (elsewhere, "results-tiny"):
        command = [sys.executable, "-m", "snakemake", "--cores", "1", f"{results}/data/pairs.csv"]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / results / "data/pairs.csv").exists()


def test_a_touched_module_reruns_nothing_an_edited_one_its_phases(
    project: Path, finished: Results
) -> None:
    module = project / "src/ssimbad/paper.py"
    module.touch()
    assert planned(snakemake(finished.root, "-n")) == set()
    for part in (module, project / "src/ssimbad/report/templates/page.css"):
        before, times = part.read_text(), part.stat()
        part.write_text(before + "# edited\n")
        assert planned(snakemake(finished.root, "-n")) == {"report"}
        part.write_text(before)
        os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))


NEW = """from ssimbad.methods.declaration import Declaration, Row

METHOD = Declaration(rows={"new": Row("New", "none")})
"""


def test_a_methods_module_is_no_other_methods_business(project: Path, finished: Results) -> None:
    methods = project / "src/ssimbad/methods"
    (methods / "new").mkdir()
    (methods / "new/__init__.py").write_text(NEW)
    # The report alone shows what methods declare.
    assert planned(snakemake(finished.root, "-n")) == {"report"}
    shutil.rmtree(methods / "new")
    module = methods / "edm/model.py"
    before, times = module.read_text(), module.stat()
    module.write_text(before + "# edited\n")
    jobs = planned_jobs(snakemake(finished.root, "-n"))
    assert {run for _, run in jobs if run} == {"edm", "edm_refined"}
    assert ("train", "edm") in jobs
    module.write_text(before)
    os.utime(module, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_wrong_config_is_one_line_before_any_work(tmp_path: Path) -> None:
    done = snakemake(tmp_path / "results", overlay="train: {lr: -1.0}")
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if "train.lr" in line]
    overlay = tmp_path / "results.overlay.yaml"
    assert told == [f"snakemake: {overlay}: train.lr: -1.0: input should be greater than 0"]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_the_users_own_images_go_through_the_same_workflow(tmp_path: Path) -> None:
    images = tmp_path / "my images"
    images.mkdir()
    for i in range(16):
        picture(i, 40 + i, 60).save(images / f"pïcture {i}.png")
    overlay = (
        f"data: {{source: folder, folder: {{path: '{images}'}}}}\nrows: [reference, ssimbad]\n"
        "sweep: {rows: []}\noracle: {rows: []}\n"
    )
    done = snakemake(tmp_path / "results", overlay=overlay)
    assert done.returncode == 0, done.stderr
    results = Results(tmp_path / "results")
    assert len(list((results.images("ssimbad") / "cross").glob("pïcture *.png"))) == 2
    assert (results.root / "table.csv").exists()
    assert planned(snakemake(tmp_path / "results", "-n", overlay=overlay)) == set()
    picture(99).save(images / "one more.png")
    assert "data" in planned(snakemake(tmp_path / "results", "-n", overlay=overlay))


def extend(project: Path, document: str) -> str:
    """Do to the project what a page of docs/ says: its files, and what stands at their end or in config.yaml.

    Returns:
        The page.
    """
    text = (REPOSITORY / "docs" / document).read_text()
    block = r"```python\n(.*?)```"
    for path, module in re.findall(rf"^`(src/\S+)`:\n\n{block}", text, re.M | re.S):
        (project / path).parent.mkdir(exist_ok=True)
        (project / path).write_text(module)
    for path, lines in re.findall(rf"[Aa]t the end of `(src/\S+)`:\n\n{block}", text, re.S):
        with (project / path).open("a") as stream:
            stream.write(f"\n\n{lines}")
    config = (project / "config.yaml").read_text()
    for section in re.findall(r"```yaml\n(.*?)```", text, re.S):
        if section.startswith("  "):  # below the line `data:`
            config = config.replace("\ndata:\n", f"\ndata:\n{section}")
        elif not section.startswith("rows:"):
            config += f"\n{section}"
    (project / "config.yaml").write_text(config)
    return text


def test_what_the_documents_add_is_found_everywhere(extended: Path) -> None:
    """A method; then a metric, a figure, a setting and a source of a few lines each."""
    (rows,) = re.findall(r"^rows: .*\n", extend(extended, "add-a-method.md"), re.M)
    own = {("train", "correction"), ("infer", "correction"), ("evaluate", "correction")}
    # What other rows have is kept.
    assert planned_jobs(snakemake(extended / "results", "-n", overlay=rows)) == own | {
        ("report", "")
    }
    extend(extended, "extend.md")
    results = extended / "results-extended"
    overlay = (
        "rows: [reference, correction]\nsweep: {rows: []}\noracle: {rows: []}\n"
        "data: {source: stripes, stripes: {train: 24, validation: 4, test: 6}}\n"
    )
    done = snakemake(results, overlay=overlay)
    assert done.returncode == 0, done.stderr
    with (results / "table.csv").open() as stream:
        found = {(x["method"], x["setting"], x["metric"]) for x in csv.DictReader(stream)}
    assert {("correction", "one", "mae"), ("reference", "same", "mae")} <= found
    with (results / "systems.csv").open() as stream:
        systems = {line["method"]: line for line in csv.DictReader(stream)}
    assert float(systems["correction"]["network_calls"]) == 1
    page, findings = (results / "index.html").read_text(), (results / "findings.md").read_text()
    assert "Corrected reference" in page
    assert "MAE" in findings
    for figure in ("fidelity_and_palette", "qualitative_one"):
        assert f"figures/{figure}.png" in page
        assert (results / f"figures/{figure}.png").stat().st_size > 5000
    manifest = json.loads((results / "data/manifest.json").read_text())
    assert manifest["source"] == "stripes"
    assert (results / "images/correction/one").is_dir()
