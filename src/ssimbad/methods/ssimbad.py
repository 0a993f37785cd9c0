"""SSIMBaD (arXiv 2506.04283): EDM whose noise levels are spaced, and told to the network, by φ*."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ssimbad.methods.base import Stage
from ssimbad.methods.denoising import DenoisingConfig, DenoisingMethod
from ssimbad.networks.unet import UNetConfig
from ssimbad.noise.transforms import Phi
from ssimbad.section import Section


class SSIMBaDConfig(DenoisingConfig):
    """SSIMBaD."""


class SSIMBaD(DenoisingMethod):
    """Trained on σ uniform in φ*, sampled at σ evenly spaced in φ*, c_noise = φ*(σ)."""

    section: ClassVar[type[Section] | None] = SSIMBaDConfig
    rows: ClassVar[dict[str, Stage]] = {"ssimbad": "train", "ssimbad_refined": "refine"}
    resampled: ClassVar[dict[str, tuple[str, str]]] = {
        "ssimbad_few_steps": ("ssimbad_refined", "few_steps")
    }

    def __init__(self, section: Section, unet: UNetConfig, phi: Phi) -> None:
        assert isinstance(section, SSIMBaDConfig)
        super().__init__(section, unet, phi)

    def noise_code(self, sigma: Tensor) -> Tensor:
        """φ*(σ)."""
        return self.spacing(sigma)

    def draw_sigma(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniform in φ* from sigma_min to sigma_max."""
        return self.spacing.uniform(torch.rand(count, generator=generator))


METHOD = SSIMBaD
