"""The base of every config section's schema."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A config section: immutable, every key required unless it says otherwise, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


DEVICES = r"^(auto|cpu|cuda(:\d+)?)$"
"""What a device may be called."""
