"""Schemas that several methods share: how a denoiser is trained, refined and sampled."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ssimbad.diffusion.samplers import SAMPLERS
from ssimbad.schema import Section

_LAST_CALL = (
    "also call the network at sigma_min, where it changes next to nothing (published: true)"
)


class SamplingConfig(Section):
    """How images are sampled."""

    sampler: Literal[tuple(SAMPLERS)] = Field(  # type: ignore[valid-type]
        description="heun (published) diverges where few steps start from a high sigma_max"
    )
    steps: int = Field(ge=1, le=1000, description="noise levels (published: 500)")
    last_call: bool = Field(description=_LAST_CALL)
    guidance: float = Field(
        ge=0,
        description="classifier-free guidance scale; 1: none. Refinement trains no free branch",
    )


class RefinementConfig(Section):
    """Trajectory refinement."""

    steps: int = Field(
        ge=1, le=1000, description="Euler steps unrolled, as sampling.steps (published: 50)"
    )
    single_step: float = Field(
        ge=0,
        lt=1,
        description="share of the stage, at its start, whose trajectories are a single Euler step from noise"
        " to image (published: 0)",
    )
    last_call: bool = Field(description=_LAST_CALL)
    checkpointing: bool = Field(
        description="recompute activations in the backward pass: memory of one step, a third more time"
    )


class DenoisingConfig(Section):
    """A denoiser's training."""

    sigma_data: float = Field(gt=0, description="standard deviation of images in [-1, 1]")
    weighting: Literal["none", "edm"] = Field(
        description="loss weight: 1 (published by SSIMBaD) or EDM's 1/c_out²"
    )
    structural: float = Field(ge=0, description="weight of the loss term 1 − SSIM(D, x0)")
    noise_scale: float = Field(
        gt=0, description="factor on c_noise before the sinusoidal embedding (published: 1)"
    )
    conditioning_dropout: float = Field(
        ge=0, lt=1, description="fraction of training images without condition, for guidance"
    )


USUAL_SAMPLING = {"sampler": "euler", "steps": 2, "last_call": False, "guidance": 1.0}
"""How a denoiser samples users' own drawings, where no config is at hand."""
