"""The metrics of the table: pure functions, and below them the one list of what they are called and how
they are read.

Images are (B, 3, S, S), or of any sides, in [0, 1] unless said otherwise. PyTorch and scikit-image are
imported by the functions that need them: names and titles are read where no image is.
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
_FLAT = 2  # of 255: JPEG's noise is no edge
_SMALLEST = 0.005  # share of the image
_RIGHT = 10.0  # ΔE below which a region has the right colour


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
    weights = _MS_SSIM_WEIGHTS[: ms_ssim_scales(min(images.shape[-2:]))]
    return _similarity(images, truth, tuple(weight / sum(weights) for weight in weights))


def ssim(images: Tensor, truth: Tensor) -> Tensor:
    """SSIM (Wang et al. 2004), Gaussian window 11, σ 1.5, channels averaged, at least 0: (B,)."""
    return _similarity(images, truth, (1.0,))


def _similarity(images: Tensor, truth: Tensor, weights: tuple[float, ...]) -> Tensor:
    import torch.nn.functional as F

    x, y = images.double(), truth.double()
    product = x.new_ones(images.shape[:2])
    for scale, weight in enumerate(weights, 1):
        mean_x, mean_y = gaussian_mean(x), gaussian_mean(y)
        variances = gaussian_mean(x * x) - mean_x**2 + gaussian_mean(y * y) - mean_y**2
        covariance = gaussian_mean(x * y) - mean_x * mean_y
        term = (2 * covariance + C2) / (variances + C2)
        if scale == len(weights):
            term = term * (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
        product *= term.mean((2, 3)).relu() ** weight
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return product.mean(1).float()


def _directions() -> np.ndarray:
    """(64, 3) directions evenly over a half sphere, along a golden spiral.

    The mean of |⟨d, u⟩| over them is 1/2, as over the whole sphere, within 2 % for every unit vector u.
    """
    steps = np.arange(_DIRECTIONS)
    height = (steps + 0.5) / _DIRECTIONS
    angle, radius = steps * np.pi * (3 - 5**0.5), np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], 1)


def _lab(images: Tensor) -> np.ndarray:
    """(B, H, W, 3) in CIELAB, D65, float32."""
    from skimage.color import rgb2lab

    return rgb2lab(images.permute(0, 2, 3, 1).cpu().numpy()).astype(np.float32)


def palette_distance(images: Tensor, reference: Tensor) -> Tensor:
    """Distance of the colours two images use, wherever they use them: (B,) in ΔE, lower is closer.

    Twice the sliced 1-Wasserstein distance of the pixel clouds in CIELAB: both clouds projected on 64
    directions, sorted, mean absolute difference over pixels and directions. Twice, so that a uniform shift
    of colours by 10 ΔE reads 10.
    """
    import torch

    directions = torch.from_numpy(_directions().T.astype(np.float32))

    def projected(batch: Tensor) -> np.ndarray:
        clouds = (torch.from_numpy(_lab(batch)).flatten(1, 2) @ directions).transpose(1, 2)
        return np.sort(clouds.contiguous().numpy())  # torch's is slow on a CPU

    return torch.from_numpy(2 * np.abs(projected(images) - projected(reference)).mean((1, 2)))


def flat_regions(images: Tensor) -> np.ndarray:
    """The flat regions of images: (B, H, W) int, -1 where there is none, no number twice.

    Neighbours, side by side, belong together where no channel differs by more than 2 of 255. Regions below
    0.5 % of the image, such as lines and their soft edges, are none. An image without any is one region.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pixels = (images.cpu().numpy() * 255).round().astype(np.int16)
    count, _, height, width = pixels.shape
    numbers = np.arange(count * height * width).reshape(count, height, width)
    across = np.abs(np.diff(pixels, axis=3)).max(1) <= _FLAT
    down = np.abs(np.diff(pixels, axis=2)).max(1) <= _FLAT
    ends = [
        np.concatenate([numbers[:, :, :-1][across], numbers[:, :-1][down]]),
        np.concatenate([numbers[:, :, 1:][across], numbers[:, 1:][down]]),
    ]
    joined = coo_matrix((np.ones(len(ends[0]), bool), ends), shape=(numbers.size, numbers.size))
    labels = connected_components(joined, directed=False)[1].reshape(numbers.shape)
    areas = np.bincount(labels.ravel())
    labels[areas[labels] < _SMALLEST * height * width] = -1
    for k, own in enumerate(labels):
        if own.max() < 0:
            own[:] = len(areas) + k
    return labels


def region_errors(images: Tensor, truth: Tensor) -> list[np.ndarray]:
    """Of each image, the colour error (ΔE, CIE 1976) of every flat region of its truth: the median over
    the region's pixels."""
    errors = np.linalg.norm(_lab(images) - _lab(truth), axis=-1)
    found = []
    for labels, own in zip(flat_regions(truth), errors, strict=True):
        inside = labels >= 0
        order = np.argsort(labels[inside], kind="stable")
        _, starts = np.unique(labels[inside][order], return_index=True)
        parts = np.split(own[inside][order], starts[1:])
        found.append(np.array([np.median(part) for part in parts]))
    return found


def sketch_adherence(images: Tensor, sketch: Tensor) -> Tensor:
    """How well the images' own lines are the sketch's: F1 in [0, 1], (B,).

    The images' lines are XDoG's, with the middle one of its widths. A line's pixel is right where the other
    picture has one there or beside it. Two pictures without lines agree.

    Args:
        images: (B, 3, S, S) in [0, 1].
        sketch: (B, 1, S, S) in [0, 1], dark lines on white.
    """
    import cv2
    import torch

    from ssimbad.data.xdog import SIGMAS, xdog

    values = []
    for image, given in zip(images.cpu().permute(0, 2, 3, 1), sketch.cpu()[:, 0], strict=True):
        grey = cv2.cvtColor(image.contiguous().numpy(), cv2.COLOR_RGB2GRAY)
        own = (xdog(grey, SIGMAS[1]) == 0).view(np.uint8)
        asked = (given.numpy() < 0.5).view(np.uint8)
        beside = np.ones((3, 3), np.uint8)
        near_own, near_asked = cv2.dilate(own, beside), cv2.dilate(asked, beside)
        right, found = (own & near_asked).sum(), (asked & near_own).sum()
        drawn, lines = own.sum(), asked.sum()
        if not drawn and not lines:
            values.append(1.0)
            continue
        precision, recall = right / max(drawn, 1), found / max(lines, 1)
        values.append(2 * precision * recall / max(precision + recall, 1e-12))
    return torch.tensor(values)


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

    def within(a: np.ndarray) -> float:
        values = _kernel(a, a)
        return (values.sum() - np.trace(values)) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * _kernel(x, y).mean())


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a.astype(np.float64) @ b.T.astype(np.float64) / a.shape[1] + 1) ** 3


def kernel_interval(
    x: np.ndarray, y: np.ndarray, draws: np.ndarray, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of :func:`kernel_distance` over pairs of an image and its truth.

    A pair drawn twice is not compared with itself: it would be counted as two that are alike. An image meets
    its own truth as often as it was drawn, as in the distance itself. Resamples of one pair alone, which
    happen where there are few, are left out.

    Args:
        x, y: (N, D) features, row by row of an image and of its truth.
        draws: (R, N) indices of the pairs in each resample.
        level: the share of resamples inside.
    """
    count = len(x)
    often = np.stack([np.bincount(draw, minlength=count) for draw in draws]).astype(np.float64)
    often = often[often.max(1) < count]
    others = count**2 - (often**2).sum(1)  # pairs of different images, as often as they were drawn

    def within(kernel: np.ndarray) -> np.ndarray:
        return ((often @ kernel) * often).sum(1) - often**2 @ np.diag(kernel)

    between = _kernel(x, y)
    across = (within(between) + often @ np.diag(between)) / (others + count)
    values = (within(_kernel(x, x)) + within(_kernel(y, y))) / others - 2 * across
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


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
        interval: of a metric of a set, from the features as above and (R, N) resampled indices to the ends
            of its interval; None: it has none.
        unit: of its values.
        of: each image, with intervals and paired differences; or the whole set, with neither.
        against: what images are compared with; only rows of a run have a sketch and a reference.
        note: what the table says of it below; ``{n}``, ``{size}`` and ``{ms_ssim_scales}`` are filled in.
        main: whether it has a column of the main table, or of the one below it.
    """

    title: str
    better: Literal[1, -1]
    format: str
    compute: Callable[..., Any]
    interval: Callable[..., tuple[float, float]] | None = None
    unit: str = ""
    of: Literal["image", "set"] = "image"
    against: Literal["truth", "reference", "sketch"] = "truth"
    note: str = ""
    main: bool = True

    @property
    def heading(self) -> str:
        """Title, unit and the direction of better values."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.title}{unit} {'↑' if self.better > 0 else '↓'}"


def _lpips(pairs: Pairs) -> Tensor:
    network, device = pairs.networks.lpips, pairs.networks.device
    return network(pairs.images.to(device), pairs.truth.to(device), normalize=True).flatten()


def _of_regions(pairs: Pairs, summary: Callable[[np.ndarray], Any]) -> Tensor:
    import torch

    return torch.tensor([float(summary(errors)) for errors in pairs.region_errors])


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
        kernel_interval,
        of="set",
        main=False,
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
        note="palette: twice the sliced Wasserstein distance of colours in CIELAB to the unwarped reference; "
        "a uniform shift reads its ΔE.",
    ),
    "ssim": Metric("SSIM", +1, ".4f", lambda p: ssim(p.images.cpu(), p.truth.cpu()), main=False),
    "region": Metric(
        "region error",
        -1,
        ".2f",
        lambda p: _of_regions(p, np.median),
        unit="ΔE",
        main=False,
        note="region error: median over the truth's flat regions of their pixels' median ΔE (CIE 1976).",
    ),
    "regions_right": Metric(
        "regions right",
        +1,
        ".3f",
        lambda p: _of_regions(p, lambda errors: np.mean(errors < _RIGHT)),
        main=False,
        note=f"regions right: the share of them below {_RIGHT:g} ΔE.",
    ),
    "lines": Metric(
        "line F1",
        +1,
        ".3f",
        lambda p: sketch_adherence(p.images, p.sketch),
        against="sketch",
        main=False,
        note="line F1: of the image's XDoG lines against the sketch's, one pixel's tolerance.",
    ),
}
"""Every metric by its name in files, in the order of the table's columns."""

SWEPT = ("psnr", "ms_ssim", "lpips")
"""Metrics of an image that are followed over ways of sampling."""


def of_images() -> list[str]:
    """Metrics with a value for each image."""
    return [name for name, metric in METRICS.items() if metric.of == "image"]


def of_sets() -> list[str]:
    """Metrics with a value for a whole set of images."""
    return [name for name, metric in METRICS.items() if metric.of == "set"]


def against(what: Literal["truth", "reference", "sketch"]) -> list[str]:
    """Metrics of an image that compare it with its truth, the unwarped reference, or the sketch."""
    return [name for name in of_images() if METRICS[name].against == what]


def enumerated(names: list[str], form: str = "{}") -> str:
    """The titles of metrics as text: ``PSNR, MS-SSIM and LPIPS``."""
    titles = [form.format(METRICS[name].title) for name in names]
    return " and ".join(filter(None, [", ".join(titles[:-1]), *titles[-1:]]))
