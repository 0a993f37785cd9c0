"""Trajectory refinement of a row, or its control, from its pretrained checkpoint into its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssimbad.files import sha256_file
from ssimbad.methods.schema import Unrolled
from ssimbad.phases.trained import read_trained
from ssimbad.phases.training import fit_and_save

if TYPE_CHECKING:
    from ssimbad.layout import Results
    from ssimbad.phases.slices import PhaseConfig


def run(config: PhaseConfig, results: Results) -> None:
    """Train a model through its sampler, or, as a control, as in pretraining."""
    assert config.run is not None
    before = config.pretrained
    source = results.checkpoint(before)
    method, header = read_trained(before, results)
    header = {k: v for k, v in header.items() if k != "best"} | {
        "row": config.run,
        "stage": "refine",
        "pretrained": sha256_file(source),
    }
    assert config.method is None or isinstance(config.method, Unrolled)
    if config.method is not None:
        header["refinement"] = config.method.model_dump(mode="json")
    fit_and_save(method.train(), header, config, results, config.method)
