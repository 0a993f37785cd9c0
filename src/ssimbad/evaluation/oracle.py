"""Oracle guidance: sampling that is steered by the ground truth, the original's ``do_guiding``.

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

from ssimbad.data.store import to_pixels
from ssimbad.evaluation.metrics import against
from ssimbad.evaluation.pairs import Networks, Pairs
from ssimbad.evaluation.statistics import bootstrap_interval
from ssimbad.settings import inferred
from ssimbad.similarity import gaussian_ssim

if TYPE_CHECKING:
    from ssimbad.data.image_set import ImageSet
    from ssimbad.evaluation.schema import OracleConfig
    from ssimbad.methods.denoising import DenoisingMethod
    from ssimbad.methods.schema import SamplingConfig

Distance = Callable[[Tensor, Tensor], Tensor]
"""Per-image distance (B,) of images in [-1, 1]."""
_PUBLISHED_SIZE = 256


def _grey(images: Tensor) -> Tensor:
    return images.mean(1, keepdim=True).expand(-1, 3, -1, -1)


def ssim_distance(images: Tensor, truth: Tensor) -> Tensor:
    """1 − SSIM of the grey images under the Gaussian window: (B,)."""
    return 1 - gaussian_ssim((_grey(images) + 1) / 2, (_grey(truth) + 1) / 2)


def guided_euler(
    method: DenoisingMethod,
    condition: Tensor,
    start: Tensor,
    sigmas: Tensor,
    truth: Tensor,
    distance: Distance,
    config: OracleConfig,
) -> Tensor:
    """Euler steps from x to x', each followed by x' ← x' − s·∇, s = scale·(S/256)².

    ∇ is ∇_x distance(clamp(x'), truth), through the network that x' depends on x by; or, where ``gradient``
    is ``step``, ∇_x' distance(x', truth), which is cheap.

    Args:
        method: the denoiser.
        condition: sketch and reference (B, 4, S, S).
        start: (B, 3, S, S) with standard deviation sigmas[0].
        sigmas: falling, the last one 0.
        truth: the ground truth (B, 3, S, S) in [-1, 1].
        distance: what steers, of each image by itself.
        config: how.

    Returns:
        (B, 3, S, S) in [-1, 1].
    """
    scale = config.scale * (truth.shape[-1] / _PUBLISHED_SIZE) ** 2
    through = config.gradient == "network"
    x = start
    for sigma, following in pairwise(sigmas):
        begin = x.detach().requires_grad_(through)
        with torch.set_grad_enabled(through):
            denoised = method.denoise(begin, sigma, condition)
            end = denoised + (following / sigma) * (begin - denoised)
        by = begin if through else end.requires_grad_()
        shown = end.clamp(-1, 1) if through else end
        (gradient,) = torch.autograd.grad(distance(shown, truth).sum(), by)
        x = (end - scale * gradient).detach()
    return x.clamp(-1, 1)


def oracle(
    method: DenoisingMethod,
    sampling: SamplingConfig,
    test_set: ImageSet,
    config: OracleConfig,
    resamples: int,
    networks: Networks,
    label: str,
) -> list[dict[str, Any]]:
    """Metrics of each image against its truth, of guided sampling in each setting.

    Args:
        method: the trained method.
        sampling: its noise levels; the sampler is Euler's.
        test_set: whose first images are colorized.
        config: how to guide.
        resamples: of the intervals' bootstrap.
        networks: the metrics', on the device where the method is to run.
        label: what the progress bar says.

    Raises:
        UserError: weights cannot be had.
    """
    names, device = test_set.names[: config.images], networks.device
    method = method.to(device).eval().requires_grad_(False)
    distance: Distance = ssim_distance
    if config.guide == "lpips":
        distance = lambda x, y: networks.lpips(x, y).flatten()  # noqa: E731

    truth = test_set.images(names).to(device).float() / 255
    start = test_set.noise(names, device)(0)
    sigmas = method.sigmas(sampling).to(start)
    records = []
    for setting in tqdm(inferred(), desc=label, unit=" settings"):
        sketch, reference = test_set.inputs(names, setting)
        condition = torch.cat([sketch, reference], 1).to(device)
        images = guided_euler(
            method, condition, sigmas[0] * start, sigmas, truth * 2 - 1, distance, config
        )
        images = to_pixels(images).to(device).float() / 255
        references = test_set.references(names, setting).to(device).float() / 255
        with torch.inference_mode():
            measured = Pairs(images, truth, references, networks).measured(against("truth"))
        for metric, values in measured.items():
            numbers = values.double().cpu().numpy()
            low, high = bootstrap_interval(numbers, resamples, test_set.seed)
            records.append(
                {
                    "setting": setting,
                    "metric": metric,
                    "value": float(numbers.mean()),
                    "ci_low": low,
                    "ci_high": high,
                    "n": len(names),
                    "guide": config.guide,
                    "gradient": config.gradient,
                    "scale": config.scale,
                }
            )
    return records
