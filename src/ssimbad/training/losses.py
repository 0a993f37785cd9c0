"""The refinement strategies: how far sampled images are from the truth."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ssimbad.similarity import ssim
from ssimbad.training.settings import Strategy


def refinement_loss(
    strategy: Strategy, weights: str, device: torch.device
) -> Callable[[Tensor, Tensor], Tensor]:
    """The scalar loss of images (B, 3, S, S) against their truth, both in [-1, 1].

    Sampled images are not clamped first: a clamp has no gradient where it acts.

    Args:
        strategy: ``mse`` (of images in [0, 1]), ``lpips-vgg`` or ``ssim`` (1 − SSIM).
        weights: where the LPIPS network's weights may come from.
        device: where the LPIPS network goes.

    Raises:
        UserError: the LPIPS weights cannot be had.
    """
    if strategy == "mse":
        return lambda images, target: ((images - target) ** 2).mean() / 4
    if strategy == "ssim":
        return lambda images, target: (1 - ssim((images + 1) / 2, (target + 1) / 2)).mean()
    from ssimbad.evaluation.networks import lpips_network

    network = lpips_network("vgg", weights).to(device)
    return lambda images, target: network(images, target).mean()
