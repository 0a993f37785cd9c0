"""The refinement loss ``clip``: 1 − cosine of CLIP image embeddings. Needs the extra ``ssimbad[clip]``."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssimbad.errors import UserError
from ssimbad.pretrained.sources import BLANK

MODEL = "openai/clip-vit-base-patch32"
_KEY = "refine.strategy.clip"
# CLIP's own image statistics.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


def load_clip(weights: str) -> tuple[nn.Module, dict[str, str]]:
    """CLIP ViT-B/32's image tower, frozen, and what to record of it; the library caches it itself.

    Args:
        weights: ``auto`` or ``official``; the package index does not have them. ``blank``: none,
            only the shapes.

    Raises:
        UserError: the extra package is not installed, or the weights cannot be had.
    """
    try:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    except ImportError:
        raise UserError(f"{_KEY}: needs an extra package: pip install 'ssimbad[clip]'") from None
    if weights == BLANK:
        blank = CLIPVisionModelWithProjection(CLIPVisionConfig())  # ViT-B/32's own shape
        return blank.requires_grad_(False).eval(), {"network": MODEL, "source": BLANK, "digest": ""}
    if weights == "index":
        raise UserError(f"{_KEY}: no weights of {MODEL}: the package index does not have them")
    try:
        network = CLIPVisionModelWithProjection.from_pretrained(MODEL)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{_KEY}: no weights of {MODEL}: {reason}") from None
    commit = str(getattr(network.config, "_commit_hash", None))
    record = {"network": MODEL, "source": "official", "digest": commit}
    return network.requires_grad_(False).eval(), record


def clip_distance(network: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Mean of 1 − cosine between the embeddings of two batches of images (B, 3, S, S) in [-1, 1].

    Args:
        network: a CLIP image tower with projection; its config gives the size it expects.
    """
    size = int(network.config.image_size)  # type: ignore[union-attr,arg-type]
    device = next(network.parameters()).device
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (_MEAN, _STD))

    def embedding(images: Tensor) -> Tensor:
        shape = (size, size)
        resized = F.interpolate(images, shape, mode="bicubic", align_corners=False, antialias=True)
        return network(pixel_values=((resized + 1) / 2 - mean) / std).image_embeds

    def distance(images: Tensor, target: Tensor) -> Tensor:
        return (1 - F.cosine_similarity(embedding(images), embedding(target))).mean()

    return distance
