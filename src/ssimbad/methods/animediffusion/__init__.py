"""AnimeDiffusion (Cao et al., TVCG 2024): DDPM on the shared U-Net, finetuned through DDIM.

The original's conditional inversion calls its network without the timestep;
``refinement.timeless_inversion`` does so too.
"""

from __future__ import annotations

from pydantic import Field

from ssimbad.diffusion.schema import TIMESTEPS, Spacing
from ssimbad.methods.declaration import Declaration, Row
from ssimbad.methods.schema import Unrolled
from ssimbad.schema import Section

_SPACING = "leading (published): 1, 1 + Δ, …; trailing: …, 999"


class AnimeDiffusionSampling(Section):
    """How images are sampled: DDIM."""

    steps: int = Field(ge=1, le=TIMESTEPS, description="network calls (published: 50)")
    timesteps: Spacing = Field(description=_SPACING)
    eta: float = Field(ge=0, le=1, description="0: deterministic; 1 (published): DDPM's variance")
    guidance: float = Field(
        ge=0,
        description="classifier-free guidance scale; 1: none. Finetuning trains no free branch",
    )


class AnimeDiffusionRefinement(Unrolled):
    """Finetuning through DDIM from the truth's inversion."""

    steps: int = Field(ge=1, le=TIMESTEPS, description="DDIM steps unrolled (published: 10)")
    timesteps: Spacing = Field(description=_SPACING)
    eta: float = Field(ge=0, le=1, description="of the unrolled sampler (published: 1)")
    inversion_steps: int = Field(
        ge=2, le=TIMESTEPS, description="timesteps of the truth's inversion (published: 10)"
    )
    clamp_gradient: bool = Field(
        description="lose the gradient where x̂_0 is clamped, as published (published: true)"
    )
    timeless_inversion: bool = Field(
        description="invert without telling the network the timestep (published code: true)"
    )

    def passes(self, updates: int) -> int:
        """Network passes for an image of each batch, with the inversion's, which have no gradient."""
        return updates * (self.steps + self.inversion_steps - 1)


class AnimeDiffusionConfig(Section):
    """AnimeDiffusion."""

    conditioning_dropout: float = Field(
        ge=0, lt=1, description="fraction of training images without condition (published code: 0)"
    )


METHOD = Declaration(
    section=AnimeDiffusionConfig,
    refinement=AnimeDiffusionRefinement,
    sampling=AnimeDiffusionSampling,
    usual_sampling={"steps": 10, "timesteps": "leading", "eta": 1.0, "guidance": 1.0},
    rows={
        "animediffusion": Row("AnimeDiffusion, pretrained", "train"),
        "animediffusion_finetuned": Row(
            "AnimeDiffusion, finetuned", "refine", part="refined_sampling"
        ),
    },
)
