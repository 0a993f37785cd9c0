"""Checkpoints, configs, weights and training that are at fault: the second table of docs/bad-input.md."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from ssimbad.config.files import load, values_of
from ssimbad.config.schema import validate
from ssimbad.dvc_adoption import adopt, check_adopted
from ssimbad.errors import UserError
from ssimbad.files import write_json
from ssimbad.layout import Results
from ssimbad.methods import Run
from ssimbad.phases.slices import phase_json
from ssimbad.training import checkpoint
from ssimbad.verify import verify
from tests.conftest import REPOSITORY, config_file, run_phase, table_of, tiny_values


def short_values() -> dict:
    """The tiny config, trained for two steps."""
    values = tiny_values()
    values["train"] |= {"steps": 2, "checkpoint_every": 1, "warmup": 0}
    values["sweep"]["rows"] = []  # infer would wait for what a sweep chooses
    return values


@pytest.fixture(scope="module")
def trained(prepared: Results, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A run with trained checkpoints of ssimbad and edm. Tests copy it."""
    results = Results(tmp_path_factory.mktemp("trained"))
    for part in ("data", "phi"):
        shutil.copytree(prepared.root / part, results.root / part)
    for row in ("ssimbad", "edm"):
        run_phase(short_values(), "train", results, row)
    return results


@pytest.fixture
def results(trained: Results, tmp_path: Path) -> Results:
    shutil.copytree(trained.root, tmp_path / "results")
    return Results(tmp_path / "results")


def infer(results: Results, change: Callable[[dict], object] = lambda values: None) -> None:
    values = short_values()
    change(values)
    run_phase(values, "infer", results, "ssimbad")


class Trap:
    """Creates a file as it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.sprung),)


def trapped(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap(path.with_name("sprung"))))


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def otherwise_seeded(results: Results) -> None:
    path = results.data / "manifest.json"
    write_json(path, json.loads(path.read_text()) | {"seed": 7})


def with_other_phi(results: Results) -> None:
    path = results.phi / "phi.json"
    write_json(path, json.loads(path.read_text()) | {"c": 0.77})


CHECKPOINTS: dict[str, tuple[Callable[[Results], object], str]] = {
    "missing checkpoint": (lambda r: r.checkpoint("ssimbad").unlink(), "no such file"),
    "truncated checkpoint": (lambda r: shorten(r.checkpoint("ssimbad")), "damaged"),
    "foreign checkpoint": (
        lambda r: save_file({"w": torch.zeros(1)}, r.checkpoint("ssimbad")),
        "not a checkpoint of ssimbad",
    ),
    "checkpoint of another row": (
        lambda r: shutil.copy(r.checkpoint("edm"), r.checkpoint("ssimbad")),
        "is of another row",
    ),
    "checkpoint of other data": (otherwise_seeded, "is of another data"),
    "checkpoint of another φ": (with_other_phi, "is of another phi"),
    "pickle for a checkpoint": (lambda r: trapped(r.checkpoint("ssimbad")), "not a checkpoint"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_bad_checkpoint_is_refused(results: Results, name: str) -> None:
    change, told = CHECKPOINTS[name]
    change(results)
    with pytest.raises(UserError, match=told) as caught:
        infer(results)
    assert str(caught.value).startswith(f"{results.checkpoint('ssimbad')}: ")
    assert not results.images("ssimbad").exists()
    assert not list(results.root.rglob("sprung"))


def test_checkpoint_of_another_config(results: Results) -> None:
    infer(results)
    with pytest.raises(UserError, match="is of another config"):
        infer(results, lambda values: values["train"].update(lr=0.5))


def test_weights_that_do_not_fit_their_header_are_refused(results: Results) -> None:
    path = results.checkpoint("ssimbad")
    header = checkpoint.read_header(path)
    weights = load_file(path)
    weights.pop(next(iter(weights)))
    save_file(weights, path, {"ssimbad": json.dumps(header)})
    with pytest.raises(UserError, match="do not fit"):
        infer(results)


@pytest.mark.parametrize("name", ["damaged training state", "training state of another config"])
def test_a_training_state_that_cannot_be_used_is_not(
    results: Results, name: str, capsys: pytest.CaptureFixture
) -> None:
    whole = results.checkpoint("ssimbad").read_bytes()
    (own,) = results.work("ssimbad").glob("*/tensorboard")
    if name == "damaged training state":
        state = own.with_name("last.ckpt")
        expected = f"{state}: not readable, starting over"
    else:
        state = results.work("ssimbad") / "other/last.ckpt"
        write_json(state.with_name("identity.json"), {"config": {"train": {"lr": 0.5}}})
        expected = f"{state.parent}: holds an unfinished training of other "
    trapped(state)
    run_phase(short_values(), "train", results, "ssimbad")
    assert results.checkpoint("ssimbad").read_bytes() == whole
    assert expected in capsys.readouterr().err
    assert state.exists() == (name == "training state of another config")
    assert not list(results.root.rglob("sprung"))


def overlay_of(text: str | bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


CONFIGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "config that is no YAML": (overlay_of("a: ["), "overlay.yaml: not valid YAML"),
    "config that is no mapping": (overlay_of("- 1"), "overlay.yaml: must hold keys and values"),
    "config that is no text": (overlay_of(b"a: \xff"), "overlay.yaml: not readable"),
    "missing config": (lambda path: None, "overlay.yaml: no such file"),
    "key that stands twice": (
        overlay_of("train: {steps: 3}\ntrain: {batch: 4}"),
        "overlay.yaml: line 2: key 'train' stands twice",
    ),
    "key that is no text": (overlay_of("train: {{ steps }}"), "line 1: a key is a list or"),
    "key that is a number": (overlay_of("train:\n  1: 2"), "line 2: key '1' is no text"),
    "value of no known type": (overlay_of("rows: !!set {a}"), "line 1: unknown type set"),
    "values without number": (
        overlay_of(
            "a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n"
            + "".join(
                f"{y}: &{y} [*{x}, *{x}, *{x}, *{x}, *{x}, *{x}, *{x}, *{x}]\n"
                for x, y in pairwise("abcdefgh")
            )
        ),
        "line 6: more than 100000 values",
    ),
    "value that holds itself": (
        overlay_of("rows: &all [*all]"),
        "line 1: a value holds itself",
    ),
    "unknown key": (
        overlay_of("train: {step: 3}"),
        "overlay.yaml: train.step: 3: no such key: keys here are steps",
    ),
    "missing key": (overlay_of("data: 3"), "overlay.yaml: data: 3: "),
    "value of another type": (overlay_of("train: {steps: many}"), "train.steps: .*valid integer"),
    "value out of range": (overlay_of("train: {lr: -1.0}"), "train.lr: -1.0: .*greater than 0"),
    "number that is none": (overlay_of("train: {lr: .nan}"), "train.lr: NaN: .*finite number"),
    "unknown row": (overlay_of("rows: [magic]"), "rows: .*no row 'magic': rows are animediffusion"),
    "variant that is not there": (
        overlay_of("rows: [fill, fill+x]\nvariants: {y: {train: {lr: 1.0}}}"),
        r"rows: 'fill\+x': no variant 'x': variants are y",
    ),
    "variant without its row": (
        overlay_of("rows: [edm+x]\nvariants: {x: {train: {lr: 1.0}}}"),
        r"rows: 'edm\+x': needs its own row 'edm' beside it",
    ),
    "variant that changes nothing": (
        overlay_of("rows: [edm, edm+x]\nvariants: {x: {ssimbad: {structural: 1.0}}}"),
        r"rows: 'edm\+x': the variant changes nothing that 'edm' reads",
    ),
    "variant that is sampled unlike its row": (
        overlay_of("rows: [edm, edm+x]\nvariants: {x: {train: {lr: 1.0}}}"),
        r"rows: 'edm\+x': the sweep chooses how one of it and 'edm' samples: put both",
    ),
    "variant of what rows share": (
        overlay_of("variants: {x: {data: {size: 32}}}"),
        "variants: x.data: not what a variant can change: that is unet, train, refine, ",
    ),
    "variant with a bad value": (
        overlay_of("variants: {x: {train: {lr: -1.0}}}"),
        "variants.x: train.lr: -1.0: .*greater than 0",
    ),
    "path that no system has": (overlay_of('results: "\\0"'), 'results: "..0000": .*pattern'),
    "sizes that do not fit each other": (overlay_of("data: {size: 44}"), "data.size: 44: .*of 8"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_bad_config_is_refused(tmp_path: Path, name: str) -> None:
    write, told = CONFIGS[name]
    path = tmp_path / "overlay.yaml"
    write(path)
    with pytest.raises(UserError, match=told) as caught:
        load([path])
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "text", [b"a: [", b"- 1", b"", b"\xff", b"schema: x", b"stages: {data: 3}"]
)
def test_a_lock_that_is_not_dvcs_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.lock").write_bytes(text)
    for command in (adopt, lambda: check_adopted(tmp_path, lambda path: False)):
        with pytest.raises(UserError, match=r"^dvc.lock: not readable"):
            command()


def test_a_manifest_that_is_none_is_told_of(results: Results) -> None:
    (results.root / "config.yaml").write_text(yaml.safe_dump(tiny_values()))
    write_json(results.root / "digests.json", {})
    write_json(results.data / "manifest.json", {"files": 3, "items": 1})
    with pytest.raises(UserError, match=r"data/manifest.json: not a data manifest"):
        verify(results)


ELSEWHERE = {
    "loss that is not finite": "tests/training/test_loop.py",
    "unreachable weights": "tests/pretrained/test_fetching.py",
    "wrong weights": "tests/pretrained/test_fetching.py",
}
OWN = ("checkpoint of another config", "full disk")
STATES = ("damaged training state", "training state of another config")


def test_the_documentation_lists_what_is_tested() -> None:
    told = table_of(REPOSITORY / "docs/bad-input.md", "Checkpoints, configs, weights, training")
    assert set(told) == {*CHECKPOINTS, *CONFIGS, *ELSEWHERE, *OWN, *STATES}


@pytest.mark.kill
def test_full_disk(results: Results) -> None:
    """On a disk of its own, which is filled as training saves its state; then space is made."""
    script = f"""
        set -e
        mount -t tmpfs -o size=24m none {results.root}/work
        cd {REPOSITORY}
        run() {{ {sys.executable} -m ssimbad train ssimbad --config "$CONFIG"; }}
        head -c 20m /dev/zero > {results.root}/work/ballast
        ! run 2> {results.root}/first.log
        ls {results.root}/work/ssimbad > {results.root}/left.log
        rm {results.root}/work/ballast
        run 2> {results.root}/second.log
    """
    values = short_values()
    values["train"]["steps"] = 3
    values["unet"]["width"] = 24
    path = config_file(values, results)
    probe = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True
    )
    if probe.returncode:
        pytest.skip("no disk of our own can be mounted here")
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script],
        env=os.environ | {"CONFIG": path},
        capture_output=True,
        text=True,
    )
    told = (results.root / "first.log").read_text()
    assert done.returncode == 0, told + done.stderr
    assert re.search(r"^ssimbad: .*: not written: no space left on the disk; ", told, re.M)
    assert "Traceback" not in told
    assert ".part" not in (results.root / "left.log").read_text()
    assert checkpoint.read_header(results.checkpoint("ssimbad"))["stages"][0]["steps"] == 3


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**6), st.floats(), st.text(max_size=5), st.just([])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def disturbed(draw: st.DrawFn) -> dict:
    """The tiny config with some values replaced, keys dropped or added."""
    values = tiny_values()
    for _ in range(draw(st.integers(1, 4))):
        place = values
        while True:
            key = draw(st.sampled_from([*place, "nonsense"]))
            if isinstance(place.get(key), dict) and place[key] and draw(st.integers(0, 3)):
                place = place[key]
                continue
            if draw(st.integers(0, 4)):
                place[key] = draw(VALUES)
            else:
                place.pop(key, None)
            break
        if not values:
            break
    return values


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=disturbed())
def test_random_configs_are_valid_or_lines_that_name_keys(values: dict) -> None:
    told = []
    try:
        loaded = validate(values)
    except UserError as error:
        told = str(error).splitlines()
    else:
        for row in loaded.rows:
            assert json.loads(phase_json(loaded, "infer", Run(row)))
    assert all(line.startswith("config: ") and line.isprintable() for line in told)


KEYS = st.sampled_from(
    [
        *("train", "rows", "refine", "strategy", "x", "1", "1.5", "-0", "null", "~", "true", "no"),
        *("2020-01-01", "2000-99-99", "0x1", "1e400", ".nan", "<<", "=", "[a]", "{a: b}", "[[]]"),
        *("!!str 1", "!!int a", "!!float x", "!!binary aGk=", "!!null a", "!!bool 3", "!foo x"),
        *(
            "!!set {a}",
            "!!omap [a: 1]",
            "!!timestamp x",
            "*a",
            "&a x",
            '"\\0"',
            '"\\ud800"',
            "''",
            "|-",
        ),
        *("!!python/object:os.system {}", "!!merge x", "? x", "{{ x }}", "\U0001f600", "'\u2028'"),
    ]
)
PLAIN = st.one_of(
    KEYS, st.sampled_from(["1", "&a [1]", "*a", "&a {b: *a}", "[1, [2]]", "9" * 4400])
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Lines of a document, each a key of any type at any depth, with a value of any type."""
    lines, depth = [], 0
    for _ in range(draw(st.integers(1, 5))):
        depth = draw(st.integers(0, depth))
        asked = "? " if draw(st.booleans()) else ""
        key, value = draw(KEYS), draw(st.one_of(st.just(""), PLAIN))
        between = f"\n{'  ' * depth}: " if asked else ": "
        lines.append(f"{'  ' * depth}{asked}{key}{between}{value}")
        depth += not value
    return "\n".join(lines)


@settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=documents())
def test_keys_of_every_type_are_an_overlay_or_lines(tmp_path: Path, text: str) -> None:
    path = tmp_path / "overlay.yaml"
    path.write_text(text, encoding="utf-8")
    told = []
    try:
        load([path])
    except UserError as error:
        told = str(error).splitlines()
    assert all(line.startswith(f"{path}: ") and line.isprintable() for line in told)
    values_of([f"train={text}", f"rows={text}"])


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.one_of(st.binary(max_size=60), VALUES.map(lambda v: yaml.safe_dump(v).encode())))
def test_random_files_are_an_overlay_or_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "overlay.yaml"
    path.write_bytes(data)
    told = []
    try:
        load([path])
    except UserError as error:
        told = str(error).splitlines()
    assert all(line.startswith(f"{path}: ") and line.isprintable() for line in told)
