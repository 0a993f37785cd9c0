"""SSIMBaD (arXiv 2506.04283): EDM whose noise levels are spaced, and told to the network, by φ*."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ssimbad.diffusion.preconditioning import edm_weight, per_image, precondition
from ssimbad.diffusion.samplers import SAMPLERS
from ssimbad.methods.base import Batch, RefinedMethod, Stage
from ssimbad.networks.unet import UNet, UNetConfig
from ssimbad.noise.transforms import Phi
from ssimbad.section import Section
from ssimbad.similarity import ssim

_LAST_CALL = (
    "also call the network at sigma_min, where it changes next to nothing (published: true)"
)


class SamplingConfig(Section):
    """How images are sampled."""

    sampler: Literal["euler", "heun", "dpmpp_2m"] = Field(
        description="heun (published) diverges where few steps start from a high sigma_max"
    )
    steps: int = Field(ge=1, le=1000, description="noise levels, uniform in φ (published: 500)")
    last_call: bool = Field(description=_LAST_CALL)
    guidance: float = Field(
        ge=0, description="classifier-free guidance scale; 1: plain conditional sampling"
    )


class RefinementConfig(Section):
    """Trajectory refinement."""

    steps: int = Field(
        ge=1, le=1000, description="Euler steps unrolled, as sampling.steps (published: 50)"
    )
    last_call: bool = Field(description=_LAST_CALL)
    checkpointing: bool = Field(
        description="recompute activations in the backward pass: memory of one step, a third more time"
    )


class SSIMBaDConfig(Section):
    """SSIMBaD."""

    sigma_data: float = Field(gt=0, description="standard deviation of images in [-1, 1]")
    weighting: Literal["none", "edm"] = Field(
        description="loss weight: 1 (published) or EDM's 1/c_out²"
    )
    structural: float = Field(ge=0, description="weight of the loss term 1 − SSIM(D, x0)")
    noise_scale: float = Field(
        gt=0, description="factor on c_noise = φ(σ) before the sinusoidal embedding (published: 1)"
    )
    conditioning_dropout: float = Field(
        ge=0, lt=1, description="fraction of training images without condition, for guidance"
    )


class SSIMBaD(RefinedMethod):
    """D(x; σ) = c_skip x + c_out F([c_in x, sketch, reference], s·φ(σ))."""

    section: ClassVar[type[Section] | None] = SSIMBaDConfig
    refinement: ClassVar[type[Section] | None] = RefinementConfig
    sampling: ClassVar[type[Section] | None] = SamplingConfig
    rows: ClassVar[dict[str, Stage]] = {"ssimbad": "train", "ssimbad_refined": "refine"}

    def __init__(self, section: Section, unet: UNetConfig, phi: Phi) -> None:
        super().__init__(section, unet, phi)
        assert isinstance(section, SSIMBaDConfig)
        self.config, self.phi = section, phi
        self.network = UNet(unet, inputs=7, outputs=3)

    def denoise(self, x: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        """Denoised images.

        Args:
            x: noisy images (B, 3, S, S).
            sigma: noise levels (B,), or a scalar for all.
            condition: sketch and reference (B, 4, S, S); zeros mean none.
        """
        sigma = sigma.expand(len(x))
        noise = (self.config.noise_scale * self.phi(sigma)).to(x)

        def network(scaled: Tensor) -> Tensor:
            return self.network(torch.cat([scaled, condition], 1), noise)

        return precondition(network, x, sigma.to(x), self.config.sigma_data)

    def training_losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Denoising loss at σ uniform in φ, plus the structural term where configured."""
        target = batch.target
        sigma = self.phi.uniform(torch.rand(len(target), generator=generator)).to(target)
        noise = torch.randn(target.shape, generator=generator).to(target)
        kept = torch.rand(len(target), generator=generator) >= self.config.conditioning_dropout
        condition = torch.cat([batch.sketch, batch.reference], 1) * per_image(kept.to(target))
        denoised = self.denoise(target + per_image(sigma) * noise, sigma, condition)
        errors = ((denoised - target) ** 2).mean((1, 2, 3))
        if self.config.weighting == "edm":
            errors = errors * edm_weight(sigma, self.config.sigma_data)
        losses = {"denoising": errors.mean()}
        if self.config.structural:
            similarity = ssim((denoised + 1) / 2, (target + 1) / 2)
            losses["structural"] = self.config.structural * (1 - similarity).mean()
        return losses

    def rollout(self, batch: Batch, generator: torch.Generator, refinement: Section) -> Tensor:
        """Euler sampling from fresh noise."""
        assert isinstance(refinement, RefinementConfig)
        noise = torch.randn(batch.target.shape, generator=generator).to(batch.target)
        condition = torch.cat([batch.sketch, batch.reference], 1)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            if refinement.checkpointing:
                return checkpoint(self.denoise, x, sigma, condition, use_reentrant=False)
            return self.denoise(x, sigma, condition)

        sigmas = self.phi.sampling_sigmas(refinement.steps, refinement.last_call).to(noise)
        return SAMPLERS["euler"](denoise, sigmas[0] * noise, sigmas)

    def colorize(
        self, sketch: Tensor, reference: Tensor, noise: Tensor, sampling: Section | None
    ) -> Tensor:
        """Sample from ``noise`` with the configured sampler and guidance, clamped to [-1, 1]."""
        assert isinstance(sampling, SamplingConfig)
        condition = torch.cat([sketch, reference], 1)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            conditional = self.denoise(x, sigma, condition)
            if sampling.guidance == 1:
                return conditional
            free = self.denoise(x, sigma, torch.zeros_like(condition))
            return free + sampling.guidance * (conditional - free)

        sigmas = self.phi.sampling_sigmas(sampling.steps, sampling.last_call).to(noise)
        return SAMPLERS[sampling.sampler](denoise, sigmas[0] * noise, sigmas).clamp(-1, 1)


METHOD = SSIMBaD
