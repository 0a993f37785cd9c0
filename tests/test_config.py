"""The config: one line a fault, and phases that read only their own."""

import copy
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from ssimbad.config.files import load, values_of
from ssimbad.config.schema import describe, json_schema, validate
from ssimbad.config.yaml import dumped, parse
from ssimbad.errors import UserError
from ssimbad.methods import Run
from ssimbad.phases.slices import PhaseConfig, phase_json
from tests.conftest import REPOSITORY, run_cli, tiny_values

STYLE = {"weight": 1.0, "scale": 1.0, "translate_x": 0.0, "translate_y": 0.0}


def faults(values: dict) -> list[str]:
    with pytest.raises(UserError) as caught:
        validate(values)
    return str(caught.value).splitlines()


def changed(path: str, value: object) -> dict:
    values = copy.deepcopy(tiny_values())
    *parents, last = path.split(".")
    section = values
    for parent in parents:
        section = section.setdefault(parent, {})
    section[last] = value
    return values


def test_every_config_file_is_valid_and_names_its_own_folder() -> None:
    folders = {load([]).results}
    for path in sorted((REPOSITORY / "config").glob("*.yaml")):
        folder = load([path]).results
        assert folder not in folders, path
        folders.add(folder)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("phi.sigma_max", -1.0, "greater than 0"),
        ("phi.sigma_max", 0.001, "sigma_min (0.002) must be below sigma_max (0.001)"),
        ("phi.choice", "sigma/(sigma+x)", "must be auto"),
        ("train.steps", "many", "valid integer"),
        ("train.steps", 0, "one of steps (0), epochs (0), images (0) must be above 0"),
        (
            "train.epochs",
            3,
            "one of steps (8), epochs (3), images (0) must be above 0, the others 0",
        ),
        ("train.schedule", "cosine-counted-twice", "needs epochs to count"),
        ("train.choose_by", "luck", "'validation' or 'last_batch'"),
        ("train.steps", 1.5, "valid integer"),
        ("train.lr", float("nan"), "finite"),
        ("train.lr", True, "valid number"),
        ("train.batch", None, "valid integer"),
        ("refine.strategy.ssimm", 1.0, "'mse', 'lpips-vgg', 'ssim' or 'clip'"),
        ("refine.strategy.ssim", -1.0, "greater than or equal to 0"),
        ("refine.strategy", {"mse": 0.0}, "at least one strategy"),
        ("train.optimizer", "sgd", "'adamw' or 'muon'"),
        ("animediffusion.sampling.eta", 2.0, "less than or equal to 1"),
        ("sweep.rows", ["scft"], "'scft' has no number of sampling steps to vary"),
        ("sweep.rows", ["edm", "ssimbad", "edm"], "row 'edm' stands twice"),
        ("oracle.rows", ["ssimbad", "ssimbad"], "row 'ssimbad' stands twice"),
        ("sweep.vary.sigma_max", [10.0, 99.0], "(99.0) must be 0, or above phi.sigma_min (0.002)"),
        ("ssimbad.sampling.sigma_max", 99.0, "at most phi.sigma_max (80.0)"),
        ("sweep.choose_by", "fid", "'config', 'psnr', 'ms_ssim' or 'lpips'"),
        ("sweep.vary.etas", [1.0], "'etas' is no key of how a method samples"),
        (
            "sweep.vary.eta",
            [2.0],
            "eta: 2.0: input should be less than or equal to 1 (animediffusion)",
        ),
        ("sweep.vary.guidance", ["much"], 'guidance: "much": input should be a valid number'),
        ("oracle.rows", ["animediffusion"], "'animediffusion' is no denoiser"),
        ("seeds", [1, 1], "different numbers"),
        ("lr_factors.edm", 0.0, "greater than 0"),
        ("lr_factors", {"ssimbad_few_steps": 2.0}, "no row 'ssimbad_few_steps' is trained"),
        ("lr_factors", {"fill": 2.0}, "no row 'fill' is trained: rows are animediffusion"),
        ("scft.recipe.optimizer", "muon", "no such key"),
        ("scft.trunk", "resnet", "'auto', 'vgg16' or 'vgg19'"),
        ("refine.nonsense", 1, "1: no such key: keys here are steps, epochs, images, batch"),
        ("ssimbad.sampling.spacing", "cube(sigma)", "must be own, sigma, ln(sigma)"),
        ("oracle.gradient", "none", "'network' or 'step'"),
        ("ssimbad.sampling.step", 3, "keys here are sampler, steps"),
        ("unet.width", 6, "multiple of"),
        ("unet.groups", 3, "multiple of"),
        ("data.size", 33, "multiple of 8"),
        ("data.size", 24, "greater than or equal to 32"),
        ("data.faces.styles", {"no-style": STYLE}, "no style 'no-style': styles are adventurer"),
        ("data.faces.styles", {"bottts": STYLE}, "'bottts' has the licence 'Free for personal and"),
        ("data.faces.styles", {"micah": STYLE | {"weight": 0.0}}, "at least one style"),
        ("data.faces.styles", {}, "at least one style"),
        ("data.faces.styles.adventurer.weight", -1.0, "greater than or equal to 0"),
        ("data.faces.styles.adventurer.x", 1.0, "no such key: keys here are weight, scale"),
        ("device", "tpu", "auto|cpu|cuda"),
        ("rows", ["ssimbad", "magic"], "no row 'magic'"),
        ("rows", ["ssimbad", "ssimbad"], "stands twice"),
        ("ssimbad.sampling.sampler", "ddim", "'euler', 'heun' or 'dpmpp_2m'"),
        ("ssimbad.weighting", "snr", "'none' or 'edm'"),
        ("nonsense", {"a": 1}, "no such key"),
    ],
)
def test_a_wrong_value_is_one_line_with_path_and_what_is_allowed(
    path: str, value: object, told: str
) -> None:
    (line,) = faults(changed(path, value))
    assert told in line
    # Faults between keys name the section, and in their text the keys.
    assert line.startswith((f"config: {path}", f"config: {path.rsplit('.', 1)[0]}: "))
    assert path.rsplit(".", 1)[-1] in line


def test_the_size_must_suit_the_networks_levels() -> None:
    values = changed("data.size", 40)
    values["unet"]["multipliers"] = [1, 1, 1, 1, 1]
    assert faults(values) == [
        "config: data.size (40) must be a multiple of 16, as unet.multipliers has 5 levels"
    ]


def test_processes_must_share_batches_evenly_and_have_a_gpu_each() -> None:
    values = changed("devices", 3)
    assert faults(values) == ["config: train.batch (4) must be a multiple of devices × nodes (3)"]
    values |= {"devices": 2, "device": "cuda:1"}
    (line,) = faults(values)
    assert line.startswith("config: device (cuda:1) names one GPU: with 2 processes")


def test_missing_keys_and_several_faults_are_all_told() -> None:
    values = changed("train.steps", -1)
    del values["seed"]
    del values["ssimbad"]["sampling"]
    assert sorted(line.split(":")[1].strip() for line in faults(values)) == [
        "seed",
        "ssimbad.sampling",
        "train.steps",
    ]


def test_overlays_say_only_what_differs(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("results: x\ntrain: {steps: 7}\n")
    (tmp_path / "b.yaml").write_text("train: {batch: 3}\n")
    loaded = load([tmp_path / "a.yaml", tmp_path / "b.yaml"])
    base = load([])
    assert (loaded.results, loaded.train.steps, loaded.train.batch) == ("x", 7, 3)
    assert loaded.train.lr == base.train.lr
    assert loaded.phi == base.phi


def test_an_overlay_extends_another_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.yaml").write_text("results: x\ntrain: {steps: 7}\n")
    (tmp_path / "deep/b.yaml").write_text("extends: ../a.yaml\ntrain: {batch: 3}\n")
    loaded = load([tmp_path / "deep/b.yaml"], {"extends": "../a.yaml", "results": "y"})
    assert (loaded.results, loaded.train.steps, loaded.train.batch) == ("y", 7, 3)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("b.yaml", "b.yaml: no such file"),
        ("a.yaml", "a.yaml: extends: leads back to itself"),
        ("[b.yaml]", "a.yaml: extends: must be the name of a file"),
    ],
)
def test_an_overlay_that_extends_nothing(tmp_path: Path, value: str, told: str) -> None:
    (tmp_path / "a.yaml").write_text(f"extends: {value}\n")
    with pytest.raises(UserError, match=told) as caught:
        load([tmp_path / "a.yaml"])
    assert "\n" not in str(caught.value)


def test_epochs_are_the_unit_of_warm_up_and_checkpoints() -> None:
    values = tiny_values()
    values["train"] |= {"steps": 0, "epochs": 3, "warmup": 1, "checkpoint_every": 4}
    (line,) = faults(values)
    assert line == (
        "config: train: warmup (1) and checkpoint_every (4) are counted in epochs here,"
        " of which there are 3"
    )


def test_without_validation_images_nothing_is_chosen_by_them() -> None:
    values = tiny_values()
    values["data"]["source"] = "folder"
    values["data"]["folder"]["validation"] = 0.0
    (line,) = faults(values)
    assert "data.folder.validation (0) leaves no images to validate with" in line
    for recipe in (values["train"], values["refine"], values["scft"]["recipe"]):
        recipe["choose_by"] = "last_batch"
    (line,) = faults(values)
    assert line.endswith("leaves no images to validate with, as sweep.rows needs")
    values["sweep"]["rows"] = []
    assert validate(values).data.folder.validation == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [(b"a: [", "not valid YAML"), (b"- 1\n", "keys and values"), (b"a: \xff", "not readable")],
)
def test_files_that_are_no_config(tmp_path: Path, text: bytes, told: str) -> None:
    (tmp_path / "a.yaml").write_bytes(text)
    with pytest.raises(UserError, match=told) as caught:
        load([tmp_path / "a.yaml"])
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "a.yaml") in str(caught.value)


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        (("ssimbad.sampling.steps", 9), {"sweep", "infer", "report"}),
        (("ssimbad.refinement.steps", 9), {"refine", "report"}),
        (("ssimbad.structural", 0.5), {"train", "sweep", "infer", "report"}),
        (("phi.points", 9), {"phi", "report"}),
        (("devices", 2), {"train", "refine", "sweep", "infer", "report"}),
        (("device", "cpu"), {"phi", "train", "refine", "sweep", "infer", "evaluate", "report"}),
        (("compile", True), {"train", "refine", "sweep", "infer", "report"}),
        (("evaluate.resamples", 999), {"evaluate", "report"}),
        (("rows", ["reference"]), {"report"}),
        (("sweep.calls", 99), {"sweep", "infer", "report"}),
        (("sweep.choose_by", "config"), {"sweep", "infer", "report"}),
        (("sweep.rows", []), {"infer", "report"}),
        (("results", "elsewhere"), {"report"}),
        (("lr_factors", {"ssimbad": 2.0}), {"train", "sweep", "infer", "report"}),
        (("lr_factors", {"ssimbad_refined": 2.0}), {"refine", "report"}),
        (("lr_factors", {}), set()),
    ],
)
def test_a_change_touches_the_phases_that_read_it(change: tuple, touched: set) -> None:
    before, after = (validate(v) for v in (tiny_values(), changed(*change)))
    found = set()
    for phase in ("data", "phi", "train", "refine", "sweep", "infer", "evaluate", "report"):
        row = {"data": None, "phi": None, "report": None, "refine": "ssimbad_refined"}
        chosen = row.get(phase, "ssimbad") and Run(row.get(phase, "ssimbad"))
        if phase_json(before, phase, chosen) != phase_json(after, phase, chosen):
            found.add(phase)
    assert found == touched


def test_a_factor_is_on_the_rates_of_its_rows_own_stage() -> None:
    def rates(row: str, stage: str, factors: dict[str, float]) -> list[float]:
        given = changed("lr_factors", factors) | {"variants": {"deep": {"unet": {"blocks": 2}}}}
        schedule = getattr(PhaseConfig(validate(given), stage, Run(row)), stage)
        return [schedule.lr, getattr(schedule, "muon_lr", 0.0)]

    base = validate(tiny_values())
    train, refine = ([s.lr, s.muon_lr] for s in (base.train, base.refine))
    factors = {"ssimbad": 2.0, "ssimbad_longer": 0.5, "edm_refined": 4.0, "scft": 3.0}
    assert rates("ssimbad", "train", factors) == [2 * rate for rate in train]
    assert rates("ssimbad@7", "train", factors) == [2 * rate for rate in train]
    assert rates("ssimbad+deep", "train", factors) == [2 * rate for rate in train]
    assert rates("ssimbad_longer", "refine", factors) == [rate / 2 for rate in train]
    assert rates("ssimbad_refined", "refine", factors) == refine
    assert rates("edm_refined", "refine", factors) == [4 * rate for rate in refine]
    assert rates("scft", "train", factors) == [3 * base.scft.recipe.lr, 0.0]


def test_a_phase_holds_what_it_reads_and_nothing_else() -> None:
    loaded = validate(tiny_values())
    phase = PhaseConfig(loaded, "infer", Run("ssimbad"))
    assert phase.infer == loaded.infer
    assert phase.method == loaded.ssimbad.sampling
    with pytest.raises(AttributeError):
        phase.train  # noqa: B018


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", "0.0001", "1e-04"])
def test_a_number_is_one_wherever_it_is_written(tmp_path: Path, text: str) -> None:
    """YAML 1.2, as `dvc exp run -S` writes it; to YAML 1.1 most of these are text."""
    path = tmp_path / "a.yaml"
    path.write_text(f"train: {{lr: {text}}}\n")
    assert load([path]).train.lr == 1e-4
    given = values_of([f"train={{lr: {text}}}", "seed=7", "train={min_lr: 1e-9}"])
    assert (
        load([], given).train.model_dump() | {"lr": 1e-4, "min_lr": 1e-9}
        == load([], given).train.model_dump()
    )


@pytest.mark.parametrize("name", ["2026-01-01", "no", "12:30", "on"])
def test_text_is_text(name: str) -> None:
    assert load([], values_of([f"results={name}"])).results == name


def test_a_merged_config_is_read_alike_by_old_and_new_yaml() -> None:
    values = load([], {"train": {"lr": 1e-5, "min_lr": 1e-22}}).model_dump(mode="json")
    text = dumped(values)
    assert parse(text) == yaml.safe_load(text) == values


def test_what_is_no_key_and_value_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^--config: seed: must be KEY=VALUE$"):
        values_of(["seed"])


def test_editors_schema_takes_every_config_and_refuses_what_the_config_refuses() -> None:
    said = json.loads((REPOSITORY / "config/schema.json").read_text())
    assert said == json_schema(), "ssimbad config --schema > config/schema.json"
    schema = jsonschema.Draft202012Validator(said)
    files = [REPOSITORY / "config.yaml", *(REPOSITORY / "config").glob("*.yaml")]
    for path in files:
        text = path.read_text()
        schema.validate(parse(text))
        (named,) = re.findall(r"^# yaml-language-server: \$schema=(\S+)$", text, re.M)
        assert (path.parent / named).resolve() == REPOSITORY / "config/schema.json"
    for wrong in ({"tran": {}}, {"train": {"batch": 0}}, {"rows": "ssimbad"}, {"extends": 1}):
        assert not schema.is_valid(wrong)


def test_describe_explains_every_key() -> None:
    lines = describe().splitlines()
    # Entries whose names are the user's are told once, for all names.
    told = {line.split(":")[0].replace("styles.*", "styles.adventurer") for line in lines}

    def keys(values: dict, prefix: str = "") -> set[str]:
        found = set()
        for key, value in values.items():
            found.add(prefix + key)
            if isinstance(value, dict):
                found |= keys(value, f"{prefix}{key}.")
        return found

    # The strategies' weights are one value, explained as such, and so are the keys that the sweep varies.
    free = ("refine.strategy.", "sweep.vary.")
    # Factors on rates are left out of a merged config that has none.
    known = keys(tiny_values() | {"lr_factors": {}})
    assert told == {k for k in known if not k.startswith(free)}
    assert not any(" None " in line for line in lines)


def test_the_command_line_tells_faults_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("phi: {points: 0}\n")
    done = run_cli("config", "--config", str(tmp_path / "a.yaml"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{tmp_path / 'a.yaml'}: phi.points: 0: " in done.stderr
    shown = run_cli("config", "--config", "config/tiny.yaml")
    assert yaml.safe_load(shown.stdout) == tiny_values()
    unknown = run_cli("train", "ssimbad_refined", "--config", "config/tiny.yaml")
    assert unknown.returncode == 1
    assert "no row 'ssimbad_refined'" in unknown.stderr
    assert "Traceback" not in unknown.stderr


@pytest.mark.parametrize(
    ("phase", "row"),
    [("sweep", "scft"), ("oracle", "animediffusion"), ("train", "edm_refined"), ("infer", "x@1")],
)
def test_a_row_a_phase_is_not_for_is_one_line(phase: str, row: str) -> None:
    done = run_cli(phase, row)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"ssimbad: {phase}: no row {row!r}: rows are ")
