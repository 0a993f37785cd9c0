"""How images are measured."""

from __future__ import annotations

from pydantic import Field

from ssimbad.section import Section


class EvaluateConfig(Section):
    """Measuring the images."""

    batch: int = Field(ge=1, description="images at once")
    resamples: int = Field(ge=100, description="bootstrap resamples for the intervals")
