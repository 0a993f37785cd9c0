"""What machines differ in: processors granted, locales, locks, home folders, schedulers' variables."""

import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssimbad.config.files import load
from ssimbad.errors import UserError
from ssimbad.files import whole_file, whole_folder
from ssimbad.layout import Results
from ssimbad.machine import processors, try_lock
from ssimbad.pretrained.fetching import cache_folder
from tests.conftest import REPOSITORY, config_file, picture, run_cli, run_phase, tiny_values


@pytest.mark.parametrize(
    ("said", "meant"), [("3", 3), ("4,2", 4), (" 2 ", 2), ("2,", 2), ("1,1,1", 1)]
)
def test_processors_are_those_that_openmp_is_told(
    monkeypatch: pytest.MonkeyPatch, said: str, meant: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert processors() == meant


@pytest.mark.parametrize("said", [None, "", "0", "-3", "many", "2.5", ",2", "²"])
def test_without_a_number_they_are_those_there(
    monkeypatch: pytest.MonkeyPatch, said: str | None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert processors() == len(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Locales of other encodings, made here where the system has their sources."""
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef"):
        for language, encoding in (("ja_JP", "EUC-JP"), ("zh_CN", "GBK"), ("en_US", "ISO-8859-1")):
            target = folder / f"{language}.{encoding}"
            subprocess.run(
                ["localedef", "-i", language, "-f", encoding, str(target)], capture_output=True
            )
    return folder


@pytest.mark.parametrize("locale", ["C", "ja_JP.EUC-JP", "zh_CN.GBK", "en_US.ISO-8859-1"])
def test_any_locale_will_do(locales: Path, tmp_path: Path, locale: str) -> None:
    if locale != "C" and not (locales / locale).exists():
        pytest.skip("the system cannot make this locale")
    overlay = tmp_path / "設定é.yaml"
    overlay.write_text(f"results: {tmp_path}/結果é\n", encoding="utf-8")
    given = {"LC_ALL": locale, "LOCPATH": str(locales), "PYTHONUTF8": "0"}
    given |= {"PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "ssimbad", "config", "--config", str(overlay)],
        capture_output=True,
        cwd=REPOSITORY,
        env=os.environ | given,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert f"results: {tmp_path}/結果é" in done.stdout.decode("utf-8")
    shown = run_cli("--help", **given, PYTHONIOENCODING="ascii")
    assert shown.returncode == 0
    assert "search for" in shown.stdout


def refuse_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(stream: object, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_a_file_system_without_locks_is_told_of_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    refuse_locks(monkeypatch, number)
    for _ in range(2):
        with (tmp_path / "owner").open("w") as stream:
            assert try_lock(stream, tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path}: this file system has no locks")
    # What cannot be told to be a dead writer's stays.
    (tmp_path / ".a.0.part").mkdir()
    (tmp_path / ".a.0.part/lock").touch()
    with whole_file(tmp_path / "a") as part:
        part.write_text("a")
    assert {path.name for path in tmp_path.iterdir()} == {"owner", "a", ".a.0.part"}


def test_a_lock_that_is_held_is_no_ones_else(tmp_path: Path) -> None:
    with (tmp_path / "owner").open("w") as one, (tmp_path / "owner").open("w") as other:
        assert try_lock(one, tmp_path)
        assert not try_lock(other, tmp_path)


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    """Of any machine, and also where a process id or a machine's name came back."""
    dead = [f".a.vm-{os.getpid()}.part", ".a.other-machine-1.part", ".a.0f.part"]
    for name in dead:
        (tmp_path / name).mkdir()
    (tmp_path / dead[-1] / "lock").touch()
    (tmp_path / ".a.old-7.part").write_text("of an earlier version")
    (tmp_path / ".b.0f.part").mkdir()  # of other work
    with whole_folder(tmp_path / "a") as living:
        with whole_folder(tmp_path / "a") as part:
            (part / "x").touch()
        assert living.is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"a", ".b.0f.part"}


def test_home_is_home_wherever_a_path_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    values = {"results": "~/r", "data": {"source": "folder", "folder": {"path": "~/faces"}}}
    found = load([], values)
    assert found.results == f"{tmp_path}/r"
    assert found.data.make_source(0).users_paths == {"data.folder.path": f"{tmp_path}/faces"}
    monkeypatch.setenv("SSIMBAD_CACHE", "~/cache")
    assert cache_folder() == tmp_path / "cache"
    (tmp_path / "a.yaml").write_text("seed: 9\n")
    (tmp_path / "b.yaml").write_text("extends: ~/a.yaml\n")
    assert load([tmp_path / "b.yaml"]).seed == 9
    done = run_cli("config", "--config=~/a.yaml", HOME=str(tmp_path))
    assert "seed: 9" in done.stdout


@pytest.mark.parametrize("place", ["~nobody-of-this-name", "~nobody-of-this-name/r"])
def test_nobodys_home_is_one_line(place: str) -> None:
    with pytest.raises(UserError, match=r"^config.yaml: results: .*no home folder is known"):
        load([], {"results": place})


def test_what_a_scheduler_says_of_the_job_around_is_not_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, values = Results(tmp_path / "results"), tiny_values()
    values["train"] |= {"steps": 1, "checkpoint_every": 1, "warmup": 0}
    around = {"SLURM_NTASKS": "4", "WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "3"}
    for name, value in (around | {"OMP_NUM_THREADS": "1,1"}).items():
        monkeypatch.setenv(name, value)
    run_phase(values, "data", results)
    run_phase(values, "phi", results)
    done = run_cli("train", "ssimbad", "--config", config_file(values, results))
    assert done.returncode == 0, done.stderr
    assert results.checkpoint("ssimbad").exists()


WITHOUT_LINUX = """
import os, select, sys
for module in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[module] = None
for module, name in ((os, "pidfd_open"), (os, "sched_getaffinity"), (select, "poll")):
    if hasattr(module, name):
        delattr(module, name)
from ssimbad.cli import main
main()
"""


def test_drawings_are_colorized_without_what_only_linux_has(tmp_path: Path) -> None:
    picture(1, 90, 70).save(tmp_path / "a.png")
    given = ("--image", "a.png", "--reference", "a.png", "--device", "cpu", "--quiet")
    for arguments in (["--help"], ["colorize", *given, "--out", "out/b.png", "--layers"]):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_LINUX, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert (done.returncode, done.stderr) == (0, "")
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["b.colours.png", "b.lines.png", "b.ora", "b.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "out"]


def test_a_command_that_needs_linux_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LINUX, "run"], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == 1
    told = "ssimbad: run: needs Python's module resource, which this system has not\n"
    assert done.stderr == told


def test_make_asks_for_its_python_before_it_installs_anything(tmp_path: Path) -> None:
    (tmp_path / "my python").mkdir()
    other = tmp_path / "my python/python3"
    other.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 1\necho installs > installed\n')
    other.chmod(0o755)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    done = subprocess.run(
        ["make", "reproduce", f"PYTHON='{other}'"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode
    assert "is not Python 3.11: name one: make PYTHON=" in done.stderr
    assert not (tmp_path / "installed").exists()
    assert not (tmp_path / ".venv").exists()


def test_a_configs_name_is_one_word_in_the_makefile(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    tools = tmp_path / ".venv/bin"
    tools.mkdir(parents=True)
    for name in ("ssimbad", "snakemake"):
        (tools / name).write_text('#!/bin/sh\nfor a; do printf "[%s]" "$a" >> given; done\n')
        (tools / name).chmod(0o755)
    (tmp_path / ".venv/.ready").touch()
    subprocess.run(["make", "reproduce", "CONFIG=my mum's; x.yaml"], cwd=tmp_path, check=True)
    told = "[my mum's; x.yaml]"
    assert (tmp_path / "given").read_text() == (
        f"[config][--config]{told}[--cores][all][--configfile]{told}"
    )


def test_make_alone_lists_its_targets_and_does_nothing(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    done = subprocess.run(["make"], cwd=tmp_path, check=True, capture_output=True, text=True)
    listed = re.findall(r"^make ([\w-]+) ", done.stdout, re.M)
    declared = re.findall(r"^\.PHONY: (.*)$", (tmp_path / "Makefile").read_text(), re.M)[0].split()
    assert ["help", *listed] == declared
    assert os.listdir(tmp_path) == ["Makefile"]
