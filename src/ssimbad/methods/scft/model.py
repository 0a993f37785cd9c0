"""SCFT's losses; its networks are in :mod:`ssimbad.networks.scft`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from ssimbad.methods.base import Batch, Noise, TrainedMethod
from ssimbad.methods.scft import SCFTMethodConfig
from ssimbad.networks.scft import Discriminator, Generator

if TYPE_CHECKING:
    from ssimbad.methods.draws import Draws
    from ssimbad.networks.schema import UNetConfig
    from ssimbad.noise.transforms import Phi
    from ssimbad.schema import Section

_JITTER = 50 / 255 * 2  # ±50 of 255 grey levels, in [-1, 1]
_MARGIN = 12.0
_BETAS = (0.5, 0.999)


def gram(features: Tensor) -> Tensor:
    """F Fᵀ/(CHW) of each image: (B, C, H, W) → (B, C, C), float32."""
    # Also under mixed precision, whose 16-bit products overflow: they are sums over a whole image.
    with torch.autocast(features.device.type, enabled=False):
        flat = features.float().flatten(2)
        return flat @ flat.transpose(1, 2) / flat[0].numel()


def triplet_loss(
    query: Tensor,
    key: Tensor,
    warp: Tensor,
    draws: Draws,
    margin: float = _MARGIN,
) -> Tensor:
    """max(0, −S(q, k⁺) + S(q, k⁻) + γ), S = q·k/√d.

    Every reference token j whose source lies inside the frame is a positive, for Q read bilinearly at
    that source; the negative is a random token of the same image, not j nor its neighbour where
    the grid has others.

    Args:
        query, key: (B, N, d) tokens of sketch and reference on a square grid.
        warp: (B, S, S, 2), where in the sketch's frame each reference pixel comes from, in [0, 1].
        draws: what the negatives are chosen by.
        margin: γ.
    """
    batch, count, channels = key.shape
    side = round(count**0.5)
    source = F.adaptive_avg_pool2d(warp.permute(0, 3, 1, 2), side).permute(0, 2, 3, 1)
    inside = ((source >= 0) & (source <= 1)).all(-1).flatten(1)
    grid_of_queries = query.transpose(1, 2).reshape(batch, channels, side, side)
    # ``warp`` counts from pixel centre to pixel centre, tokens tile the frame from edge to edge.
    size = warp.shape[1]
    edges = (source * (size - 1) + 0.5) / size
    anchors = F.grid_sample(
        grid_of_queries, edges * 2 - 1, padding_mode="border", align_corners=False
    )
    anchors = anchors.flatten(2).transpose(1, 2)
    positions = torch.arange(count)
    rows, columns = positions // side, positions % side
    apart = torch.maximum((rows[:, None] - rows).abs(), (columns[:, None] - columns).abs())
    allowed = apart > 1
    alone = ~allowed.any(1)
    allowed[alone] = apart[alone] > 0
    negatives = key.gather(1, draws.choice(allowed).to(key.device)[..., None].expand_as(key))
    positive, negative = ((anchors * other).sum(-1) / channels**0.5 for other in (key, negatives))
    losses = (negative - positive + margin).relu()
    return (losses * inside).sum() / inside.sum().clamp_min(1)


class SCFT(TrainedMethod):
    """A conditional GAN; one network call an image, no noise."""

    def __init__(self, section: Section, unet: UNetConfig, phi: Phi) -> None:
        super().__init__(section, unet, phi)
        assert isinstance(section, SCFTMethodConfig)
        self.config = section
        self.generator = Generator(section)
        self.discriminator = Discriminator(section.width)
        self._trunk: list[Any] = []  # in a list, so that it is no part of the checkpoint

    @property
    def backbone(self) -> Generator:
        """The generator."""
        return self.generator

    def optimizer_groups(self, lr: float) -> list[dict[str, Any]]:
        """Both networks with SCFT's betas, the discriminator at its own rate."""
        players = ((self.generator, lr), (self.discriminator, lr * self.config.discriminator_lr))
        return [
            {"params": list(network.parameters()), "lr": rate, "betas": _BETAS}
            for network, rate in players
        ]

    def load_loss_networks(self, weights: str, device: torch.device) -> list[dict[str, str]]:
        """The VGG of the perceptual and style losses."""
        if not (self.config.perceptual or self.config.style):
            return []
        from ssimbad.pretrained.networks import VGGFeatures

        trunk = VGGFeatures(self.config.trunk, weights, self.config.depth).to(device)
        self._trunk[:] = [trunk]
        return [trunk.weights]

    def _jitter(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor]:
        """a(I) and its warp; what the warp read from outside the frame stays black."""
        shift = ((draws.uniform(3, 1, 1) * 2 - 1) * _JITTER).to(batch.target)
        inside = ((batch.warp >= 0) & (batch.warp <= 1)).all(-1)[:, None]
        reference = torch.where(inside, batch.reference + shift, batch.reference)
        return (batch.target + shift).clamp(-1, 1), reference.clamp(-1, 1)

    def training_losses(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Reconstruction, adversarial, triplet, perceptual and style loss; the discriminator's own."""
        config = self.config
        # What was redrawn corresponds to nothing: all of it comes from outside the frame.
        source = batch.warp
        if batch.redrawn is not None:
            source = source.masked_fill(batch.redrawn[:, None, None, None], 2.0)
        target, reference = self._jitter(batch, draws)
        images, query, key = self.generator(batch.sketch, reference)
        # The generator's gradient passes the discriminator without reaching its weights.
        frozen = {k: v.detach() for k, v in self.discriminator.named_parameters()}
        judged = functional_call(self.discriminator, frozen, (images, batch.sketch))
        real = self.discriminator(target, batch.sketch)
        fake = self.discriminator(images.detach(), batch.sketch)
        losses = {
            "reconstruction": config.reconstruction * (images - target).abs().mean(),
            "adversarial": config.adversarial * ((judged - 1) ** 2).mean(),
            "triplet": config.triplet * triplet_loss(query, key, source, draws),
            "discriminator": (((real - 1) ** 2).mean() + (fake**2).mean()) / 2,
        }
        for trunk in self._trunk:
            pairs = list(zip(trunk(images), trunk(target), strict=True))
            perceptual = sum((a - b).abs().mean() for a, b in pairs)
            style = sum((gram(a) - gram(b)).abs().mean() for a, b in pairs)
            losses |= {
                "perceptual": config.perceptual * perceptual,
                "style": config.style * style,
            }
        return losses

    def validation_losses(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """The reconstruction loss alone: an adversarial loss does not say which weights are better."""
        target, reference = self._jitter(batch, draws)
        images, _, _ = self.generator(batch.sketch, reference)
        return {"reconstruction": self.config.reconstruction * (images - target).abs().mean()}

    def colorize(
        self, sketch: Tensor, reference: Tensor, noise: Noise, sampling: Section | None
    ) -> Tensor:
        """The generator's output."""
        return self.generator(sketch, reference)[0]


MODEL = SCFT
