"""SCFT (Lee et al., CVPR 2020): augmented-self reference and spatially corresponding feature transfer.

The reference is a warp of the colour-jittered image a(I), the target a(I) itself. Generator and
discriminator step at once, each by its own Adam, from the gradients at the same weights.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ssimbad.methods.declaration import Declaration, Row
from ssimbad.networks.schema import SCFT_STRIDE, SCFTConfig


class SCFTMethodConfig(SCFTConfig):
    """SCFT."""

    trunk: Literal["auto", "vgg16", "vgg19"] = Field(
        description="VGG of the perceptual and style losses; auto: vgg19 where its weights can be had"
    )
    depth: int = Field(ge=1, le=5, description="perceptual maps relu1_1 … relu<depth>_1")
    adversarial: float = Field(ge=0, description="weight of the LSGAN loss (published: 1)")
    reconstruction: float = Field(ge=0, description="weight of the L1 loss (published: 30)")
    triplet: float = Field(ge=0, description="weight of the similarity triplet (published: 1)")
    perceptual: float = Field(ge=0, description="weight of the perceptual loss (published: 0.01)")
    style: float = Field(ge=0, description="weight of the style loss (published: 50)")
    discriminator_lr: float = Field(
        gt=0, description="discriminator's learning rate in the generator's (published: 2)"
    )


METHOD = Declaration(
    section=SCFTMethodConfig,
    own_recipe=True,
    rows={"scft": Row("SCFT", "train")},
    stride=SCFT_STRIDE,
)
