"""How SSIM falls with noise, and the search for the φ* in which it falls in a straight line.

Protocol: a few training images; noise levels uniform in φ over [σ_min, σ_max]; x_t = clamp(x_0 + σn,
−1, 1) with its own n for each image and level; SSIM of x_t and x_0 in [0, 1]; a straight line fitted to
SSIM against φ for each image; R², averaged over images. The noise is the same for every candidate,
so candidates differ by φ alone and R² is smooth in c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ssimbad.diffusion.ddpm import TIMESTEPS, alpha_bars
from ssimbad.noise.degradation import Degradation
from ssimbad.noise.transforms import EDM, RATIONAL, Phi, candidates
from ssimbad.rng import torch_generator

if TYPE_CHECKING:
    from ssimbad.noise.schema import PhiConfig

C_RANGE = (0.01, 2.0)
"""Where c of σ/(σ + c) is searched."""
_COARSE = 12
_CURVE_POINTS = 25
_AT_ONCE = 8  # candidates between two steps of the progress bar


def mean_r2(axis: np.ndarray, curves: np.ndarray) -> float:
    """R² of the straight line through each curve, averaged.

    Args:
        axis: (K,) where the curves were measured.
        curves: (N, K).
    """
    design = np.stack([axis - axis.mean(), np.ones_like(axis)], 1)
    fit = design @ np.linalg.lstsq(design, curves.T, rcond=None)[0]
    residual = ((curves.T - fit) ** 2).sum(0)
    total = ((curves - curves.mean(1, keepdims=True)) ** 2).sum(1)
    return float(np.mean(1 - residual / total))


@dataclass(frozen=True)
class Curve:
    """One spacing's SSIM degradation, for the figures.

    Attributes:
        spacing: "DDPM", "EDM" or "SSIMBaD".
        axis_name: what the axis shows.
        axis: (K,) positions, in order of growing noise.
        sigmas: (K,) noise relative to the signal.
        ssim: (N, K).
        r2: mean R² over images.
        noisy: (K, 3, S, S) in [-1, 1], the first image at each level.
    """

    spacing: str
    axis_name: str
    axis: np.ndarray
    sigmas: np.ndarray
    ssim: np.ndarray
    r2: float
    noisy: Tensor


class Search:
    """The search on given images.

    Args:
        config: the section.
        images: (N, 3, S, S) in [-1, 1], on the device that is to compute.
        names: N image names, by which the noise is drawn.
        seed: the run's seed.
    """

    def __init__(self, config: PhiConfig, images: Tensor, names: list[str], seed: int) -> None:
        self.config, self.images = config, images
        shape = (config.points, *images.shape[1:])
        draws = [torch.randn(shape, generator=torch_generator(seed, "phi", name)) for name in names]
        self.noise = torch.stack(draws).to(images.device)
        self._degradation = Degradation(images, self.noise)

    def r2(self, phis: list[Phi]) -> list[float]:
        """Mean R² of SSIM against each φ; many at once are faster than one after the other."""
        fractions = torch.linspace(0, 1, self.config.points, dtype=torch.float64)
        sigmas = torch.stack([phi.uniform(fractions) for phi in phis])
        curves = self._degradation.ssim(torch.ones_like(fractions), sigmas).numpy()
        axes = (torch.lerp(*phi.bounds(), fractions).numpy() for phi in phis)
        return [mean_r2(axis, own) for axis, own in zip(axes, curves, strict=True)]

    def _scores(self, phis: list[Phi], what: str) -> list[float]:
        scores: list[float] = []
        with tqdm(total=len(phis), desc=what, unit=" candidates") as progress:
            for start in range(0, len(phis), _AT_ONCE):
                scores += self.r2(phis[start : start + _AT_ONCE])
                progress.update(len(scores) - start)
        return scores

    def refine_c(self) -> tuple[Phi, float]:
        """σ/(σ + c) with the best c in [0.01, 2], sought continuously in ln c, and its R²."""
        from scipy.optimize import minimize_scalar

        low, high = (math.log(c) for c in C_RANGE)
        grid = np.linspace(low, high, _COARSE)
        template = Phi(RATIONAL, 1.0, self.config.sigma_min, self.config.sigma_max)

        def at(log_c: float) -> Phi:
            return replace(template, c=float(np.clip(math.exp(log_c), *C_RANGE)))

        scores = self._scores([at(x) for x in grid], "phi: c")
        best = int(np.argmax(scores))
        bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        found = minimize_scalar(lambda x: -self.r2([at(x)])[0], bounds=bounds, method="bounded")
        if -found.fun >= scores[best]:
            return at(found.x), float(-found.fun)
        return at(grid[best]), scores[best]

    def ranking(self) -> list[tuple[Phi, float]]:
        """All candidates and the refined c with their R², best first."""
        everything = candidates(self.config.sigma_min, self.config.sigma_max)
        scored = list(zip(everything, self._scores(everything, "phi"), strict=True))
        scored.append(self.refine_c())
        return sorted(scored, key=lambda pair: -pair[1])

    def curves(self, chosen: Phi) -> list[Curve]:
        """Degradation of SSIM along DDPM's, EDM's and the chosen φ's own axes.

        DDPM's β are AnimeDiffusion's, 1e-6 to 1e-2; the paper's figure fits 1e-4 to 0.02 (Ho et al. 2020).
        """
        count = min(_CURVE_POINTS, self.config.points)
        fractions = torch.linspace(0, 1, count, dtype=torch.float64)
        steps = (fractions * (TIMESTEPS - 1)).round().long()
        kept = alpha_bars()[steps]
        edm = Phi(EDM, 0.0, self.config.sigma_min, self.config.sigma_max)
        rows = [("DDPM", "t, β of AnimeDiffusion", steps.double(), kept.sqrt(), (1 - kept).sqrt())]
        for spacing, phi in (("EDM", edm), ("SSIMBaD", chosen)):
            sigmas = phi.uniform(fractions)
            rows.append((spacing, phi.label(), phi(sigmas), torch.ones_like(sigmas), sigmas))
        curves = []
        for spacing, axis_name, axis, means, sigmas in rows:
            values = self._degradation.ssim(means, sigmas[None])[0].numpy()
            mean, level = (v.to(self.noise.device)[:, None, None, None] for v in (means, sigmas))
            noisy = (mean * self.images[0] + level * self.noise[0, :count]).clamp(-1, 1).cpu()
            curves.append(
                Curve(
                    spacing,
                    axis_name,
                    axis.numpy(),
                    (sigmas / means).numpy(),
                    values,
                    mean_r2(axis.numpy(), values),
                    noisy,
                )
            )
        return curves
