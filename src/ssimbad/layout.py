"""Where everything a run leaves lies. The workflow's rules name the same paths."""

from __future__ import annotations

from pathlib import Path

from ssimbad.methods import stage_of, trained_run


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
        self.features = self.root / "work" / "features"

    def checkpoint(self, row: str) -> Path:
        """The row's weights for use."""
        return self.root / "checkpoints" / stage_of(row) / f"{trained_run(row)}.safetensors"

    def history(self, row: str) -> Path:
        """Losses by step; the training's summary lies beside it as JSON."""
        return self.root / "history" / stage_of(row) / f"{trained_run(row)}.csv"

    def work(self, row: str) -> Path:
        """Resumable training state."""
        return self.root / "work" / row

    def images(self, row: str) -> Path:
        """Colorized images, a folder for each setting."""
        return self.root / "images" / row

    def metrics(self, row: str) -> Path:
        """Measurements, a JSON file for each setting."""
        return self.root / "metrics" / row

    def benchmark(self, phase: str, row: str | None = None) -> Path:
        """Time and memory of a phase's job, as Snakemake notes them."""
        return self.root / "benchmarks" / phase / f"{row or phase}.tsv"
