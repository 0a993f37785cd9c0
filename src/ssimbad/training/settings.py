"""How a stage is optimised: the schemas, and the learning rate they imply."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator

from ssimbad.section import Section

Strategy = Literal["mse", "lpips-vgg", "ssim", "clip"]
"""The refinement strategies: which distance of sampled images to the truth is minimised."""


class Schedule(Section):
    """Optimisation of one stage by AdamW."""

    steps: int = Field(ge=1, description="optimizer steps")
    batch: int = Field(
        ge=1, description="images a step, of all processes (devices × nodes) together"
    )
    lr: float = Field(
        gt=0, description="peak learning rate of AdamW, for this batch whatever shares it"
    )
    min_lr: float = Field(
        ge=0, description="AdamW's learning rate at the end of the cosine; others' in proportion"
    )
    warmup: int = Field(ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(ge=0, description="decoupled weight decay")
    clip: float = Field(
        gt=0, description="largest gradient norm of a parameter group, of unscaled gradients"
    )
    ema: float = Field(ge=0, lt=1, description="decay of the weights' moving average; 0: none")
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = Field(
        description="Lightning's name of the number format; 16-mixed is bf16-mixed on a CPU"
    )
    checkpoint_every: int = Field(ge=1, description="steps between validations and saved states")
    keep: int = Field(ge=1, description="best checkpoints kept while training")


class StageConfig(Schedule):
    """Optimisation of one stage."""

    optimizer: Literal["adamw", "muon"] = Field(
        description="muon: orthogonalized momentum for convolution kernels, adamw for the rest"
    )
    muon_lr: float = Field(gt=0, description="peak learning rate of Muon")


class RefineConfig(StageConfig):
    """Optimisation of the refinement stage."""

    strategy: dict[Strategy, Annotated[float, Field(ge=0)]] = Field(
        description="the loss on sampled images: weight of each strategy, 0 leaves it out"
    )

    @field_validator("strategy")
    @classmethod
    def _some(cls, value: dict[Strategy, float]) -> dict[Strategy, float]:
        if not any(value.values()):
            raise ValueError("at least one strategy must have a weight above 0")
        return value


def learning_rate(config: Schedule, step: int) -> float:
    """Learning rate of a step (0-based): linear warm-up, then one cosine down to min_lr."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    cosine = (1 + math.cos(math.pi * min(progress, 1))) / 2
    return config.min_lr + (config.lr - config.min_lr) * cosine
