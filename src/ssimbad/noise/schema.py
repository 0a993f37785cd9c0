"""The schema of the section ``phi``."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from ssimbad.noise.transforms import parse
from ssimbad.schema import Section


class PhiConfig(Section):
    """The range of noise and the search for φ*."""

    sigma_min: float = Field(gt=0, description="least noise, on images in [-1, 1]")
    sigma_max: float = Field(gt=0, description="most noise")
    choice: str = Field(
        description="auto: the search's best; or a transformation such as ln(sigma)"
    )
    images: int = Field(ge=1, description="training images the search measures")
    size: int = Field(ge=16, description="side they are resized to, pixels (published: 128)")
    points: int = Field(ge=3, description="noise levels a candidate")

    @field_validator("choice")
    @classmethod
    def _known(cls, value: str) -> str:
        if value != "auto":
            parse(value)
        return value

    @model_validator(mode="after")
    def _ordered(self) -> PhiConfig:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(
                f"sigma_min ({self.sigma_min}) must be below sigma_max ({self.sigma_max})"
            )
        return self
