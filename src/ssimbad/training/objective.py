"""What a stage minimises: one function of a batch, whichever the stage."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ssimbad.methods.base import Batch, RefinedMethod, TrainedMethod
from ssimbad.section import Section
from ssimbad.training.losses import refinement_losses
from ssimbad.training.settings import RefineConfig, Schedule

Objective = Callable[[Batch, torch.Generator], dict[str, Tensor]]
ByStep = Callable[[int], Objective]


def objectives(
    method: TrainedMethod,
    config: Schedule,
    refinement: Section | None,
    weights: str,
    device: torch.device,
) -> tuple[ByStep, Objective, list[dict[str, str]]]:
    """What gives the named scalar losses of each training step, by its number from 0; those of validation;
    and what to record of their networks.

    Args:
        method: the method.
        config: how to optimise, counted in steps; a :class:`RefineConfig` for the refinement stage.
        refinement: that stage's part of the method's section, None for the first stage.
        weights: where loss networks' weights may come from.
        device: where loss networks go.

    Raises:
        UserError: weights, or an extra package a loss needs, cannot be had.
    """
    if not isinstance(config, RefineConfig):
        networks = method.load_loss_networks(weights, device)
        return lambda step: method.training_losses, method.validation_losses, networks
    assert isinstance(method, RefinedMethod)
    assert refinement is not None
    distances, networks = refinement_losses(config.strategy, config.clamp, weights, device)

    def through(part: Section) -> Objective:
        def objective(batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
            images = method.rollout(batch, generator, part)
            return {name: distance(images, batch.target) for name, distance in distances.items()}

        return objective

    single, whole = through(refinement.model_copy(update={"steps": 1})), through(refinement)
    return lambda step: single if step < config.single_step else whole, whole, networks
