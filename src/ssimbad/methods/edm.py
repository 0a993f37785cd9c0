"""Vanilla EDM (Karras et al. 2022) on the same network: what SSIMBaD is without φ*."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ssimbad.methods.base import Stage
from ssimbad.methods.denoising import DenoisingConfig, DenoisingMethod
from ssimbad.networks.unet import UNetConfig
from ssimbad.noise.transforms import Phi
from ssimbad.section import Section


class EDMConfig(DenoisingConfig):
    """Vanilla EDM."""

    p_mean: float = Field(description="mean of ln σ in training (EDM: -1.2)")
    p_std: float = Field(gt=0, description="standard deviation of ln σ in training (EDM: 1.2)")


class EDM(DenoisingMethod):
    """Trained on ln σ ~ N(p_mean, p_std²), sampled at σ evenly spaced in ln σ, c_noise = ln(σ)/4."""

    section: ClassVar[type[Section] | None] = EDMConfig
    rows: ClassVar[dict[str, Stage]] = {"edm": "train", "edm_refined": "refine"}

    def __init__(self, section: Section, unet: UNetConfig, phi: Phi) -> None:
        assert isinstance(section, EDMConfig)
        super().__init__(section, unet, dataclasses.replace(phi, name="ln(sigma)", c=0.0))
        self.p_mean, self.p_std = section.p_mean, section.p_std

    def noise_code(self, sigma: Tensor) -> Tensor:
        """ln(σ)/4."""
        return sigma.log() / 4

    def draw_sigma(self, count: int, generator: torch.Generator) -> Tensor:
        """Log-normal."""
        return torch.exp(self.p_mean + self.p_std * torch.randn(count, generator=generator))


METHOD = EDM
