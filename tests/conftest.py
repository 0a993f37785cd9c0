"""What tests share: the repository, tiny configs, a prepared tiny store."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor
from xdist.scheduler import LoadScopeScheduling

from ssimbad.config.files import load
from ssimbad.config.schema import Config, validate
from ssimbad.data.warp import unit_grid
from ssimbad.layout import Results
from ssimbad.methods import Run
from ssimbad.methods.base import Batch, Noise
from ssimbad.methods.draws import Draws
from ssimbad.networks.schema import UNetConfig
from ssimbad.phases.slices import PhaseConfig
from ssimbad.rng import image_noise, torch_generator

REPOSITORY = Path(__file__).resolve().parents[1]
NO_COUNTS = {"expect": {"train": 0, "test": 0}}
"""Of a folder of images: any number of them will do."""
SMALL_UNET = UNetConfig(
    width=8, multipliers=[1, 2], blocks=1, attention=[], heads=2, groups=4, zero_init=False
)


_SHARING = "tests/workflow/"
"""Tests of these files share the finished tiny run, and so a process; DVC's have a project of their own."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that run whole workflows are marked, and begin first."""
    for item in items:
        if item.nodeid.startswith(_SHARING):
            item.add_marker("workflow")
    items.sort(key=lambda item: not item.nodeid.startswith(_SHARING))


class _ByFile(LoadScopeScheduling):
    """Where ``-n`` runs several processes, each takes a file's tests together, or those that share a run."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return _SHARING if file.startswith(_SHARING) and "dvc" not in file else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFile:
    """Have pytest-xdist share the tests so."""
    return _ByFile(config, log)


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands read config.yaml of the current folder."""
    monkeypatch.chdir(REPOSITORY)


@cache
def _tiny() -> Config:
    return load([Path("config/tiny.yaml")])


def tiny_values() -> dict:
    """The tiny config as plain values, the caller's own."""
    os.chdir(REPOSITORY)
    return _tiny().model_dump(mode="json")


def phase_of(values: dict, name: str, row: str | None = None) -> PhaseConfig:
    """What a phase reads of the given config values."""
    return PhaseConfig(validate(values), name, None if row is None else Run(row))


def run_phase(values: dict, name: str, results: Results, row: str | None = None) -> None:
    """Run a phase in this process."""
    import_module(f"ssimbad.phases.{name}").run(phase_of(values, name, row), results)


def config_file(values: dict, results: Results) -> str:
    """A whole config beside the results folder that it names."""
    path = results.root.with_name(f"{results.root.name}.config.yaml")
    path.write_text(yaml.safe_dump(values | {"results": str(results.root)}))
    return str(path)


def saved_state(results: Results, run: str) -> Path | None:
    """The resumable state of a run's training."""
    return next(results.work(run).glob("*/last.ckpt"), None)


def run_cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line for real."""
    return subprocess.run(
        [sys.executable, "-m", "ssimbad", *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | environment,
    )


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Results of the data and phi phases with the tiny config. Tests copy it or only read it."""
    results = Results(tmp_path_factory.mktemp("prepared"))
    values = tiny_values()
    run_phase(values, "data", results)
    run_phase(values, "phi", results)
    return results


def table_of(document: Path, heading: str) -> dict[str, str]:
    """The first two columns of the table under a heading of a Markdown file."""
    section = document.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    return {cells[0]: cells[1] for cells in lines[2:]}


def picture(seed: int, width: int = 40, height: int = 40) -> Image.Image:
    """A small random RGB picture of smooth blobs."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def batch_of(count: int, size: int = 16) -> Batch:
    """Random images; the warp is the identity."""
    generator = torch.Generator().manual_seed(1)
    sketch, reference, target = (
        torch.rand(count, channels, size, size, generator=generator) * 2 - 1
        for channels in (1, 3, 3)
    )
    warp = unit_grid(size).float().reshape(1, size, size, 2).repeat(count, 1, 1, 1)
    return Batch([f"image {i}" for i in range(count)], sketch, reference, target, warp)


def draws_of(batch: Batch) -> Draws:
    """A step's randomness, the same at each call."""
    return Draws(torch_generator(0, "test"), len(batch.names))


def noise_of(names: list[str], size: int = 16) -> Noise:
    """The named images' noise."""

    def noise(draw: int) -> Tensor:
        return image_noise(42, names, size, draw)

    return noise
