"""Network passes of trainings, and schedules of as many as another training has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssimbad.training.schema import Schedule, in_steps

if TYPE_CHECKING:
    from ssimbad.methods.schema import Unrolled


def passes(schedule: Schedule, refinement: Unrolled | None) -> int:
    """Passes of the network for all images of a stage: a batch of eight takes eight.

    Args:
        schedule: counted in steps.
        refinement: how trajectories are unrolled; None: an image takes one pass.
    """
    return schedule.batch * (refinement.passes(schedule.steps) if refinement else schedule.steps)


@dataclass(frozen=True)
class Stages:
    """Both stages of a refined row: what another training is to take as many network passes as.

    Attributes:
        train, refine: schedules of their lengths, as the config has them; nothing else of them counts.
        refinement: how trajectories are unrolled.
    """

    train: Schedule
    refine: Schedule
    refinement: Unrolled

    def matched(self, schedule: Schedule, images: int, pretrained: bool) -> Schedule:
        """A schedule of as many network passes, or the first number of whole batches above that.

        Args:
            schedule: of one pass an image, counted in steps; its length is replaced.
            images: number of training images.
            pretrained: whether it starts from pretrained weights, so that the refinement's passes are left.
        """
        total = passes(in_steps(self.refine, images), self.refinement)
        if not pretrained:
            total += passes(in_steps(self.train, images), None)
        steps = math.ceil(total / schedule.batch)
        seen = steps * schedule.batch
        units = {"epochs": max(1, round(seen / images)), "images": seen}
        kept = {unit: length for unit, length in units.items() if getattr(schedule, unit)}
        return schedule.model_copy(update={"steps": steps} | kept)
