"""What every method of the table offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ssimbad.methods.draws import Draws
    from ssimbad.networks.schema import UNetConfig
    from ssimbad.noise.transforms import Phi
    from ssimbad.schema import Section

Noise = Callable[[int], Tensor]
"""A batch's randomness: the k-th draw of standard normal noise (B, 3, S, S), each image's own."""


@dataclass(frozen=True)
class Batch:
    """Images of one batch, all in [-1, 1].

    Attributes:
        names: B image names.
        sketch: (B, 1, S, S).
        reference: (B, 3, S, S), warped.
        target: (B, 3, S, S), the sketch's ground truth.
        warp: (B, S, S, 2), where in the target, (x, y) in [0, 1] within the frame, each pixel of the
            reference was read.
        redrawn: (B,) bool, whose reference is another drawing in the target's colours, which its ``warp``
            therefore says nothing about; None: nobody's.
    """

    names: list[str]
    sketch: Tensor
    reference: Tensor
    target: Tensor
    warp: Tensor
    redrawn: Tensor | None = None

    def condition(self) -> Tensor:
        """Sketch and reference (B, 4, S, S)."""
        return torch.cat([self.sketch, self.reference], 1)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on ``device``."""
        tensors: dict[str, Any] = {
            k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)
        }
        return replace(self, **tensors)


class Method(nn.Module, ABC):
    """A colorization method's model."""

    @property
    def backbone(self) -> nn.Module | None:
        """The network that colorizes, whose calls and parameters the table states; None if none does."""
        return None

    @abstractmethod
    def colorize(
        self, sketch: Tensor, reference: Tensor, noise: Noise, sampling: Section | None
    ) -> Tensor:
        """Colorize sketches by references.

        Args:
            sketch: (B, 1, S, S) in [-1, 1].
            reference: (B, 3, S, S) in [-1, 1].
            noise: the only randomness there is.
            sampling: the part of the method's config section that says how the row samples.

        Returns:
            (B, 3, S, S) in [-1, 1].
        """


class NetworkMethod(Method):
    """A method with networks to train."""

    def __init__(self, section: Section | None, unet: UNetConfig, phi: Phi) -> None:
        """Networks with fresh weights.

        Args:
            section: the method's config section; None where it has none.
            unet: the size of the U-Net that the diffusion methods share.
            phi: φ* of the data, which also holds the range of σ.
        """
        super().__init__()

    def optimizer_groups(self, lr: float) -> list[dict[str, Any]]:
        """The optimizer's parameter groups; one with all parameters.

        Args:
            lr: the configured peak learning rate, which a group may scale.
        """
        return [{"params": list(self.parameters())}]

    def load_loss_networks(self, weights: str, device: torch.device) -> list[dict[str, str]]:
        """Fetch the frozen networks that the training losses need; none.

        Args:
            weights: where their weights may come from.
            device: where they go.

        Returns:
            What to record of each: network, source and digest.

        Raises:
            UserError: weights cannot be had.
        """
        return []


class TrainedMethod(NetworkMethod):
    """A method that is trained on losses of its own."""

    @abstractmethod
    def training_losses(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Named scalar losses of a batch, already weighted; training minimises their sum.

        Args:
            batch: images, maybe a process's part of the step's batch.
            draws: the only randomness there is.
        """

    def validation_losses(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Named scalar losses whose sum chooses among checkpoints: the training losses."""
        return self.training_losses(batch, draws)


class SampledMethod(NetworkMethod):
    """A method that is trained on the images it makes, by the losses of ``refine.strategy``."""

    def trajectory(self, refinement: Section, done: float) -> Section:
        """What trajectories are like once a share ``done`` in [0, 1] of the stage's steps are taken.

        Args:
            refinement: the part of that name of the method's section, which this is unless overridden.
            done: the share; 1 for the trajectories that choose among checkpoints.

        Returns:
            The part for :meth:`rollout`.
        """
        return refinement

    @abstractmethod
    def rollout(self, batch: Batch, draws: Draws, refinement: Section | None) -> Tensor:
        """Images (B, 3, S, S), with a gradient beyond [-1, 1] too.

        Args:
            batch: images, maybe a process's part of the step's batch.
            draws: the only randomness there is.
            refinement: what :meth:`trajectory` gave; None where the method's section has no such part.
        """


class RefinedMethod(TrainedMethod, SampledMethod):
    """A method trained on losses of its own, and then, through its sampler, on its images."""
