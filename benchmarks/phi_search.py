"""The φ search against the published protocol written plainly: scikit-image SSIM per image and σ."""

from __future__ import annotations

import numpy as np
import torch
from skimage.metrics import structural_similarity

from benchmarks.case import Case, timed
from ssimbad.noise.schema import PhiConfig
from ssimbad.noise.search import Search
from ssimbad.noise.transforms import Phi, candidates

IMAGES, SIZE, POINTS, ROUNDS = 4, 128, 50, 2
CONFIG = PhiConfig(
    sigma_min=0.002, sigma_max=80.0, choice="auto", images=IMAGES, size=SIZE, points=POINTS
)


def make_search(
    number: int,
    config: PhiConfig = CONFIG,
    device: torch.device = torch.device("cpu"),  # noqa: B008
) -> Search:
    """The search on random flat-coloured images."""
    generator = torch.Generator().manual_seed(number)
    coarse = torch.rand(config.images, 3, 8, 8, generator=generator) * 2 - 1
    images = torch.nn.functional.interpolate(
        coarse, size=(config.size, config.size), mode="nearest"
    )
    names = [str(i) for i in range(config.images)]
    return Search(config, images.to(device), names, seed=number)


def ours(search: Search) -> list[float]:
    """R² of every candidate, batched."""
    return search.r2(candidates(CONFIG.sigma_min, CONFIG.sigma_max))


def plain_r2(search: Search, phi: Phi) -> float:
    """R² of one candidate, an image and a σ at a time, by scikit-image and NumPy alone."""
    first, last = phi.bounds()
    fractions = torch.linspace(0, 1, search.config.points, dtype=torch.float64)
    axis = torch.lerp(first, last, fractions)
    sigmas = phi.inverse(axis).numpy()
    curves = [
        [
            structural_similarity(
                (image + 1) / 2,
                (np.clip(image + sigma * noise, -1, 1) + 1) / 2,
                channel_axis=0,
                data_range=1,
            )
            for sigma, noise in zip(sigmas, noises, strict=True)
        ]
        for image, noises in zip(
            search.images.cpu().numpy(), search.noise.cpu().numpy(), strict=True
        )
    ]
    scores = []
    for curve in np.array(curves):
        fit = np.polyval(np.polyfit(axis.numpy(), curve, 1), axis.numpy())
        scores.append(1 - np.sum((curve - fit) ** 2) / np.sum((curve - curve.mean()) ** 2))
    return float(np.mean(scores))


def plain(search: Search) -> list[float]:
    """R² of every candidate, plainly."""
    return [plain_r2(search, phi) for phi in candidates(CONFIG.sigma_min, CONFIG.sigma_max)]


def case() -> Case:
    """All candidates on 4 of 20 images a round."""
    searches = [make_search(number) for number in range(ROUNDS)]
    ours(searches[0])  # compiles
    return Case(
        "phi_search",
        f"s for {IMAGES} images",
        lambda number: timed(lambda: plain(searches[number])),
        lambda number: timed(lambda: ours(searches[number])),
        lambda a, b: float(np.abs(np.subtract(a, b)).max()),
        "largest difference of R²",
        ROUNDS,
        target=30.0,
    )
