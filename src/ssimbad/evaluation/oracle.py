"""Oracle guidance: sampling that is steered by the ground truth, as the original's ``do_guiding``.

It sees what it is measured against, so its numbers say nothing of colorization. They are kept in
``oracle.csv``, never in the table.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from ssimbad.data.store import Split, to_pixels
from ssimbad.evaluation.metrics import against
from ssimbad.evaluation.pairs import Networks, Pairs
from ssimbad.evaluation.statistics import bootstrap_interval
from ssimbad.inference import own_noise, test_inputs
from ssimbad.similarity import ssim

if TYPE_CHECKING:
    from ssimbad.data.schema import WarpConfig
    from ssimbad.evaluation.schema import OracleConfig
    from ssimbad.methods.denoising import DenoisingMethod
    from ssimbad.methods.schema import SamplingConfig

Distance = Callable[[Tensor, Tensor], Tensor]
"""Per-image distance (B,) of images in [-1, 1]."""


def _grey(images: Tensor) -> Tensor:
    return images.mean(1, keepdim=True).expand(-1, 3, -1, -1)


def ssim_distance(images: Tensor, truth: Tensor) -> Tensor:
    """1 − SSIM of the grey images: (B,)."""
    return 1 - ssim((_grey(images) + 1) / 2, (_grey(truth) + 1) / 2)


def guided_euler(
    method: DenoisingMethod,
    condition: Tensor,
    start: Tensor,
    sigmas: Tensor,
    truth: Tensor,
    distance: Distance,
    scale: float,
) -> Tensor:
    """Euler steps, each followed by x ← x − scale·∇_x distance(x, truth).

    Args:
        method: the denoiser.
        condition: sketch and reference (B, 4, S, S).
        start: (B, 3, S, S) with standard deviation sigmas[0].
        sigmas: falling, the last one 0.
        truth: the ground truth (B, 3, S, S) in [-1, 1].
        distance: what steers.
        scale: how strongly.

    Returns:
        (B, 3, S, S) in [-1, 1].
    """
    x = start
    for sigma, following in pairwise(sigmas):
        with torch.no_grad():
            denoised = method.denoise(x, sigma, condition)
            x = denoised + (following / sigma) * (x - denoised)
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(distance(x, truth).sum(), x)
        x = (x - scale * gradient).detach()
    return x.clamp(-1, 1)


def oracle(
    method: DenoisingMethod,
    sampling: SamplingConfig,
    split: Split,
    partners: dict[str, dict[str, str]],
    warp: WarpConfig,
    seed: int,
    config: OracleConfig,
    resamples: int,
    weights: str,
    device: torch.device,
    label: str,
) -> list[dict[str, Any]]:
    """Metrics of each image against its truth, of guided sampling in each setting.

    Args:
        method: the trained method.
        sampling: its noise levels; the sampler is Euler's.
        split: the test set.
        partners: for each setting, whose image is the reference.
        warp, seed: as everywhere in the run.
        config: how to guide.
        resamples: of the intervals' bootstrap.
        weights: where the metrics' weights may come from.
        device: where to run.
        label: what the progress bar says.

    Raises:
        UserError: weights cannot be had.
    """
    names = split.names[: config.images]
    method = method.to(device).eval().requires_grad_(False)
    networks = Networks(weights, device)
    distance: Distance = ssim_distance
    if config.guide == "lpips":
        distance = lambda x, y: networks.lpips(x, y).flatten()  # noqa: E731

    def pixels(of: list[str]) -> Tensor:
        return split.image_pixels([split.index[name] for name in of]).to(device).float() / 255

    truth = pixels(names)
    start = own_noise(seed, names, split.size, device)(0)
    sigmas = method.spacing.sampling_sigmas(sampling.steps, sampling.last_call).to(start)
    records = []
    for setting, pairs in tqdm(partners.items(), desc=label, unit=" settings"):
        others = [pairs[name] for name in names]
        sketch, reference = test_inputs(split, warp, seed, names, others)
        condition = torch.cat([sketch, reference], 1).to(device)
        images = guided_euler(
            method, condition, sigmas[0] * start, sigmas, truth * 2 - 1, distance, config.scale
        )
        images = to_pixels(images).to(device).float() / 255
        with torch.inference_mode():
            measured = Pairs(images, truth, pixels(others), networks).measured(against("truth"))
        for metric, values in measured.items():
            numbers = values.double().cpu().numpy()
            low, high = bootstrap_interval(numbers, resamples, seed)
            records.append(
                {
                    "setting": setting,
                    "metric": metric,
                    "value": float(numbers.mean()),
                    "ci_low": low,
                    "ci_high": high,
                    "n": len(names),
                    "guide": config.guide,
                    "scale": config.scale,
                }
            )
    return records
