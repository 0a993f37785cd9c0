"""How a stage is optimised: the schemas, and the learning rate they imply."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from ssimbad.schema import Section
from ssimbad.training.losses import STRATEGIES

UNITS = ("steps", "epochs", "images")
"""In which a schedule's length may be counted: keys of which one is above 0."""


class Schedule(Section):
    """Optimisation of one stage by AdamW."""

    steps: int = Field(
        ge=0, description="optimizer steps; 0: epochs or images says how many, in its own unit"
    )
    epochs: int = Field(
        ge=0,
        description="passes over the training images, the unit of warmup and checkpoint_every then",
    )
    images: int = Field(
        ge=0,
        description="images seen, whatever the batch, the unit of warmup and checkpoint_every then",
    )
    batch: int = Field(
        ge=1, description="images a step, of all processes (devices × nodes) together"
    )
    lr: float = Field(
        gt=0, description="peak learning rate of AdamW, for this batch whatever shares it"
    )
    min_lr: float = Field(
        ge=0, description="AdamW's learning rate at the end; others' in proportion"
    )
    warmup: int = Field(ge=0, description="linear warm-up, in steps, epochs or images")
    schedule: Literal["linear", "cosine", "cosine-counted-twice"] = Field(
        description="linear, cosine: down once; cosine-counted-twice (published): every epoch counts as"
        " two, so that the rate is down half-way and at its full height in the end; needs epochs"
    )
    weight_decay: float = Field(ge=0, description="decoupled weight decay")
    clip: float = Field(
        gt=0, description="largest gradient norm of a parameter group, of unscaled gradients"
    )
    clip_scaled: bool = Field(
        description="clip what 16-mixed has scaled up, before it is scaled down (published: true)"
    )
    ema: float = Field(ge=0, lt=1, description="decay of the weights' moving average; 0: none")
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = Field(
        description="Lightning's name of the number format; 16-mixed is bf16-mixed on a CPU"
    )
    checkpoint_every: int = Field(
        ge=1, description="steps, epochs or images between validations and saved states"
    )
    keep: int = Field(ge=1, description="best checkpoints kept while training")
    choose_by: Literal["validation", "last_batch"] = Field(
        description="loss that chooses among checkpoints: on the validation images, or of the last"
        " batch trained on (published)"
    )

    @model_validator(mode="after")
    def _one_unit(self) -> Schedule:
        lengths = {unit: getattr(self, unit) for unit in UNITS}
        if sum(length > 0 for length in lengths.values()) != 1:
            told = ", ".join(f"{unit} ({length})" for unit, length in lengths.items())
            raise ValueError(f"one of {told} must be above 0, the others 0")
        for unit in ("epochs", "images"):
            if lengths[unit] and max(self.warmup, self.checkpoint_every) > lengths[unit]:
                raise ValueError(
                    f"warmup ({self.warmup}) and checkpoint_every ({self.checkpoint_every}) are counted"
                    f" in {unit} here, of which there are {lengths[unit]}"
                )
        if self.schedule == "cosine-counted-twice" and not self.epochs:
            raise ValueError("schedule cosine-counted-twice needs epochs to count")
        return self


class StageConfig(Schedule):
    """Optimisation of one stage."""

    optimizer: Literal["adamw", "muon"] = Field(
        description="muon: orthogonalized momentum for convolution kernels, adamw for the rest"
    )
    muon_lr: float = Field(gt=0, description="peak learning rate of Muon")


class RefineConfig(StageConfig):
    """Optimisation of the refinement stage."""

    strategy: dict[
        Literal[tuple(STRATEGIES)],  # type: ignore[valid-type]
        Annotated[float, Field(ge=0)],
    ] = Field(description="the loss on sampled images: weight of each strategy, 0 leaves it out")
    clamp: bool = Field(
        description="clamp sampled images before the loss, which then has no gradient beyond"
        " [-1, 1] (published: true)"
    )

    @field_validator("strategy")
    @classmethod
    def _some(cls, value: dict[str, float]) -> dict[str, float]:
        if not any(value.values()):
            raise ValueError("at least one strategy must have a weight above 0")
        return value


_Any = TypeVar("_Any", bound=Schedule)


def in_steps(config: _Any, images: int) -> _Any:
    """The same schedule with ``steps``, ``warmup`` and ``checkpoint_every`` counted in optimizer steps.

    Batches run over the ends of epochs, so neither epochs nor images need be a whole number of steps; both
    are kept.

    Args:
        config: as the config file has it.
        images: number of training images.
    """
    length = config.epochs or config.images
    if not length:
        return config
    seen = images if config.epochs else 1

    def steps(count: int) -> int:
        return math.ceil(count * seen / config.batch)

    lengths = {"steps": length} | {
        key: getattr(config, key) for key in ("warmup", "checkpoint_every")
    }
    return config.model_copy(update={key: steps(value) for key, value in lengths.items()})


def learning_rate(config: Schedule, step: int) -> float:
    """Learning rate of a step (0-based): linear warm-up, then one line or cosine down to min_lr.

    Counted twice, as published, a step stands at its own number plus that of its epoch's first step,
    so that the cosine runs on from min_lr back to lr.

    Args:
        config: counted in steps, see :func:`in_steps`.
        step: number of the step.
    """
    if config.schedule == "cosine-counted-twice":
        epoch = config.steps / config.epochs
        position = step + epoch * (step // epoch)
        if position < config.warmup:
            return config.lr * position / config.warmup
    elif step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    else:
        position = min(step, config.steps)
    progress = (position - config.warmup) / max(1, config.steps - config.warmup)
    left = 1 - progress if config.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return config.min_lr + (config.lr - config.min_lr) * left
