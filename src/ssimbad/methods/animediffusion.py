"""AnimeDiffusion (Cao et al., TVCG 2024): DDPM on the shared U-Net, finetuned through DDIM.

The original's conditional inversion calls its network without the timestep;
``refinement.timeless_inversion`` does so too.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ssimbad.diffusion.ddpm import (
    TIMESTEPS,
    add_noise,
    clamp,
    ddim,
    ddim_invert,
    inversion_timesteps,
    straight_through_clamp,
    timesteps,
)
from ssimbad.diffusion.guidance import guided
from ssimbad.methods.base import Batch, Noise, RefinedMethod, Stage
from ssimbad.networks.unet import UNet, UNetConfig
from ssimbad.noise.transforms import Phi
from ssimbad.section import Section

_SPACING = "leading (published): 1, 1 + Δ, …; trailing: …, 999"


class AnimeDiffusionSampling(Section):
    """How images are sampled: DDIM."""

    steps: int = Field(ge=1, le=TIMESTEPS, description="network calls (published: 50)")
    timesteps: Literal["leading", "trailing"] = Field(description=_SPACING)
    eta: float = Field(ge=0, le=1, description="0: deterministic; 1 (published): DDPM's variance")
    guidance: float = Field(
        ge=0,
        description="classifier-free guidance scale; 1: none. Finetuning trains no free branch",
    )


class AnimeDiffusionRefinement(Section):
    """Finetuning through DDIM from the truth's inversion."""

    steps: int = Field(ge=1, le=TIMESTEPS, description="DDIM steps unrolled (published: 10)")
    timesteps: Literal["leading", "trailing"] = Field(description=_SPACING)
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
    checkpointing: bool = Field(
        description="recompute activations in the backward pass: memory of one step, a third more time"
    )


class AnimeDiffusionConfig(Section):
    """AnimeDiffusion."""

    conditioning_dropout: float = Field(
        ge=0, lt=1, description="fraction of training images without condition (published code: 0)"
    )


class AnimeDiffusion(RefinedMethod):
    """ε̂(x_t, t) from [x_t, sketch, reference], T = 1000, β linear from 1e-6 to 1e-2."""

    section: ClassVar[type[Section] | None] = AnimeDiffusionConfig
    refinement: ClassVar[type[Section] | None] = AnimeDiffusionRefinement
    sampling: ClassVar[type[Section] | None] = AnimeDiffusionSampling
    usual_sampling: ClassVar[dict[str, Any]] = {
        "steps": 2,
        "timesteps": "trailing",
        "eta": 1.0,
        "guidance": 1.0,
    }
    rows: ClassVar[dict[str, Stage]] = {
        "animediffusion": "train",
        "animediffusion_finetuned": "refine",
    }

    def __init__(self, section: Section, unet: UNetConfig, phi: Phi) -> None:
        super().__init__(section, unet, phi)
        assert isinstance(section, AnimeDiffusionConfig)
        self.config = section
        self.network = UNet(unet, inputs=7, outputs=3)

    @property
    def backbone(self) -> UNet:
        """The U-Net."""
        return self.network

    def predict(self, x: Tensor, t: int | None, condition: Tensor) -> Tensor:
        """ε̂ (B, 3, S, S) in images all at timestep t; None leaves the time out."""
        times = None if t is None else torch.full((len(x),), float(t), device=x.device)
        return self.network(torch.cat([x, condition], 1), times)

    def training_losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean squared error of ε̂ at t ~ U{0..999}."""
        target = batch.target
        t = batch.own(lambda n: torch.randint(TIMESTEPS, (n,), generator=generator))
        noise = batch.normal(generator)
        condition = batch.condition(self.config.conditioning_dropout, generator)
        noisy = add_noise(target, t, noise)
        predicted = self.network(torch.cat([noisy, condition], 1), t.to(target))
        return {"noise": ((predicted - noise) ** 2).mean()}

    def rollout(self, batch: Batch, generator: torch.Generator, refinement: Section) -> Tensor:
        """DDIM from the inverted truth; the inversion has no gradient."""
        assert isinstance(refinement, AnimeDiffusionRefinement)
        target, condition = batch.target, batch.condition()
        times = timesteps(refinement.steps, refinement.timesteps)

        def draw(number: int) -> Tensor:
            return batch.normal(generator)

        def predict(x: Tensor, t: int) -> Tensor:
            if refinement.checkpointing:
                return checkpoint(self.predict, x, t, condition, use_reentrant=False)
            return self.predict(x, t, condition)

        timeless = refinement.timeless_inversion
        with torch.no_grad():
            start = ddim_invert(
                lambda x, t: self.predict(x, None if timeless else t, condition),
                target,
                inversion_timesteps(refinement.inversion_steps, times[-1]),
                draw(0),
            )
        limit = clamp if refinement.clamp_gradient else straight_through_clamp
        return ddim(predict, start, times, refinement.eta, draw, limit)

    def colorize(
        self, sketch: Tensor, reference: Tensor, noise: Noise, sampling: Section | None
    ) -> Tensor:
        """DDIM from noise."""
        assert isinstance(sampling, AnimeDiffusionSampling)
        condition = torch.cat([sketch, reference], 1)

        def predict(x: Tensor, t: int) -> Tensor:
            return guided(lambda c: self.predict(x, t, c), condition, sampling.guidance)

        times = timesteps(sampling.steps, sampling.timesteps)
        return ddim(predict, noise(0), times, sampling.eta, noise).clamp(-1, 1)


METHOD = AnimeDiffusion
