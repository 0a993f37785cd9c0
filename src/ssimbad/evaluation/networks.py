"""The metric networks themselves, with real weights or not at all."""

from __future__ import annotations

import warnings
from unittest.mock import patch

import lpips
import torch
from pytorch_fid.inception import InceptionV3
from torch import Tensor, nn

from ssimbad.evaluation.weights import Weights, fetch

FEATURES = 2048


def lpips_network(net: str, choice: str) -> lpips.LPIPS:
    """LPIPS v0.1 with trunk ``alex`` or ``vgg``, frozen; expects images in [-1, 1].

    Raises:
        UserError: the trunk's weights cannot be had.
    """
    weights, _ = fetch(net, choice)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips uses torchvision's old arguments
        network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    convolutions = [m for m in network.net.modules() if isinstance(m, nn.Conv2d)]
    layers = sorted({int(key.split(".")[1]) for key in weights})
    with torch.no_grad():
        for convolution, layer in zip(convolutions, layers, strict=True):
            convolution.weight.copy_(weights[f"features.{layer}.weight"])
            assert convolution.bias is not None
            convolution.bias.copy_(weights[f"features.{layer}.bias"])
    return network.requires_grad_(False).eval()


def _inception_from(weights: Weights, block: int) -> InceptionV3:
    # pytorch-fid downloads in the constructor; the classifier it expects is dropped by it unused.
    complete = weights | {"fc.weight": torch.zeros(1008, FEATURES), "fc.bias": torch.zeros(1008)}
    with patch("pytorch_fid.inception.load_state_dict_from_url", lambda *a, **k: complete):
        return InceptionV3([block]).requires_grad_(False).eval()


class Inception(nn.Module):
    """pytorch-fid's Inception network: images in [0, 1], resized bilinearly to 299 px, to features.

    Args:
        choice: where the weights may come from.
        features: 2048 (the usual FID), 768, 192 or 64.

    Raises:
        UserError: the weights cannot be had.
    """

    def __init__(self, choice: str, features: int = FEATURES) -> None:
        super().__init__()
        weights, self.weights = fetch("inception", choice)
        network = _inception_from(weights, InceptionV3.BLOCK_INDEX_BY_DIM[features])
        # A quarter less time on a CPU.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → (B, features), averaged over positions."""
        return self.network(images)[0].mean((2, 3))
