"""What config sections may ask of DDPM."""

from typing import Literal

TIMESTEPS = 1000
"""Steps of the process."""
Spacing = Literal["leading", "trailing"]
"""Which timesteps a sampler calls the network at."""
