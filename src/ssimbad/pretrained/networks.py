"""The networks themselves, with real weights or not at all."""

from __future__ import annotations

import warnings
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING
from unittest.mock import patch

import lpips
import torch
import torch.nn.functional as F
from pytorch_fid.inception import InceptionV3
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.inception import BasicConv2d

from ssimbad.errors import UserError
from ssimbad.pretrained.fetching import fetch
from ssimbad.pretrained.sources import BLANK, TRUNK_LAYERS

if TYPE_CHECKING:
    from ssimbad.pretrained.readers import Weights

FEATURES = 2048


def _lpips(net: str, choice: str) -> lpips.LPIPS:
    weights, record = fetch("vgg16" if net == "vgg" else net, choice)
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
    network.weights = record
    return network.requires_grad_(False).eval()


_kept_lpips = cache(_lpips)


def lpips_network(net: str, choice: str) -> lpips.LPIPS:
    """LPIPS v0.1 with trunk ``alex`` or ``vgg``, frozen; expects images in [-1, 1].

    Weights are read once in a process. Each call gives a network of its own, which may be moved and changed.
    Its attribute ``weights`` is what to record of them: network, source and digest.

    Raises:
        UserError: the trunk's weights cannot be had.
    """
    if choice == BLANK:  # may be fake tensors, of no use to the next caller
        return _lpips(net, choice)
    with torch.inference_mode(False):  # gradients never pass what was made in that mode
        return deepcopy(_kept_lpips(net, choice))


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
        # Folded normalisations and this layout take less time on a CPU.
        for module in network.modules():
            if isinstance(module, BasicConv2d):
                module.conv = fuse_conv_bn_eval(module.conv, module.bn)
                module.bn = nn.Identity()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → (B, features), averaged over positions."""
        return self.network(images)[0].mean((2, 3))


class VGGFeatures(nn.Module):
    """The maps relu1_1, relu2_1, … of ImageNet's VGG, frozen.

    Args:
        net: ``vgg16``, ``vgg19``, or ``auto``: vgg19 where its weights can be had, else vgg16.
        choice: where the weights may come from.
        depth: how many blocks, 1 to 5.

    Attributes:
        weights: what to record of them: network, source and digest.

    Raises:
        UserError: the weights cannot be had.
    """

    def __init__(self, net: str, choice: str, depth: int) -> None:
        super().__init__()
        if net == "auto":
            try:
                weights, self.weights = fetch("vgg19", choice)
            except UserError:
                weights, self.weights = fetch("vgg16", choice)
        else:
            weights, self.weights = fetch(net, choice)
        layers = TRUNK_LAYERS[self.weights["network"]]
        self.convolutions = nn.ModuleList()
        self.starts_block: list[bool] = []
        for previous, layer in zip((-3, *layers), layers, strict=False):
            starts = layer - previous == 3  # convolution, ReLU, pooling
            if starts and sum(self.starts_block) == depth:
                break
            kernel = weights[f"features.{layer}.weight"]
            convolution = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
            bias = weights[f"features.{layer}.bias"]
            convolution.load_state_dict({"weight": kernel, "bias": bias})
            self.convolutions.append(convolution)
            self.starts_block.append(starts)
        last = max(i for i, starts in enumerate(self.starts_block) if starts)
        del self.convolutions[last + 1 :]
        # ImageNet's statistics, for images in [-1, 1].
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1) * 2 - 1)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) * 2)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, S, S) in [-1, 1] → ``depth`` maps, S / 2^k wide."""
        h = (images - self.mean) / self.std
        maps: list[Tensor] = []
        for convolution, starts in zip(self.convolutions, self.starts_block, strict=False):
            if starts and maps:
                h = F.max_pool2d(h, 2)
            h = F.relu(convolution(h))
            if starts:
                maps.append(h)
        return maps
