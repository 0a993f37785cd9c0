"""The refinement strategies: how far sampled images are from the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssimbad.similarity import ssim

if TYPE_CHECKING:
    from ssimbad.training.schema import Strategy

Distance = Callable[[Tensor, Tensor], Tensor]


def _mse(images: Tensor, target: Tensor) -> Tensor:
    return ((images - target) ** 2).mean() / 4


def _ssim(images: Tensor, target: Tensor) -> Tensor:
    return (1 - ssim((images + 1) / 2, (target + 1) / 2)).mean()


def _lpips(weights: str, device: torch.device) -> tuple[Distance, list[dict[str, str]]]:
    from ssimbad.pretrained.networks import lpips_network

    network = lpips_network("vgg", weights).to(device)
    return lambda images, target: network(images, target).mean(), [network.weights]


def _clip(weights: str, device: torch.device) -> tuple[Distance, list[dict[str, str]]]:
    from ssimbad.training.clip import clip_distance, load_clip

    network, record = load_clip(weights)
    return clip_distance(network.to(device)), [record]


def refinement_losses(
    strategy: dict[Strategy, float], clamp: bool, weights: str, device: torch.device
) -> tuple[dict[str, Distance], list[dict[str, str]]]:
    """The scalar losses, already weighted, of images (B, 3, S, S) against their truth, in [-1, 1].

    Args:
        strategy: weights of ``mse`` (of images in [0, 1]), ``ssim`` (1 − SSIM), ``lpips-vgg`` and
            ``clip`` (1 − cosine of CLIP's image embeddings); 0 leaves one out.
        clamp: whether sampled images are clamped first, which has no gradient where it acts.
        weights: where the networks' weights may come from.
        device: where networks go.

    Returns:
        The losses by strategy, and what to record of the networks they use.

    Raises:
        UserError: weights, or the extra package that ``clip`` needs, cannot be had.
    """
    known: dict[Strategy, Callable[[], tuple[Distance, list[dict[str, str]]]]] = {
        "mse": lambda: (_mse, []),
        "ssim": lambda: (_ssim, []),
        "lpips-vgg": lambda: _lpips(weights, device),
        "clip": lambda: _clip(weights, device),
    }

    def weighted(distance: Distance, weight: float) -> Distance:
        if clamp:
            return lambda images, target: weight * distance(images.clamp(-1, 1), target)
        return lambda images, target: weight * distance(images, target)

    losses: dict[str, Distance] = {}
    records: list[dict[str, str]] = []
    for name, weight in strategy.items():
        if weight:
            distance, used = known[name]()
            losses[name] = weighted(distance, weight)
            records += used
    return losses, records
