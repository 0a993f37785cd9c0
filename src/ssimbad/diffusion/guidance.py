"""Classifier-free guidance (Ho and Salimans 2022), for any prediction of a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def guided(predict: Callable[[Tensor], Tensor], condition: Tensor, scale: float) -> Tensor:
    """free + scale·(conditional − free); at scale 1 the conditional prediction itself, in one call.

    Args:
        predict: the prediction under a condition; zeros mean none.
        condition: (B, C, S, S).
        scale: 0 ignores the condition, above 1 exaggerates it.
    """
    conditional = predict(condition)
    if scale == 1:
        return conditional
    free = predict(torch.zeros_like(condition))
    return free + scale * (conditional - free)
