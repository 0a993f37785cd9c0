"""EDM's noise levels."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssimbad.methods.denoising import DenoisingMethod
from ssimbad.methods.edm import EDMConfig
from ssimbad.noise.transforms import EDM as SPACING

if TYPE_CHECKING:
    from ssimbad.methods.draws import Draws
    from ssimbad.networks.schema import UNetConfig
    from ssimbad.noise.transforms import Phi
    from ssimbad.schema import Section


class EDM(DenoisingMethod):
    """Trained on ln σ ~ N(p_mean, p_std²), sampled at σ evenly spaced in σ^(1/7), c_noise = ln(σ)/4."""

    def __init__(self, section: Section, unet: UNetConfig, phi: Phi) -> None:
        assert isinstance(section, EDMConfig)
        super().__init__(section, unet, dataclasses.replace(phi, name=SPACING, c=0.0))
        self.p_mean, self.p_std = section.p_mean, section.p_std

    def noise_code(self, sigma: Tensor) -> Tensor:
        """ln(σ)/4."""
        return sigma.log() / 4

    def draw_sigma(self, draws: Draws) -> Tensor:
        """Log-normal."""
        return torch.exp(self.p_mean + self.p_std * draws.normal())


MODEL = EDM
