"""AnimeDiffusion's network, losses and sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
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
from ssimbad.methods.animediffusion import (
    AnimeDiffusionConfig,
    AnimeDiffusionRefinement,
    AnimeDiffusionSampling,
)
from ssimbad.methods.base import Batch, Noise, RefinedMethod
from ssimbad.networks.unet import UNet

if TYPE_CHECKING:
    from ssimbad.methods.draws import Draws
    from ssimbad.networks.schema import UNetConfig
    from ssimbad.noise.transforms import Phi
    from ssimbad.schema import Section


class AnimeDiffusion(RefinedMethod):
    """ε̂(x_t, t) from [x_t, sketch, reference], T = 1000, β linear from 1e-6 to 1e-2."""

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

    def training_losses(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Mean squared error of ε̂ at t ~ U{0..999}."""
        target = batch.target
        t = draws.integers(TIMESTEPS)
        noise = draws.noise(target)
        condition = draws.dropout(batch.condition(), self.config.conditioning_dropout)
        noisy = add_noise(target, t, noise)
        predicted = self.network(torch.cat([noisy, condition], 1), t.to(target, non_blocking=True))
        return {"noise": ((predicted - noise) ** 2).mean()}

    def rollout(self, batch: Batch, draws: Draws, refinement: Section | None) -> Tensor:
        """DDIM from the inverted truth; the inversion has no gradient."""
        assert isinstance(refinement, AnimeDiffusionRefinement)
        target, condition = batch.target, batch.condition()
        times = timesteps(refinement.steps, refinement.timesteps)

        def noise(number: int) -> Tensor:
            return draws.noise(target)

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
                noise(0),
            )
        limit = clamp if refinement.clamp_gradient else straight_through_clamp
        return ddim(predict, start, times, refinement.eta, noise, limit)

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


MODEL = AnimeDiffusion
