"""The base of every config section's schema."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from ssimbad.machine import at_home


class Section(BaseModel):
    """A config section: immutable, every key required unless it says otherwise, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


UserPath = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$"), AfterValidator(at_home)]
"""A file or folder as the user names it; ``~`` is home."""

DEVICES = r"^(auto|cpu|cuda(:\d+)?)$"
"""What a device may be called."""
