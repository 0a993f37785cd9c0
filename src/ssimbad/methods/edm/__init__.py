"""Vanilla EDM (Karras et al. 2022) on the same network: what SSIMBaD is without φ*."""

from __future__ import annotations

from pydantic import Field

from ssimbad.methods.declaration import Declaration, Row
from ssimbad.methods.schema import USUAL_SAMPLING, DenoisingConfig, RefinementConfig, SamplingConfig


class EDMConfig(DenoisingConfig):
    """Vanilla EDM."""

    p_mean: float = Field(description="mean of ln σ in training (EDM: -1.2)")
    p_std: float = Field(gt=0, description="standard deviation of ln σ in training (EDM: 1.2)")


METHOD = Declaration(
    section=EDMConfig,
    refinement=RefinementConfig,
    sampling=SamplingConfig,
    usual_sampling=USUAL_SAMPLING | {"steps": 10},
    denoiser=True,
    rows={
        "edm": Row("EDM", "train"),
        "edm_refined": Row("EDM, with refinement", "refine", part="refined_sampling"),
        "edm_log": Row("EDM, evenly in ln σ", "train", of="edm", part="log_spacing"),
    },
)
