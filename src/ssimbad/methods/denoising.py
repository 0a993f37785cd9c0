"""What the EDM-preconditioned methods share: all but which noise levels they train on and sample at."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ssimbad.diffusion.guidance import guided
from ssimbad.diffusion.preconditioning import edm_weight, per_image, precondition
from ssimbad.diffusion.samplers import SAMPLERS
from ssimbad.methods.base import Batch, Noise, RefinedMethod
from ssimbad.methods.schema import OWN, DenoisingConfig, RefinementConfig, SamplingConfig
from ssimbad.networks.unet import UNet
from ssimbad.noise.transforms import parse
from ssimbad.similarity import ssim

if TYPE_CHECKING:
    from ssimbad.methods.draws import Draws
    from ssimbad.networks.schema import UNetConfig
    from ssimbad.noise.transforms import Phi
    from ssimbad.schema import Section


class DenoisingMethod(RefinedMethod):
    """D(x; σ) = c_skip x + c_out F([c_in x, sketch, reference], s·c_noise(σ)).

    Args:
        section: the method's config section.
        unet: the U-Net's size.
        spacing: the transformation in which sampling's noise levels are evenly spaced.
    """

    def __init__(self, section: DenoisingConfig, unet: UNetConfig, spacing: Phi) -> None:
        super().__init__(section, unet, spacing)
        self.config, self.spacing = section, spacing
        self.network = UNet(unet, inputs=7, outputs=3)

    @property
    def backbone(self) -> UNet:
        """The U-Net."""
        return self.network

    @abstractmethod
    def noise_code(self, sigma: Tensor) -> Tensor:
        """c_noise(σ), what the network is told of the noise level."""

    @abstractmethod
    def draw_sigma(self, draws: Draws) -> Tensor:
        """Noise levels (B,) to train on."""

    def denoise(self, x: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        """Denoised images.

        Args:
            x: noisy images (B, 3, S, S).
            sigma: noise levels (B,), or a scalar for all.
            condition: sketch and reference (B, 4, S, S); zeros mean none.
        """
        sigma = sigma.expand(len(x))
        code = (self.config.noise_scale * self.noise_code(sigma)).to(x)

        def network(scaled: Tensor) -> Tensor:
            return self.network(torch.cat([scaled, condition], 1), code)

        return precondition(network, x, sigma.to(x), self.config.sigma_data)

    def training_losses(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Denoising loss, plus the structural term where configured."""
        target = batch.target
        sigma = self.draw_sigma(draws).to(target, non_blocking=True)
        noise = draws.noise(target)
        condition = draws.dropout(batch.condition(), self.config.conditioning_dropout)
        denoised = self.denoise(target + per_image(sigma) * noise, sigma, condition)
        errors = ((denoised - target) ** 2).mean((1, 2, 3))
        if self.config.weighting == "edm":
            errors = errors * edm_weight(sigma, self.config.sigma_data)
        losses = {"denoising": errors.mean()}
        if self.config.structural:
            similarity = ssim((denoised + 1) / 2, (target + 1) / 2)
            losses["structural"] = self.config.structural * (1 - similarity).mean()
        return losses

    def trajectory(self, refinement: Section, done: float) -> Section:
        """Single steps at first."""
        assert isinstance(refinement, RefinementConfig)
        single = refinement.is_single(done)
        return refinement.model_copy(update={"steps": 1}) if single else refinement

    def sigmas(self, sampling: SamplingConfig) -> Tensor:
        """The noise levels that a sampler steps through, falling to 0: (steps + 1,) float64."""
        spacing = self.spacing
        if sampling.spacing != OWN:
            name, c = parse(sampling.spacing)
            spacing = replace(spacing, name=name, c=c)
        if sampling.sigma_max:
            spacing = replace(spacing, sigma_max=sampling.sigma_max)
        return spacing.sampling_sigmas(sampling.steps, sampling.last_call)

    def rollout(self, batch: Batch, draws: Draws, refinement: Section | None) -> Tensor:
        """Euler sampling from fresh noise."""
        assert isinstance(refinement, RefinementConfig)
        noise = draws.noise(batch.target)
        condition = batch.condition()

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            if refinement.checkpointing:
                return checkpoint(self.denoise, x, sigma, condition, use_reentrant=False)
            return self.denoise(x, sigma, condition)

        sigmas = self.spacing.sampling_sigmas(refinement.steps, refinement.last_call)
        sigmas = sigmas.to(noise, non_blocking=True)
        return SAMPLERS["euler"](denoise, sigmas[0] * noise, sigmas)

    def colorize(
        self, sketch: Tensor, reference: Tensor, noise: Noise, sampling: Section | None
    ) -> Tensor:
        """Sample from draw 0 of ``noise`` with the configured sampler and guidance."""
        assert isinstance(sampling, SamplingConfig)
        condition = torch.cat([sketch, reference], 1)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return guided(lambda c: self.denoise(x, sigma, c), condition, sampling.guidance)

        start = noise(0)
        sigmas = self.sigmas(sampling).to(start)
        return SAMPLERS[sampling.sampler](denoise, sigmas[0] * start, sigmas).clamp(-1, 1)
