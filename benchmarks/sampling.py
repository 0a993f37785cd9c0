"""Sampling as published, Heun over 500 noise levels, against few calls, on a trained checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.case import Case, Measured
from ssimbad import config
from ssimbad.data.store import Split
from ssimbad.evaluation.metrics import psnr
from ssimbad.inference import counted_calls, own_noise, test_inputs
from ssimbad.methods.denoising import SamplingConfig
from ssimbad.pretrained.networks import lpips_network
from ssimbad.training import checkpoint

IMAGES = 8
PUBLISHED = SamplingConfig(sampler="heun", steps=500, last_call=True, guidance=1.0)
FEW = SamplingConfig(sampler="dpmpp_2m", steps=10, last_call=False, guidance=1.0)


def case(results: Path) -> Case:
    """Same-reference inputs of the first 8 test images."""
    loaded = config.load([])
    method, _ = checkpoint.load(results / "checkpoints/train/ssimbad.safetensors")
    method = method.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    split = Split(results / "data", "test")
    names = split.names[:IMAGES]
    sketch, reference = test_inputs(split, loaded.data.warp, loaded.seed, names, names)
    truth = split.image_pixels(list(range(IMAGES))).float() / 255
    perceptual = lpips_network("alex", loaded.weights)
    notes: dict[str, Any] = {}

    @torch.inference_mode()
    def side(which: str, sampling: SamplingConfig) -> Measured:
        with counted_calls(method) as calls:
            noise = own_noise(loaded.seed, names, split.size, torch.device("cpu"))
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
        lambda a, b: abs(a[0] - b[0]),
        "difference of PSNR in dB; LPIPS stands beside it",
        1,
        target=100.0,
        notes=notes,
    )
