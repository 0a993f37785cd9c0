"""What ``pip install`` leaves: the plain installation, what it lacks, and that it works from any folder."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

from ssimbad.config.files import load, to_yaml
from ssimbad.phases import PHASES
from tests.conftest import REPOSITORY, picture

ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what git would hand on: a checkout's own folders hide what a wheel lacks."""
    folder = tmp_path_factory.mktemp("source")
    for part in ("pyproject.toml", "LICENSE", "README.md", "config.yaml"):
        shutil.copy(REPOSITORY / part, folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(REPOSITORY / "src", folder / "src", symlinks=True, ignore=ignored)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", build, str(folder)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def needed(requirements: list[str], extra: str, found: set[tuple[str, str]]) -> set[str]:
    """The distributions that these require with an extra, and what they do."""
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for own in ("", *requirement.extras):
            if (requirement.name, own) not in found:
                found.add((requirement.name, own))
                needed(distribution(requirement.name).requires or [], own, found)
    return {name for name, _ in found}


@pytest.fixture(scope="module")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in an environment of what it requires without extras: links to the packages here."""
    folder = tmp_path_factory.mktemp("plain")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        lines = archive.read(metadata).decode().splitlines()
    own = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-D")]
    for name in needed(own, "", set()):
        packages = distribution(name)
        for top in {file.parts[0] for file in packages.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(packages.locate_file(top)).resolve())
    # Without an index pip refuses what lacks a requirement.
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install"]
    subprocess.run([*pip, "--quiet", "--no-index", str(wheel)], check=True, env=ENVIRONMENT)
    return folder


def run_there(plain: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command of the plain environment, in another folder."""
    program = [str(plain / "bin" / command[0]), *command[1:]]
    return subprocess.run(program, cwd=folder, capture_output=True, text=True, env=ENVIRONMENT)


def test_a_wheel_has_the_model_the_config_and_its_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name, original in (
            ("ssimbad/model/model.safetensors", "src/ssimbad/model/model.safetensors"),
            ("ssimbad/model/README.md", "src/ssimbad/model/README.md"),
            ("ssimbad/config/default.yaml", "config.yaml"),
            ("ssimbad/py.typed", "src/ssimbad/py.typed"),
        ):
            assert archive.read(name) == (REPOSITORY / original).read_bytes()


def test_the_plain_installation_colorizes_from_any_folder(plain: Path, tmp_path: Path) -> None:
    picture(1, 90, 70).save(tmp_path / "a.png")
    picture(2).save(tmp_path / "b.png")
    given = ("--image", "a.png", "--reference", "b.png", "--device", "cpu")
    done = run_there(plain, tmp_path, "ssimbad", "colorize", *given, "--out", "c.png", "--layers")
    assert done.returncode == 0, done.stderr
    code = """
import sys, ssimbad
image = ssimbad.Colorizer.load(device="cpu")("a.png", "b.png", coloured=True)
image.save("d.png")
print(ssimbad.__file__)"""
    done = run_there(plain, tmp_path, "python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(plain)
    images = [np.asarray(Image.open(tmp_path / name)) for name in ("c.png", "d.png")]
    assert images[0].shape == (70, 90, 3)
    assert np.array_equal(*images)


def test_without_an_extra_a_command_names_it_in_a_line(plain: Path, tmp_path: Path) -> None:
    rows = {name: [phase.rows[0]] if phase.suits else [] for name, phase in PHASES.items()}
    others = {"run": [], "config": [], "plan": [], "verify": ["results"], "measure": [".", "."]}
    for command, given in (rows | others).items():
        done = run_there(plain, tmp_path, "ssimbad", command, *given)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"ssimbad: {command}: needs ")
        assert line.endswith(", which is not installed: pip install 'ssimbad[workflow]'")
    assert list(tmp_path.iterdir()) == []


def test_an_installed_command_finds_the_default_config_in_any_folder(
    wheel: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "mine.yaml").write_text("seed: 7\n")
    command = [sys.executable, "-m", "ssimbad", "config", "--config", "mine.yaml"]
    there = ENVIRONMENT | {"PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=there)
    assert done.returncode == 0, done.stderr
    assert done.stdout == to_yaml(load([], {"seed": 7}))
    # One that lies in the folder is the user's.
    (folder / "config.yaml").write_text(to_yaml(load([], {"seed": 8})))
    done = subprocess.run(command[:-2], cwd=folder, capture_output=True, text=True, env=there)
    assert "\nseed: 8\n" in done.stdout
