"""How images are measured."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from ssimbad.evaluation.metrics import SWEPT
from ssimbad.methods import known_rows
from ssimbad.schema import Section


class InferConfig(Section):
    """Colorizing the test set."""

    batch: int = Field(
        ge=1, description="images at once in each process; changes nothing above 1/255"
    )


class EvaluateConfig(Section):
    """Measuring the images."""

    batch: int = Field(ge=1, description="images at once")
    resamples: int = Field(ge=100, description="bootstrap resamples for the intervals")


class SearchConfig(Section):
    """How a row's ways of sampling are searched."""

    choose_by: Literal["config", *SWEPT] = Field(  # type: ignore[valid-type]
        description="metric whose mean over settings chooses how these rows sample; config: they sample as"
        " their sections say, and what is measured chooses nothing"
    )
    tolerance: float = Field(
        ge=0, lt=1, description="part of the best value within which fewer network calls win"
    )
    steps: list[int] = Field(
        min_length=1, description="numbers of sampling steps tried with every sampler"
    )
    vary: dict[str, list[bool | float | str]] = Field(
        description="other keys of the rows' sampling sections, with the values that are then tried at the"
        " best samplers and steps, one key after the other by name"
    )
    calls: int = Field(
        ge=1,
        description="network calls an image may take in all; no further way is tried once they are used up,"
        " and no further number of steps but common_calls once half are",
    )
    common_calls: int = Field(
        ge=1,
        le=1000,
        description="network calls of the table that has all of these rows at as many; tried as steps too",
    )
    images: int = Field(ge=1, description="validation images used, the first ones")

    @property
    def objective(self) -> str:
        """The metric that leads the search; LPIPS where what it finds chooses nothing."""
        return "lpips" if self.choose_by == "config" else self.choose_by

    @field_validator("steps")
    @classmethod
    def _positive(cls, value: list[int]) -> list[int]:
        if bad := [steps for steps in value if not 1 <= steps <= 1000]:
            raise ValueError(f"{bad[0]} is not from 1 to 1000")
        return value


class SweepConfig(SearchConfig):
    """Ways of sampling, measured on validation images, and the choice among them."""

    rows: list[str] = Field(description="rows it is taken of, where the table has them")

    _rows = field_validator("rows")(known_rows)


class OracleConfig(Section):
    """Oracle guidance by the ground truth, kept out of the table."""

    rows: list[str] = Field(
        description="rows of denoisers (edm, ssimbad) it is applied to, where the table has them"
    )
    guide: Literal["ssim", "lpips"] = Field(
        description="distance to the truth that steers: 1 − SSIM of grey images (published), or LPIPS"
    )
    gradient: Literal["network", "step"] = Field(
        description="network (published): of the clamped step's result by the step's start, through the"
        " network; step: by the result itself, without a backward pass through the network"
    )
    scale: float = Field(
        ge=0,
        description="how far to go along it in images of 256 px (published: 500); elsewhere in proportion to"
        " the number of pixels, since the distance is a mean over them",
    )
    images: int = Field(ge=1, description="test images used, the first ones")

    _rows = field_validator("rows")(known_rows)
