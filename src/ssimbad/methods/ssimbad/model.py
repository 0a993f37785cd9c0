"""SSIMBaD's noise levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ssimbad.methods.denoising import DenoisingMethod
from ssimbad.methods.ssimbad import SSIMBaDConfig

if TYPE_CHECKING:
    from ssimbad.methods.draws import Draws
    from ssimbad.networks.schema import UNetConfig
    from ssimbad.noise.transforms import Phi
    from ssimbad.schema import Section


class SSIMBaD(DenoisingMethod):
    """Trained on σ uniform in φ*, sampled at σ evenly spaced in φ*, c_noise = φ*(σ)."""

    def __init__(self, section: Section, unet: UNetConfig, phi: Phi) -> None:
        assert isinstance(section, SSIMBaDConfig)
        super().__init__(section, unet, phi)

    def noise_code(self, sigma: Tensor) -> Tensor:
        """φ*(σ)."""
        return self.spacing(sigma)

    def draw_sigma(self, draws: Draws) -> Tensor:
        """Uniform in φ* from sigma_min to sigma_max."""
        return self.spacing.uniform(draws.uniform())


MODEL = SSIMBaD
