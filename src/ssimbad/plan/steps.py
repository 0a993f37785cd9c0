"""One optimizer step of a stage, as the training loop takes it: what is counted, and what is timed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from ssimbad.methods.base import Batch, NetworkMethod
from ssimbad.methods.draws import Draws
from ssimbad.pretrained.sources import BLANK
from ssimbad.schema import Section
from ssimbad.training.objective import objectives
from ssimbad.training.optimizer import build, clip_gradients

if TYPE_CHECKING:
    from ssimbad.schema import Section
    from ssimbad.training.schema import Schedule

_CPU = torch.device("cpu")


def blank_batch(count: int, size: int) -> Batch:
    """Grey images: what a step costs does not depend on what they show."""
    sketch, reference, target = (torch.zeros(count, c, size, size) for c in (1, 3, 3))
    return Batch(["blank"] * count, sketch, reference, target, torch.zeros(count, size, size, 2))


class Stepper:
    """A stage's steps as they are at its end, on one batch, with blank loss networks.

    Args:
        method: the method, whose weights change.
        config: how to optimise; its ``batch`` is the size of the batch.
        refinement: that stage's part of the method's section, None for the first stage.
        size: side of the images, pixels.

    Raises:
        UserError: an extra package that a loss needs is missing.
    """

    def __init__(
        self, method: NetworkMethod, config: Schedule, refinement: Section | None, size: int
    ) -> None:
        self.method, self.config = method.train(), config
        objective_at, self.validation_objective, _ = objectives(
            method, config, refinement, BLANK, _CPU
        )
        self.objective = objective_at(1.0)
        self.batch = blank_batch(config.batch, size)
        self.optimizer = build(method.optimizer_groups(config.lr), config)
        self.average = [value.detach().clone() for value in method.state_dict().values()]

    def _precision(self) -> AbstractContextManager:
        if self.config.precision == "32-true":
            return nullcontext()
        return torch.autocast("cpu", torch.bfloat16)

    def _formats(self) -> AbstractContextManager:
        """Within it, mixed precision normalises groups in 32 bits, as on a GPU; on a CPU it does not."""
        if self.config.precision == "32-true":
            return nullcontext()
        normalise = F.group_norm

        def in_32_bits(images: Tensor, *rest: Any) -> Tensor:
            return normalise(images.float(), *rest)

        return patch("torch.nn.functional.group_norm", in_32_bits)

    def _draws(self) -> Draws:
        return Draws(torch.Generator().manual_seed(0), self.config.batch)

    def prepare(self) -> None:
        """Have the optimizer make its state, so that steps are alike."""
        for parameter in self.method.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def step(self) -> None:
        """Losses, gradients, clipping, optimizer, moving average."""
        with self._formats():  # the backward pass computes checkpointed activations again
            with self._precision():
                losses = self.objective(self.batch, self._draws())
                total = torch.stack(list(losses.values())).sum()
            total.backward()
        clip_gradients(self.optimizer, self.config, None)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._update_average()

    def _update_average(self) -> None:
        with torch.no_grad():
            for average, value in zip(self.average, self.method.state_dict().values(), strict=True):
                if average.is_floating_point():
                    average.copy_(torch.lerp(value, average, self.config.ema))

    @torch.no_grad()
    def validate(self) -> None:
        """The validation losses of one batch."""
        self.method.eval()
        with self._formats(), self._precision():
            self.validation_objective(self.batch, self._draws())
        self.method.train()

    def tensors(self) -> list[Tensor]:
        """What is alive between steps: weights, buffers, their average, the optimizer's state, the batch."""
        state = [v for s in self.optimizer.state.values() for v in s.values()]
        batch = self.batch
        return [
            *self.method.state_dict().values(),
            *self.average,
            *(v for v in state if isinstance(v, Tensor)),
            *(batch.sketch, batch.reference, batch.target, batch.warp),
        ]
