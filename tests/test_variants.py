"""Variants of rows: what they share with their own row, what they train anew, and their table."""

import csv
import itertools
import shutil
from pathlib import Path

import pytest

from ssimbad.config.files import load, load_merged, write_merged
from ssimbad.config.schema import Config, validate
from ssimbad.config.yaml import dumped
from ssimbad.evaluation.compare import comparisons, read_runs, table
from ssimbad.files import read_json, sha256_file
from ssimbad.layout import Results
from ssimbad.methods import Run, rows, title_of
from ssimbad.phases import jobs
from ssimbad.phases.slices import phase_json
from ssimbad.report.ablations import write_ablations
from tests.conftest import REPOSITORY, run_cli, run_phase, tiny_values

VARIANTS: dict[str, dict] = {
    "guided": {
        name: {part: {"guidance": 2.5} for part in ("sampling", "refined_sampling")}
        for name in ("ssimbad", "edm", "animediffusion")
    },
    "few": {"ssimbad": {"few_steps": {"steps": 7}}},
    "structural": {"ssimbad": {"structural": 0.5}, "edm": {"structural": 0.5}},
    "mse": {"refine": {"strategy": {"mse": 1.0, "ssim": 0.0, "lpips-vgg": 0.0}}},
    "longer": {"refine": {"steps": 6}},
    "unrolled": {"ssimbad": {"refinement": {"steps": 3}}},
    "rate": {"train": {"lr": 0.5}, "scft": {"recipe": {"lr": 0.5}}},
    "wider": {"unet": {"width": 16}},
}


def config_of(named: list[str], **changes: object) -> Config:
    values = tiny_values()
    values["sweep"] |= {"rows": [], "choose_by": "config"}
    values["oracle"]["rows"] = []
    return validate(values | {"variants": VARIANTS, "rows": named} | changes)


@pytest.mark.parametrize(
    ("row", "training", "pretraining"),
    [
        ("ssimbad+guided@7", "ssimbad@7", "ssimbad@7"),
        ("ssimbad_refined+guided", "ssimbad_refined", "ssimbad"),
        ("ssimbad_few_steps+few", "ssimbad_refined", "ssimbad"),
        ("ssimbad_refined+mse@7", "ssimbad_refined+mse@7", "ssimbad@7"),
        ("ssimbad_few_steps+unrolled", "ssimbad_refined+unrolled", "ssimbad"),
        ("ssimbad_refined+structural", "ssimbad_refined+structural", "ssimbad+structural"),
        ("ssimbad_longer+longer", "ssimbad_longer+longer", "ssimbad"),
        ("regression+mse", "regression+mse", "regression+mse"),
        ("scft+rate", "scft+rate", "scft+rate"),
    ],
)
def test_a_variant_trains_what_it_changes_and_shares_the_rest(
    row: str, training: str, pretraining: str
) -> None:
    run = Run(row)
    config = config_of([run.base, run.row], seeds=[42, 7])
    assert (config.training_of(run), config.pretraining_of(run)) == (training, pretraining)
    assert {training, pretraining} <= {job for phase, job in jobs(config) if job}


@pytest.mark.parametrize(("row", "variant"), list(itertools.product(rows(), VARIANTS)))
def test_what_is_shared_is_read_alike(row: str, variant: str) -> None:
    """A checkpoint is only another row's where that row's training reads the same config."""
    run, config = Run(f"{row}+{variant}"), config_of(["reference"])
    if run.stage == "none":
        return
    for phase, own, taken in (
        (run.stage, run.trained, config.training_of(run)),
        ("train", run.pretrained, config.pretraining_of(run)),
    ):
        assert phase_json(config, phase, own) == phase_json(config, phase, taken)
    changed = phase_json(config, "infer", run) != phase_json(config, "infer", Run(row))
    assert not changed or config.changes(run)


def test_variants_change_nothing_for_other_rows() -> None:
    plain = config_of(["ssimbad", "ssimbad_refined"], variants={})
    config = config_of(["ssimbad", "ssimbad_refined", "ssimbad_refined+mse"])
    for phase, run in jobs(plain):
        assert phase_json(plain, phase, run) == phase_json(config, phase, run)
    added = [job for job in jobs(config) if job not in jobs(plain)]
    assert [f"{phase} {run}" for phase, run in added] == [
        f"{phase} ssimbad_refined+mse" for phase in ("refine", "infer", "evaluate")
    ]


@pytest.fixture(scope="module")
def ran(prepared: Results, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Results]:
    """A refined row with a variant of its sampling and one of its refinement, measured."""
    results = Results(tmp_path_factory.mktemp("variants"))
    for part in ("data", "phi"):
        shutil.copytree(prepared.root / part, results.root / part)
    named = ["ssimbad_refined", "ssimbad_refined+guided", "ssimbad_refined+mse"]
    config = config_of(named)
    for phase, run in jobs(config):
        if run is not None:
            run_phase(config.model_dump(mode="json"), phase, results, run)
    return config, results


@pytest.mark.workflow
def test_variants_go_on_from_their_rows_checkpoints(ran: tuple[Config, Results]) -> None:
    _, results = ran
    made = {
        row: read_json(results.images(row) / "infer.json")
        for row in ("ssimbad_refined", "ssimbad_refined+guided", "ssimbad_refined+mse")
    }
    plain, guided, mse = made.values()
    assert guided["checkpoint"] == plain["checkpoint"] != mse["checkpoint"]
    assert guided["sampling"] == plain["sampling"] | {"guidance": 2.5}
    assert mse["sampling"] == plain["sampling"]
    pretrained = sha256_file(results.checkpoint("ssimbad"))
    assert plain["header"]["pretrained"] == mse["header"]["pretrained"] == pretrained
    assert mse["header"]["row"] == "ssimbad_refined+mse"


@pytest.mark.workflow
def test_the_ablations_say_what_differs_and_by_how_much(ran: tuple[Config, Results]) -> None:
    config, results = ran
    found = read_runs({(r, 42): results.metrics(Run(r)) for r in config.rows}, config.settings)
    records, differences = table(found, 200, 0), comparisons(found, 200, 0)
    variants = {Run(row): config.changes(Run(row)) for row in config.rows if "+" in row}
    write_ablations(variants, records, differences, found, results)
    with (results.root / "ablations.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert {line["method"]: line["changes"] for line in lines} == {
        "ssimbad_refined+guided": "ssimbad.refined_sampling.guidance 1.5 → 2.5",
        "ssimbad_refined+mse": (
            "refine.strategy.ssim 0.1 → 0.0, refine.strategy.lpips-vgg 0.1 → 0.0"
        ),
    }
    for line in lines:
        own, other, difference = (
            float(line[key]) for key in ("value", "baseline_value", "difference")
        )
        assert own - other == pytest.approx(difference, abs=3e-6)
        assert (line["ci_low"] == "") == (line["metric"] in ("fid", "kid"))
    markdown = (results.root / "ablations.md").read_text().splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in markdown if "|" in line]
    heads = [(line[0], line[2]) for line in cells[2:]]
    own = (title_of("ssimbad_refined"), "+ guided", "+ mse")
    assert heads == [(name, setting) for setting in ("same", "cross_exact") for name in own]
    assert cells[3][4][0] in "+-"
    # Without variants there is no such table.
    assert write_ablations({}, records, differences, found, results) == ""
    assert not list(results.root.glob("ablations.*"))


def test_the_documents_variant_is_refined_from_its_rows_pretraining(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs/extend.md").read_text().split("\n## A variant of a row\n")[1]
    (tmp_path / "overlay.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    config = load([tmp_path / "overlay.yaml"])
    run = Run(config.rows[-1])
    assert (config.training_of(run), config.pretraining_of(run)) == (run, "ssimbad")
    assert config.under(run.variant).refine.strategy["lpips-vgg"] == 1
    assert {"refine.strategy.mse", "refine.strategy.lpips-vgg"} <= config.changes(run).keys()


def test_a_merged_config_of_before_there_were_variants_is_one(tmp_path: Path) -> None:
    values = tiny_values()
    assert values.pop("variants") == {}
    path = tmp_path / "config.yaml"
    path.write_text(dumped(values))
    assert load([path]) == load_merged(path) == validate(tiny_values())
    write_merged(load([path]), path)
    assert "variants: {}" in path.read_text()


def test_a_run_says_whose_variant_it_is_and_of_which_seed() -> None:
    run = Run("edm+guided@7")
    assert (run.row, run.base, run.variant, run.seed) == ("edm+guided", "edm", "guided", 7)
    assert (run.plain, run.method, run.stage) == ("edm@7", "edm", "train")
    assert title_of(run.row) == f"{title_of('edm')} + guided"


@pytest.mark.parametrize("row", ["ssimbad+magic", "ssimbad+magic@7"])
def test_a_variant_that_is_not_there_is_one_line(row: str) -> None:
    done = run_cli("infer", row)
    assert done.returncode == 1
    assert done.stderr == "ssimbad: infer: no variant 'magic': variants are none\n"
