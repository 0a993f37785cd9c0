"""The U-Net of AnimeDiffusion and SSIMBaD.

At the published size (width 64, multipliers 1-2-4-8, two blocks a level, 7 input channels) it has
52,301,251 parameters.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from ssimbad.networks.schema import UNetConfig

EMBEDDING = 64
MAX_PERIOD = 1000


def sinusoidal_embedding(t: Tensor) -> Tensor:
    """[cos ‖ sin] of t·f_i with f_i = 1000^(−i/32), i = 0..31: (B,) → (B, 64)."""
    half = EMBEDDING // 2
    frequencies = torch.exp(-math.log(MAX_PERIOD) / half * torch.arange(half, device=t.device))
    angles = t.float()[:, None] * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], 1)


class ResidualBlock(nn.Module):
    """GN–SiLU–Conv3, + Linear(SiLU(embedding)), GN–SiLU–Conv3, plus a (1×1) shortcut."""

    def __init__(
        self, inputs: int, outputs: int, embedding: int | None, config: UNetConfig
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(config.groups, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = None if embedding is None else nn.Linear(embedding, outputs)
        self.norm2 = nn.GroupNorm(config.groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        if config.zero_init:
            nn.init.zeros_(self.conv2.weight)
            nn.init.zeros_(cast(Tensor, self.conv2.bias))

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """(B, inputs, H, W), (B, embedding) → (B, outputs, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        if embedding is not None and self.time is not None:
            h = h + self.time(F.silu(embedding))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + self.shortcut(x)


class Attention(nn.Module):
    """Residual self-attention over pixels; as published, without an output projection."""

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H, W)."""
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(batch, 3, self.heads, -1, height * width)
        qkv = qkv.transpose(-1, -2)
        if qkv.stride(-1) != 1:  # PyTorch's fused kernel for CPUs asks for it
            qkv = qkv.contiguous()
        q, k, v = qkv.unbind(1)
        attended = F.scaled_dot_product_attention(q, k, v)
        return x + attended.transpose(-1, -2).reshape(batch, channels, height, width)


class _Stage(nn.Module):
    """A residual block, then attention where the level attends."""

    def __init__(self, block: ResidualBlock, attention: Attention | None) -> None:
        super().__init__()
        self.block = block
        self.attention = attention

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        x = self.block(x, embedding)
        return x if self.attention is None else self.attention(x)


class UNet(nn.Module):
    """U-Net on (image, condition) with a scalar time.

    Every decoder block consumes one skip: the encoder blocks' outputs and the pooled maps, last first.

    Args:
        config: its size.
        inputs, outputs: channels.
        timed: whether it has what a time is told by. A constant time would act as a bias that all weights of
            its embedding move together, at many times their rate.
    """

    def __init__(self, config: UNetConfig, inputs: int, outputs: int, timed: bool = True) -> None:
        super().__init__()
        time = 4 * EMBEDDING if timed else None
        widths = [config.width * m for m in config.multipliers]
        last = len(widths) - 1

        def stage(level: int, channels: int) -> _Stage:
            block = ResidualBlock(channels, widths[level], time, config)
            attends = level in config.attention
            attention = Attention(widths[level], config.heads, config.groups) if attends else None
            return _Stage(block, attention)

        self.time = None
        if time is not None:
            self.time = nn.Sequential(nn.Linear(EMBEDDING, time), nn.SiLU(), nn.Linear(time, time))
        self.input = nn.Conv2d(inputs, config.width, 1)
        self.encoder = nn.ModuleList()
        skips = []
        channels = config.width
        for level, width in enumerate(widths):
            level_stages = nn.ModuleList()
            for _ in range(config.blocks):
                level_stages.append(stage(level, channels))
                channels = width
                skips.append(channels)
            if level < last:
                skips.append(channels)
            self.encoder.append(level_stages)
        self.middle1 = ResidualBlock(channels, channels, time, config)
        self.middle_attention = Attention(channels, config.heads, config.groups)
        self.middle2 = ResidualBlock(channels, channels, time, config)
        self.decoder = nn.ModuleList()
        for level in reversed(range(len(widths))):
            level_stages = nn.ModuleList()
            for _ in range(config.blocks + (level > 0)):
                level_stages.append(stage(level, channels + skips.pop()))
                channels = widths[level]
            self.decoder.append(level_stages)
        self.output = nn.Sequential(
            nn.GroupNorm(config.groups, channels), nn.SiLU(), nn.Conv2d(channels, outputs, 1)
        )

    def forward(self, x: Tensor, t: Tensor | None) -> Tensor:
        """(B, inputs, S, S), S a multiple of 2^(levels − 1), and times (B,) → (B, outputs, S, S).

        Without times, or where it is not ``timed``, no block is told any.
        """
        embedding = None
        if t is not None and self.time is not None:
            embedding = self.time(sinusoidal_embedding(t))
        h = self.input(x)
        skips = []
        for level, stages in enumerate(self.encoder):
            if level:
                h = F.avg_pool2d(h, 2)
                skips.append(h)
            for stage in cast(nn.ModuleList, stages):
                h = stage(h, embedding)
                skips.append(h)
        h = self.middle1(h, embedding)
        h = self.middle2(self.middle_attention(h), embedding)
        for level, stages in enumerate(self.decoder):
            if level:
                h = F.interpolate(h, scale_factor=2.0, mode="nearest")
            for stage in cast(nn.ModuleList, stages):
                h = stage(torch.cat([h, skips.pop()], 1), embedding)
        return self.output(h)
