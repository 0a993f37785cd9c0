"""What `ssimbad run` takes for done, refuses, and says as it stops."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ssimbad.phases.data
import ssimbad.phases.infer
import ssimbad.phases.phi
from ssimbad.conduct import conduct, done, keys_of
from ssimbad.config.files import load
from ssimbad.data.schema import STORE
from ssimbad.errors import UserError
from ssimbad.files import sha256_file, write_json
from ssimbad.interruption import NotedSigterm, Stopped
from ssimbad.layout import Results
from ssimbad.methods import Run

TRAINED = Run("ssimbad")


def test_a_job_is_done_only_while_all_that_it_leaves_is_there(tmp_path: Path) -> None:
    overlay = tmp_path / "few.yaml"
    overlay.write_text(
        f"results: {tmp_path / 'made'}\nrows: [ssimbad]\nsweep: {{rows: [ssimbad]}}\noracle: {{rows: []}}\n"
    )
    config = load([overlay])
    results = Results(config.results)
    first = {
        ("data", None): results.data / "manifest.json",
        ("phi", None): results.phi / "phi.json",
        ("train", TRAINED): results.checkpoint(TRAINED),
        ("sweep", TRAINED): results.choice(TRAINED),
        ("infer", TRAINED): results.images(TRAINED) / "infer.json",
    }
    further = {
        ("data", None): [results.data / "pairs.csv", results.data / "test_images.npy"],
        ("phi", None): [results.phi / "ranking.csv", results.phi / "curves.csv"],
        ("train", TRAINED): [
            results.history(TRAINED),
            results.history(TRAINED).with_suffix(".json"),
        ],
        ("sweep", TRAINED): [results.sweep / "ssimbad.csv"],
        ("infer", TRAINED): [results.images(TRAINED) / "same", results.images(TRAINED) / "cross"],
    }
    assert keys_of(config).keys() == first.keys()
    files = [*first.values(), *(results.data / name for name in STORE), results.phi / "noisy.npz"]
    files += [path for paths in further.values() for path in paths]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if path.suffix else path.mkdir(exist_ok=True)
    records = {
        " ".join(filter(None, job)): {"key": key, "sha256": sha256_file(first[job])}
        for job, key in keys_of(config).items()
    }
    write_json(results.conducted, records)
    assert all(done(config, results).values())
    for job, paths in further.items():
        for path in paths:
            kept = path.rename(tmp_path / "kept")
            assert not done(config, results)[job], path
            kept.rename(path)
    first["sweep", TRAINED].write_text("edited")
    found = done(config, results)
    assert [job for job, there in found.items() if not there] == [
        ("sweep", TRAINED),
        ("infer", TRAINED),
    ]


@pytest.fixture
def _own_sigterm() -> Iterator[None]:
    """A run's handler ends with the test."""
    kept = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, kept)


@pytest.mark.parametrize(
    ("overlay", "minutes", "line"),
    [
        ("", 0.0, "--minutes: 0: must be above 0"),
        ("", -1.0, "--minutes: -1: must be above 0"),
        ("", float("nan"), "--minutes: nan: must be above 0"),
        ("devices: 2\n", None, "devices × nodes is 2: `ssimbad run` is one process"),
        ("nodes: 2\n", 1.0, "devices × nodes is 2: `ssimbad run` is one process"),
    ],
)
def test_what_cannot_be_run_is_a_line_before_any_work(
    overlay: str, minutes: float | None, line: str, tmp_path: Path
) -> None:
    path = tmp_path / "few.yaml"
    path.write_text(f"results: {tmp_path / 'made'}\n{overlay}")
    config = load([path])
    with pytest.raises(UserError, match=line):
        conduct(config, Results(config.results), minutes)
    assert not (tmp_path / "made").exists()


def test_checkpoints_of_another_kind_of_run_are_not_trained_anew(tmp_path: Path) -> None:
    path = tmp_path / "few.yaml"
    path.write_text(f"results: {tmp_path / 'made'}\nrows: [ssimbad]\n")
    config = load([path])
    checkpoint = Results(config.results).checkpoint(TRAINED)
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"weights")
    with pytest.raises(UserError, match="was not made by `ssimbad run`, which would train it anew"):
        conduct(config, Results(config.results))
    assert checkpoint.read_bytes() == b"weights"


@pytest.mark.usefixtures("_own_sigterm")
@pytest.mark.parametrize(
    ("handler", "line"),
    [
        (None, "stopped in the middle of data: "),
        (NotedSigterm(), "stopped before infer reference: "),
    ],
)
def test_a_run_whose_time_is_up_says_where_it_stopped(
    handler: NotedSigterm | None, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "few.yaml"
    path.write_text(f"results: {tmp_path / 'made'}\nrows: [reference]\n")
    config = load([path])
    results = Results(config.results)

    def prepare(*_: object) -> None:
        if handler is not None:  # as a training has its own until the next job
            signal.signal(signal.SIGTERM, handler)
        time.sleep(0.5)
        write_json(results.data / "manifest.json", {})

    monkeypatch.setattr(ssimbad.phases.data, "run", prepare)
    with pytest.raises(Stopped, match=line):
        conduct(config, results, 0.2 / 60)


@pytest.mark.usefixtures("_own_sigterm")
def test_a_run_that_is_stopped_tells_what_failed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "few.yaml"
    path.write_text(f"results: {tmp_path / 'made'}\nrows: [reference, ssimbad]\n")
    config = load([path])
    results = Results(config.results)

    def fail(*_: object) -> None:
        raise UserError("no weights")

    def prepare(*_: object) -> None:
        for name in STORE:
            write_json(results.data / name, {})

    monkeypatch.setattr(ssimbad.phases.data, "run", prepare)
    monkeypatch.setattr(ssimbad.phases.infer, "run", fail)
    monkeypatch.setattr(ssimbad.phases.phi, "run", lambda *_: time.sleep(5))
    with pytest.raises(Stopped) as stop:
        conduct(config, results, 0.3 / 60)
    assert str(stop.value).splitlines() == [
        "infer reference: no weights",
        "stopped in the middle of phi: the same command begins that anew",
    ]
