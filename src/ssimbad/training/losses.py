"""The refinement strategies: how far sampled images are from the truth. Naming them needs no PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ssimbad.similarity import ssim

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Distance = Callable[[Tensor, Tensor], Tensor]
    Loaded = tuple[Distance, list[dict[str, str]]]


def _mse(weights: str, device: torch.device) -> Loaded:
    return lambda images, target: ((images - target) ** 2).mean() / 4, []


def _ssim(weights: str, device: torch.device) -> Loaded:
    return lambda images, target: (1 - ssim((images + 1) / 2, (target + 1) / 2)).mean(), []


def _lpips(weights: str, device: torch.device) -> Loaded:
    from ssimbad.pretrained.networks import lpips_network

    network = lpips_network("vgg", weights).to(device)
    return lambda images, target: network(images, target).mean(), [network.weights]


def _clip(weights: str, device: torch.device) -> Loaded:
    from ssimbad.training.clip import clip_distance, load_clip

    network, record = load_clip(weights)
    return clip_distance(network.to(device)), [record]


STRATEGIES: dict[str, Callable[[str, torch.device], Loaded]] = {
    "mse": _mse,
    "lpips-vgg": _lpips,
    "ssim": _ssim,
    "clip": _clip,
}
"""By name: mean squared error of images in [0, 1], LPIPS of VGG16, 1 − SSIM, 1 − cosine of CLIP's image
embeddings. Each takes where its network's weights may come from and where it goes, and gives the distance of
two batches of images (B, 3, S, S) in [-1, 1], and what to record of its networks."""


def refinement_losses(
    strategy: dict[str, float], clamp: bool, weights: str, device: torch.device
) -> tuple[dict[str, Distance], list[dict[str, str]]]:
    """The scalar losses, already weighted, of images (B, 3, S, S) against their truth, in [-1, 1].

    Images of any precision are compared in float32.

    Args:
        strategy: weights of some of :data:`STRATEGIES`; 0 leaves one out.
        clamp: whether sampled images are clamped first, which has no gradient where it acts.
        weights: where the networks' weights may come from.
        device: where networks go.

    Returns:
        The losses by strategy, and what to record of the networks they use.

    Raises:
        UserError: weights, or the extra package that ``clip`` needs, cannot be had.
    """

    def weighted(distance: Distance, weight: float) -> Distance:
        def loss(images: Tensor, target: Tensor) -> Tensor:
            # In 16 bits a flat window's variance is rounding alone: SSIM's gradient points anywhere.
            images = images.float()
            return weight * distance(images.clamp(-1, 1) if clamp else images, target)

        return loss

    losses: dict[str, Distance] = {}
    records: list[dict[str, str]] = []
    for name, weight in strategy.items():
        if weight:
            distance, used = STRATEGIES[name](weights, device)
            losses[name] = weighted(distance, weight)
            records += used
    return losses, records
