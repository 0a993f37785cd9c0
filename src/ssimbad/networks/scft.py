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
_STRIDED = (2, 4, 6, 8)  # the third, fifth, seventh and ninth convolution


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.2),
    )


class Encoder(nn.Module):
    """Ten 3×3 convolutions, four of them strided; all their maps make up the tokens."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        widths = [inputs, *(width * factor for factor in _FACTORS)]
        self.layers = nn.ModuleList(
            _convolution(widths[k], widths[k + 1], 2 if k in _STRIDED else 1) for k in range(10)
        )
        self.channels = sum(widths[1:])

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, inputs, S, S) → V (B, 62·width, S/16, S/16) and the ten maps."""
        maps = []
        for layer in self.layers:
            image = layer(image)
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
    """Sketch and reference to a colorized image."""

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
        """(B, 1, S, S), (B, 3, S, S), S a multiple of 16 → images (B, 3, S, S) in [-1, 1], Q and K."""
        tokens, maps = self.sketch_encoder(sketch)
        others, _ = self.reference_encoder(reference)
        read, q, k = self.attention(
            tokens.flatten(2).transpose(1, 2), others.flatten(2).transpose(1, 2)
        )
        context = tokens + read.transpose(1, 2).reshape(tokens.shape)
        h = torch.cat([self.blocks(context), context], 1)
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
                spectral_norm(nn.Conv2d(inputs, outputs, 3, 2, padding=1)),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, image: Tensor, sketch: Tensor) -> Tensor:
        """(B, 3, S, S), (B, 1, S, S) → scores (B, 1, S/16, S/16); 1: real, 0: not."""
        return self.layers(torch.cat([image, sketch], 1))
