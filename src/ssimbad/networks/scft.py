"""SCFT's networks (Lee et al., CVPR 2020): two encoders, dense attention, a U-shaped decoder, a PatchGAN.

Topology of the SCFT baseline of SGA (ECCV 2022), attention as in the paper: the scores are divided by
√d before the softmax. At the published width 16 the generator has 82,926,195 parameters, the
discriminator 99,217.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

if TYPE_CHECKING:
    from ssimbad.networks.schema import SCFTConfig

_FACTORS = (1, 1, 2, 2, 4, 4, 8, 8, 16, 16)
_STRIDED = (2, 4, 6, 8)  # the third, fifth, seventh and ninth convolution, at the published 256 px
_TOKENS = 16  # a side, at least: the published number


def _halvings(size: int) -> int:
    """How many convolutions are strided for images of a size: all four where that leaves 16 × 16 tokens."""
    return sum(size >> k >= _TOKENS for k in range(1, len(_STRIDED) + 1))


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)
    )


def _convolved(convolution: nn.Module, images: Tensor, strided: bool) -> Tensor:
    """A 3×3 convolution with stride 2 or 1: the images' size decides, not the weights."""
    assert isinstance(convolution, nn.Conv2d)
    stride = 2 if strided else 1
    return F.conv2d(images, convolution.weight, convolution.bias, stride, padding=1)


class Encoder(nn.Module):
    """Ten 3×3 convolutions, up to four of them strided; all their maps make up the tokens."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        widths = [inputs, *(width * factor for factor in _FACTORS)]
        self.layers = nn.ModuleList(_convolution(i, o) for i, o in pairwise(widths))
        self.channels = sum(widths[1:])

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, inputs, S, S) → V (B, 62·width, S/s, S/s) and the ten maps; s as of :class:`Generator`."""
        strided = _STRIDED[: _halvings(image.shape[-1])]
        maps = []
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Sequential)
            image = layer[1:](_convolved(layer[0], image, number in strided))
            maps.append(image)
        size = maps[-1].shape[-1]
        return torch.cat([F.adaptive_avg_pool2d(m, size) for m in maps], 1), maps


class Attention(nn.Module):
    """Every sketch token reads from all reference tokens: softmax(Q Kᵀ/√d) V."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)

    def forward(self, sketch: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, d) tokens of both → what each sketch token reads, and Q and K, all (B, N, d)."""
        q, k, v = self.query(sketch), self.key(reference), self.value(reference)
        return F.scaled_dot_product_attention(q, k, v), q, k


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Generator(nn.Module):
    """Sketch and reference to a colorized image.

    A token is s = 16 pixels a side at the published 256 px and above; in smaller images 8, 4, 2 or 1, the
    largest that leaves 16 × 16 tokens.
    """

    def __init__(self, config: SCFTConfig) -> None:
        super().__init__()
        width = config.width
        self.reference_encoder = Encoder(3, width)
        self.sketch_encoder = Encoder(1, width)
        channels = self.sketch_encoder.channels
        self.attention = Attention(channels)
        self.blocks = nn.Sequential(*(_ResidualBlock(channels) for _ in range(config.blocks)))
        outputs = _FACTORS[::-1]
        # The first layer takes no skip, each further one a map of the sketch, deepest first.
        inputs = [width * (o + skip) for o, skip in pairwise(outputs)]
        self.decoder = nn.ModuleList(
            _convolution(i, width * o)
            for i, o in zip([2 * channels, *inputs], outputs, strict=True)
        )
        self.output = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, sketch: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 1, S, S), (B, 3, S, S), S a multiple of 16 → images (B, 3, S, S) in [-1, 1], Q and K.

        Q and K are (B, (S/s)², 62·width).
        """
        tokens, maps = self.sketch_encoder(sketch)
        others, _ = self.reference_encoder(reference)
        read, q, k = self.attention(
            tokens.flatten(2).transpose(1, 2), others.flatten(2).transpose(1, 2)
        )
        context = tokens + read.transpose(1, 2).reshape(tokens.shape)
        h = torch.cat([self.blocks(context) + context, context], 1)
        for layer, skip in zip(self.decoder, [None, *reversed(maps[:-1])], strict=True):
            if skip is not None:
                if skip.shape[-1] != h.shape[-1]:
                    h = F.interpolate(h, skip.shape[-2:], mode="bilinear", align_corners=True)
                h = torch.cat([h, skip], 1)
            h = layer(h)
        return self.output(h).tanh(), q, k


class Discriminator(nn.Module):
    """Conditional PatchGAN: which patches of an image look real beside the sketch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [4, *(width * factor for factor in (1, 2, 4, 8))]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [
                spectral_norm(nn.Conv2d(inputs, outputs, 3, padding=1)),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, image: Tensor, sketch: Tensor) -> Tensor:
        """(B, 3, S, S), (B, 1, S, S) → scores (B, 1, S/s, S/s), s as the generator's; 1: real, 0: not."""
        x = torch.cat([image, sketch], 1)
        strided = _halvings(x.shape[-1])
        for number, layer in enumerate(self.layers):
            convolves = isinstance(layer, nn.Conv2d)  # each third one
            x = _convolved(layer, x, number // 3 < strided) if convolves else layer(x)
        return x
