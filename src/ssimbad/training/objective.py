"""What a stage minimises: one function of a batch, whichever the stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ssimbad.methods.base import SampledMethod, TrainedMethod
from ssimbad.training.losses import refinement_losses
from ssimbad.training.schema import RefineConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ssimbad.methods.base import Batch, NetworkMethod
    from ssimbad.methods.draws import Draws
    from ssimbad.schema import Section
    from ssimbad.training.schema import Schedule

    Objective = Callable[[Batch, Draws], dict[str, Tensor]]
    ByProgress = Callable[[float], Objective]


def objectives(
    method: NetworkMethod,
    config: Schedule,
    refinement: Section | None,
    weights: str,
    device: torch.device,
) -> tuple[ByProgress, Objective, list[dict[str, str]]]:
    """The named scalar losses of training, by the share of the stage's steps that are taken; of validation;
    and what to record of their networks.

    Args:
        method: the method.
        config: how to optimise; a :class:`RefineConfig` where it is on the images that the method makes.
        refinement: the part of that name of the method's section, where the stage is the refinement.
        weights: where loss networks' weights may come from.
        device: where loss networks go.

    Raises:
        UserError: weights, or an extra package a loss needs, cannot be had.
    """
    if not isinstance(config, RefineConfig):
        assert isinstance(method, TrainedMethod)
        networks = method.load_loss_networks(weights, device)
        return lambda done: method.training_losses, method.validation_losses, networks
    assert isinstance(method, SampledMethod)
    rollout, trajectory = method.rollout, method.trajectory
    distances, networks = refinement_losses(config.strategy, config.clamp, weights, device)

    def at(done: float) -> Objective:
        part = None if refinement is None else trajectory(refinement, done)

        def objective(batch: Batch, draws: Draws) -> dict[str, Tensor]:
            images = rollout(batch, draws, part)
            return {name: distance(images, batch.target) for name, distance in distances.items()}

        return objective

    return at, at(1.0), networks
