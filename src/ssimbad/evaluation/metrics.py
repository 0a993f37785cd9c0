"""The metrics of the table: pure functions, and below them the one list of what they are called and how
they are read.

Images are (B, 3, S, S) in [0, 1] unless said otherwise. PyTorch and scikit-image are imported by the
functions that need them: names and titles are read where no image is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ssimbad.similarity import C1, C2, GAUSSIAN_WINDOW, gaussian_mean

if TYPE_CHECKING:
    from torch import Tensor

    from ssimbad.evaluation.pairs import Pairs

_MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_DIRECTIONS = 64


def psnr(images: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, data range 1: (B,); 100 dB for equal images, not infinity."""
    return -10 * ((images - truth) ** 2).flatten(1).mean(1).clamp_min(1e-10).log10()


def ms_ssim_scales(size: int) -> int:
    """Scales of MS-SSIM at a size: all five from 176 px, fewer where the window would not fit.

    Raises:
        ValueError: ``size`` is below the window's 11 pixels.
    """
    if size < GAUSSIAN_WINDOW:
        raise ValueError(f"MS-SSIM needs at least {GAUSSIAN_WINDOW} px, not {size}")
    scales = len(_MS_SSIM_WEIGHTS)
    while size >> (scales - 1) < GAUSSIAN_WINDOW:
        scales -= 1
    return scales


def ms_ssim(images: Tensor, truth: Tensor) -> Tensor:
    """Multi-scale SSIM (Wang et al. 2003), Gaussian window 11, σ 1.5: (B,) in [0, 1].

    Contrast–structure terms of all scales times the last scale's luminance, each to its weight, per
    channel; negative terms count as 0; channels averaged. Below 176 px the coarsest scales are
    left out and the weights of the others scaled to sum to one.
    """
    import torch
    import torch.nn.functional as F

    weights = _MS_SSIM_WEIGHTS[: ms_ssim_scales(images.shape[-1])]
    x, y = images.double(), truth.double()
    product = torch.ones(images.shape[:2], dtype=torch.float64)
    for scale, weight in enumerate(weights, 1):
        mean_x, mean_y = gaussian_mean(x), gaussian_mean(y)
        variances = gaussian_mean(x * x) - mean_x**2 + gaussian_mean(y * y) - mean_y**2
        covariance = gaussian_mean(x * y) - mean_x * mean_y
        term = (2 * covariance + C2) / (variances + C2)
        if scale == len(weights):
            term = term * (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
        product *= term.mean((2, 3)).relu() ** (weight / sum(weights))
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return product.mean(1).float()


def palette_distance(images: Tensor, reference: Tensor) -> Tensor:
    """Distance of the colours two images use, wherever they use them: (B,) in ΔE, lower is closer.

    Sliced 1-Wasserstein distance of the pixel clouds in CIELAB: both clouds projected on 64 fixed
    directions, sorted, mean absolute difference over pixels and directions.
    """
    import torch
    from skimage.color import rgb2lab

    from ssimbad.rng import torch_generator

    generator = torch_generator(0, "palette directions")
    directions = torch.randn(3, _DIRECTIONS, generator=generator, dtype=torch.float64)
    directions = (directions / directions.norm(dim=0)).float()

    def projected(batch: Tensor) -> np.ndarray:
        lab = rgb2lab(batch.permute(0, 2, 3, 1).cpu().numpy()).astype(np.float32)
        clouds = (torch.from_numpy(lab).flatten(1, 2) @ directions).transpose(1, 2)
        return np.sort(clouds.contiguous().numpy())  # torch's is slow on a CPU

    return torch.from_numpy(np.abs(projected(images) - projected(reference)).mean((1, 2)))


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Fréchet distance of the Gaussians fitted to two feature sets (Heusel et al. 2017).

    |μ_x − μ_y|² + Tr(Σ_x + Σ_y − 2(Σ_x Σ_y)^½). Tr (Σ_x Σ_y)^½ is the sum of singular values of
    A Bᵀ where Σ_x = AᵀA and Σ_y = BᵀB, exact for singular covariances too, where a matrix square
    root needs an offset.

    Args:
        x, y: (N, D) and (M, D) features, N, M ≥ 2.
    """

    def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features = features.astype(np.float64)
        mean = features.mean(0)
        factor = (features - mean) / np.sqrt(len(features) - 1)
        if len(factor) > factor.shape[1]:
            factor = np.linalg.qr(factor, mode="r")
        return mean, factor

    (mean_x, a), (mean_y, b) = moments(x), moments(y)
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    distance = ((mean_x - mean_y) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * cross
    return float(max(distance, 0.0))


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Kernel Inception distance: the unbiased MMD² of two feature sets (Bińkowski et al. 2018).

    Kernel (x·y/D + 1)³, over all pairs; unlike FID its expectation does not depend on the number of
    images, and it may be negative.

    Args:
        x, y: (N, D) and (M, D) features, N, M ≥ 2.
    """

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a.astype(np.float64) @ b.T.astype(np.float64) / a.shape[1] + 1) ** 3

    def within(a: np.ndarray) -> float:
        values = kernel(a, a)
        return (values.sum() - np.trace(values)) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * kernel(x, y).mean())


@dataclass(frozen=True)
class Metric:
    """How a metric is computed and read.

    Attributes:
        title: its name as people read it.
        better: +1 where higher is better, -1 where lower is.
        format: of its values.
        compute: of a metric of images, from :class:`~ssimbad.evaluation.pairs.Pairs` to (B,) values, on
            any device; of a metric of a set, from Inception's features (N, 2048) of the images and of
            their truth to a number.
        unit: of its values.
        of: each image, with intervals and paired differences; or the whole set, with neither.
        against: what images are compared with.
        note: what the table says of it below; ``{n}``, ``{size}`` and ``{ms_ssim_scales}`` are filled in.
    """

    title: str
    better: Literal[1, -1]
    format: str
    compute: Callable[..., Any]
    unit: str = ""
    of: Literal["image", "set"] = "image"
    against: Literal["truth", "reference"] = "truth"
    note: str = ""

    @property
    def heading(self) -> str:
        """Title, unit and the direction of better values."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.title}{unit} {'↑' if self.better > 0 else '↓'}"


def _lpips(pairs: Pairs) -> Tensor:
    network, device = pairs.networks.lpips, pairs.networks.device
    return network(pairs.images.to(device), pairs.truth.to(device), normalize=True).flatten()


METRICS = {
    "psnr": Metric("PSNR", +1, ".2f", lambda p: psnr(p.images, p.truth), unit="dB"),
    "ms_ssim": Metric(
        "MS-SSIM",
        +1,
        ".4f",
        lambda p: ms_ssim(p.images.cpu(), p.truth.cpu()),
        note="MS-SSIM over {ms_ssim_scales} of 5 scales, weights renormalised.",
    ),
    "lpips": Metric("LPIPS", -1, ".4f", _lpips, note="LPIPS: AlexNet."),
    "fid": Metric(
        "FID",
        -1,
        ".2f",
        frechet_distance,
        of="set",
        note="FID: pytorch-fid, 2048 features, bilinear resize to 299 px, {n} images a side "
        "(biased upwards at so few).",
    ),
    "kid": Metric(
        "KID",
        -1,
        ".4f",
        kernel_distance,
        of="set",
        note="KID: unbiased, same features, cubic kernel, all pairs. A copy of the reference has neither: "
        "it is made of the test images themselves.",
    ),
    "palette": Metric(
        "palette",
        -1,
        ".2f",
        lambda p: palette_distance(p.images, p.reference),
        unit="ΔE",
        against="reference",
        note="palette: sliced Wasserstein distance of colours in CIELAB to the unwarped reference.",
    ),
}
"""Every metric by its name in files, in the order of the table's columns."""

SWEPT = ("psnr", "lpips")
"""Metrics of an image that are followed over numbers of sampling steps."""


def of_images() -> list[str]:
    """Metrics with a value for each image."""
    return [name for name, metric in METRICS.items() if metric.of == "image"]


def of_sets() -> list[str]:
    """Metrics with a value for a whole set of images."""
    return [name for name, metric in METRICS.items() if metric.of == "set"]


def against(what: Literal["truth", "reference"]) -> list[str]:
    """Metrics of an image that compare it with the sketch's truth, or with the unwarped reference."""
    return [name for name in of_images() if METRICS[name].against == what]


def enumerated(names: list[str], form: str = "{}") -> str:
    """The titles of metrics as text: ``PSNR, MS-SSIM and LPIPS``."""
    titles = [form.format(METRICS[name].title) for name in names]
    return " and ".join(filter(None, [", ".join(titles[:-1]), *titles[-1:]]))
