"""The schemas of the networks' sizes."""

from __future__ import annotations

from pydantic import Field, model_validator

from ssimbad.schema import Section


class UNetConfig(Section):
    """Size of the U-Net."""

    width: int = Field(ge=4, description="channels at full resolution")
    multipliers: list[int] = Field(
        min_length=1, max_length=6, description="channels of each level in widths, finest first"
    )
    blocks: int = Field(ge=1, le=8, description="residual blocks a level (depth)")
    attention: list[int] = Field(
        description="levels (0 = finest) whose blocks attend, besides the bottleneck (published: none)"
    )
    heads: int = Field(ge=1, description="attention heads")
    groups: int = Field(ge=1, description="group-normalisation groups")
    zero_init: bool = Field(
        description="residual blocks start as their shortcuts, their second convolution at zero"
        " (published: false)"
    )

    @model_validator(mode="after")
    def _divisible(self) -> UNetConfig:
        for multiplier in (1, *self.multipliers):
            channels = self.width * multiplier
            if multiplier < 1 or channels % self.groups or channels % self.heads:
                raise ValueError(
                    f"width × multiplier = {channels} must be a positive multiple of"
                    f" groups ({self.groups}) and heads ({self.heads})"
                )
        if bad := [a for a in self.attention if not 0 <= a < len(self.multipliers)]:
            raise ValueError(
                f"attention: no level {bad[0]}: levels are 0 to {len(self.multipliers) - 1}"
            )
        return self


SCFT_STRIDE = 16
"""Most pixels of the image a side of one of SCFT's tokens; images must be a multiple of it."""


class SCFTConfig(Section):
    """Size of SCFT's generator."""

    width: int = Field(ge=1, description="channels at full resolution (published: 16)")
    blocks: int = Field(ge=1, le=16, description="residual blocks after attention (published: 4)")
