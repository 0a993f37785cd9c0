"""Pretraining of a row into its checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssimbad.phases.trained import read_phi
from ssimbad.phases.training import fit_and_save
from ssimbad.training import checkpoint

if TYPE_CHECKING:
    from ssimbad.layout import Results
    from ssimbad.phases.slices import PhaseConfig


def run(config: PhaseConfig, results: Results) -> None:
    """Train a model from fresh weights."""
    assert config.run is not None
    name, chosen = config.run.method, read_phi(results)
    header = {
        "row": config.run,
        "method": name,
        "stage": "train",
        "section": config.method and config.method.model_dump(mode="json"),
        "unet": config.unet.model_dump(mode="json"),
        "phi": chosen.to_dict(),
    }
    method = checkpoint.build(name, config.method, config.unet, chosen, config.seed)
    fit_and_save(method, header, config, results)
