"""What metrics of an image are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import lpips
import numpy as np
import torch
from torch import Tensor

from ssimbad.evaluation.metrics import METRICS, region_errors
from ssimbad.pretrained.fetching import fetch
from ssimbad.pretrained.networks import lpips_network


class Networks:
    """The frozen networks of metrics, each built when it is first asked for.

    Args:
        weights: where their weights may come from.
        device: where they run.

    Attributes:
        sources: by metric, what to record of the weights read so far.
    """

    def __init__(self, weights: str, device: torch.device) -> None:
        self.weights, self.device = weights, device
        self.sources: dict[str, dict[str, Any]] = {}

    @cached_property
    def lpips(self) -> lpips.LPIPS:
        """LPIPS with AlexNet.

        Raises:
            UserError: the weights cannot be had.
        """
        self.sources["lpips"] = fetch("alex", self.weights)[1]
        with torch.inference_mode(False):  # whoever asks first; guidance needs its gradients
            return lpips_network("alex", self.weights).to(self.device)


@dataclass(frozen=True)
class Pairs:
    """Images beside what they are compared with.

    Attributes:
        images: (B, 3, S, S) in [0, 1], rounded to 8 bits a channel as viewers get them.
        truth: the sketches' own images, likewise.
        reference: the references before warping, likewise.
        networks: what metrics may use.
        sketch: (B, 1, S, S) in [0, 1]; None where no metric against it is asked for.
    """

    images: Tensor
    truth: Tensor
    reference: Tensor
    networks: Networks
    sketch: Tensor | None = None

    @cached_property
    def region_errors(self) -> list[np.ndarray]:
        """As :func:`~ssimbad.evaluation.metrics.region_errors`, of which several metrics are made."""
        return region_errors(self.images, self.truth)

    def measured(self, names: list[str]) -> dict[str, Tensor]:
        """The named metrics of each image: (B,)."""
        return {name: METRICS[name].compute(self) for name in names}
