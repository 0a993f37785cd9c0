"""Sampling as published, Heun over 500 noise levels, against few calls, on a trained checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.case import Case, Measured
from ssimbad.config.files import load
from ssimbad.data.image_set import ImageSet
from ssimbad.evaluation.metrics import psnr
from ssimbad.inference import counted_calls
from ssimbad.methods.schema import SamplingConfig
from ssimbad.pretrained.networks import lpips_network
from ssimbad.training import checkpoint

IMAGES = 8
DECIBELS, DISTANCE = 0.2, 0.02
"""How far PSNR may be below the published sampling's, and LPIPS relatively above it."""
PUBLISHED = SamplingConfig(
    sampler="heun", steps=500, last_call=True, spacing="own", sigma_max=0.0, guidance=1.0
)
FEW = SamplingConfig(
    sampler="dpmpp_2m", steps=10, last_call=False, spacing="own", sigma_max=0.0, guidance=1.0
)


def _worse(plain: tuple[float, float], ours: tuple[float, float]) -> float:
    return max((plain[0] - ours[0]) / DECIBELS, (ours[1] / plain[1] - 1) / DISTANCE)


def case(results: Path) -> Case:
    """Same-reference inputs of the first 8 test images."""
    loaded = load([])
    method, _ = checkpoint.load(results / "checkpoints/train/ssimbad.safetensors")
    method = method.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    test_set = ImageSet(results / "data", "test", loaded.seed, loaded.data.warp)
    names = test_set.names[:IMAGES]
    sketch, reference = test_set.inputs(names, "same")
    truth = test_set.images(names).float() / 255
    perceptual = lpips_network("alex", loaded.weights)
    notes: dict[str, Any] = {}

    @torch.inference_mode()
    def side(which: str, sampling: SamplingConfig) -> Measured:
        with counted_calls(method) as calls:
            noise = test_set.noise(names, torch.device("cpu"))
            images: Tensor = (method.colorize(sketch, reference, noise, sampling) + 1) / 2
        decibels = float(psnr(images, truth).mean())
        distance = float(perceptual(images, truth, normalize=True).mean())
        notes[which] = {"psnr": decibels, "lpips": distance} | sampling.model_dump()
        return sum(calls) / IMAGES, (decibels, distance)

    return Case(
        "sampling_calls",
        "network calls an image",
        lambda _: side("plain_images", PUBLISHED),
        lambda _: side("our_images", FEW),
        _worse,
        "how much worse ours is, in parts of what is allowed (0.2 dB of PSNR, 2 % of LPIPS)",
        1,
        target=100.0,
        notes=notes,
    )
