"""The network of plain regression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssimbad.methods.base import Batch, Noise, SampledMethod
from ssimbad.networks.unet import UNet

if TYPE_CHECKING:
    from ssimbad.methods.draws import Draws
    from ssimbad.networks.schema import UNetConfig
    from ssimbad.noise.transforms import Phi
    from ssimbad.schema import Section


class Regression(SampledMethod):
    """The image from sketch and reference, trained on it by the losses that refined rows are trained on."""

    def __init__(self, section: Section | None, unet: UNetConfig, phi: Phi) -> None:
        super().__init__(section, unet, phi)
        self.network = UNet(unet, inputs=4, outputs=3, timed=False)

    @property
    def backbone(self) -> UNet:
        """The U-Net."""
        return self.network

    def rollout(self, batch: Batch, draws: Draws, refinement: Section | None) -> Tensor:
        """The images of the one call."""
        return self.network(batch.condition(), None)

    def colorize(
        self, sketch: Tensor, reference: Tensor, noise: Noise, sampling: Section | None
    ) -> Tensor:
        """The image of the one call; nothing is drawn."""
        return self.network(torch.cat([sketch, reference], 1), None).clamp(-1, 1)


MODEL = Regression
