"""What every method of the table offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ssimbad.networks.unet import UNetConfig
from ssimbad.noise.transforms import Phi
from ssimbad.section import Section

Stage = Literal["none", "train", "refine"]


@dataclass(frozen=True)
class Batch:
    """Images of one batch, all in [-1, 1].

    Attributes:
        names: B image names.
        sketch: (B, 1, S, S).
        reference: (B, 3, S, S), warped.
        target: (B, 3, S, S), the sketch's ground truth.
    """

    names: list[str]
    sketch: Tensor
    reference: Tensor
    target: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on ``device``."""
        return Batch(
            self.names,
            self.sketch.to(device),
            self.reference.to(device),
            self.target.to(device),
        )


class Method(nn.Module, ABC):
    """A colorization method.

    Class attributes:
        section: the schema of its config section, without the two parts below, or None where it
            has none; the section's key is the name of the method's module.
        refinement: the schema of the section's part ``refinement``, which only that stage reads.
        sampling: the schema of the section's part ``sampling``, which only inference reads.
        rows: the table rows it makes, each with the stage whose checkpoint it uses ("none": no
            checkpoint).
    """

    section: ClassVar[type[Section] | None] = None
    refinement: ClassVar[type[Section] | None] = None
    sampling: ClassVar[type[Section] | None] = None
    rows: ClassVar[dict[str, Stage]]

    @abstractmethod
    def colorize(
        self, sketch: Tensor, reference: Tensor, noise: Tensor, sampling: Section | None
    ) -> Tensor:
        """Colorize sketches by references.

        Args:
            sketch: (B, 1, S, S) in [-1, 1].
            reference: (B, 3, S, S) in [-1, 1].
            noise: (B, 3, S, S) standard normal, the only randomness there is.
            sampling: the part ``sampling`` of the method's config section.

        Returns:
            (B, 3, S, S) in [-1, 1].
        """


class TrainedMethod(Method):
    """A method with networks to train, built from its config section, the shared U-Net size and φ."""

    def __init__(self, section: Section, unet: UNetConfig, phi: Phi) -> None:
        super().__init__()

    @abstractmethod
    def training_losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named scalar losses of a batch, already weighted; training minimises their sum."""


class RefinedMethod(TrainedMethod):
    """A trained method with a second stage that backpropagates through its sampler."""

    @abstractmethod
    def rollout(self, batch: Batch, generator: torch.Generator, refinement: Section) -> Tensor:
        """Sampled images (B, 3, S, S), differentiable and not clamped to [-1, 1]."""
