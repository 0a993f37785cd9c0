"""Schemas that several methods share: how a denoiser is trained, refined and sampled."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from ssimbad.diffusion.samplers import SAMPLERS
from ssimbad.noise.transforms import parse
from ssimbad.schema import Section

OWN = "own"
"""The spacing of noise levels that a method has of itself."""
_LAST_CALL = (
    "also call the network at sigma_min, where it changes next to nothing (published: true)"
)


class Unrolled(Section):
    """A refinement that backpropagates through a sampler's steps."""

    steps: int = Field(ge=1, le=1000, description="steps unrolled")
    checkpointing: bool = Field(
        description="recompute activations in the backward pass: memory of one step, a third more time"
    )

    def passes(self, updates: int) -> int:
        """Network passes that a stage of so many optimizer steps takes for an image of each batch."""
        return updates * self.steps


class SamplingConfig(Section):
    """How images are sampled."""

    sampler: Literal[tuple(SAMPLERS)] = Field(  # type: ignore[valid-type]
        description="heun (published) diverges where few steps start from a high sigma_max"
    )
    steps: int = Field(ge=1, le=1000, description="noise levels (published: 500)")
    last_call: bool = Field(description=_LAST_CALL)
    spacing: str = Field(
        description="transformation in which noise levels are evenly spaced: own (published), the method's;"
        " or another, such as sigma^(1/7), which is EDM's, or ln(sigma)"
    )
    sigma_max: float = Field(
        ge=0, description="highest noise level, where sampling starts; 0 (published): phi.sigma_max"
    )
    guidance: float = Field(
        ge=0,
        description="classifier-free guidance scale; 1: none. Refinement trains no free branch",
    )

    @field_validator("spacing")
    @classmethod
    def _known(cls, value: str) -> str:
        if value != OWN:
            parse(value, OWN)
        return value


class RefinementConfig(Unrolled):
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

    def is_single(self, done: float) -> bool:
        """Whether trajectories are of one step once a share ``done`` in [0, 1] of the stage is taken."""
        return done < self.single_step

    def passes(self, updates: int) -> int:
        """As :meth:`Unrolled.passes`; the single steps are counted as such."""
        single = sum(self.is_single(step / updates) for step in range(updates))
        return single + (updates - single) * self.steps


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


USUAL_SAMPLING = {
    **{"sampler": "euler", "steps": 2, "last_call": False, "spacing": OWN},
    **{"sigma_max": 0.0, "guidance": 1.0},
}
"""How a denoiser samples users' own drawings, where no config is at hand."""
