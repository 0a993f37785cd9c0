"""Where everything a run leaves lies. The workflow's rules name the same paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ssimbad.errors import shown
from ssimbad.methods import Run


class Results:
    """The results folder."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.data = self.root / "data"
        self.phi = self.root / "phi"
        self.figures = self.root / "figures"
        self.gallery = self.root / "gallery"
        self.sweep = self.root / "sweep"
        self.oracle = self.root / "oracle"
        self.config = self.root / "config.yaml"
        self.conducted = self.root / "conducted.json"
        self.features = self.root / "work" / "features"
        # Beside the results: what was tried for a run is no part of it.
        self.tune = Path(f"{self.root}-tune")

    def checkpoint(self, row: str) -> Path:
        """The row's weights for use."""
        return self.root / "checkpoints" / Run(row).stage / f"{Run(row).trained}.safetensors"

    def history(self, row: str) -> Path:
        """Losses by step; the training's summary lies beside it as JSON."""
        return self.root / "history" / Run(row).stage / f"{Run(row).trained}.csv"

    def work(self, row: str) -> Path:
        """Resumable training state."""
        return self.root / "work" / row

    def choice(self, row: str) -> Path:
        """How the sweep would have a row sample, of all its training seeds."""
        return self.sweep / f"{Run(row).row}.json"

    def images(self, row: str) -> Path:
        """Colorized images, a folder for each setting."""
        return self.root / "images" / row

    def metrics(self, row: str) -> Path:
        """Measurements, a JSON file for each setting."""
        return self.root / "metrics" / row

    def log(self, phase: str, row: str | None = None) -> Path:
        """What a phase's job said."""
        return self.root / "logs" / phase / f"{row or phase}.log"

    def benchmark(self, phase: str, row: str | None = None) -> Path:
        """Time and memory of a phase's job, as Snakemake notes them."""
        return self.root / "benchmarks" / phase / f"{row or phase}.tsv"


def _outputs(root: Path) -> Iterator[Path]:
    """The results folder, and the folders that links below it lead to."""
    yield Path(os.path.realpath(root))
    for level in ("*", "*/*", "*/*/*"):
        # Of a link that leads to itself, Path.resolve would make an error.
        yield from (Path(os.path.realpath(p)) for p in root.glob(level) if p.is_symlink())


def no_folder(results: str) -> str | None:
    """The first of a results folder's parents, and it, that is there and is no folder, or a link to none."""
    path = Path(results)
    found = next(p for p in (path, *path.parents, Path(".")) if os.path.lexists(p))
    return None if os.path.isdir(found) else str(found)


def overlap(results: str, given: dict[str, str]) -> list[str]:
    """A line for each path of the user's that a run into ``results`` might write over.

    A phase replaces whole folders of the results, so neither may lie in the other, by links neither.

    Args:
        results: the results folder.
        given: what else the config names, file or folder, there or not, by its key.
    """
    faults = []
    for key, text in given.items():
        place = Path(os.path.realpath(text))
        for output in _outputs(Path(results)):
            if place.is_relative_to(output) or output.is_relative_to(place):
                faults.append(
                    f"results: {shown(results)}: must lie apart from {key} ({shown(text)}),"
                    " so that no phase writes over it"
                )
                break
    return faults
