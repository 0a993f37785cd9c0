"""XDoG sketches (eXtended Difference of Gaussians, Winnemöller et al. 2012)."""

from __future__ import annotations

import cv2
import numpy as np

from ssimbad.rng import numpy_generator

cv2.setNumThreads(1)  # images are spread over processes

SIGMAS = (0.3, 0.4, 0.5)
"""Gaussian widths in pixels, of which AnimeDiffusion's preprocessing draws one per image."""


def draw_sigma(seed: int, name: str) -> float:
    """The σ (pixels) of the image called ``name``: uniform over :data:`SIGMAS`."""
    return SIGMAS[numpy_generator(seed, "xdog", name).integers(len(SIGMAS))]


def xdog(
    grey: np.ndarray, sigma: float, *, k: float = 3.5, p: float = 10.0, epsilon: float = 0.01
) -> np.ndarray:
    """Sketch of a grey image, black lines on white.

    D = (1 + p) G_σ I − p G_{kσ} I, u = I·D, T = 1 where u ≥ ε and 1 + tanh(φ(u − ε)) elsewhere.
    The published φ = 1e9 makes the tanh a step, so T is binary.

    Args:
        grey: (H, W) in [0, 1], float32.
        sigma: width of the inner Gaussian in pixels.
        k: ratio of the outer to the inner width.
        p: strength of the difference.
        epsilon: threshold on u.

    Returns:
        (H, W) uint8, 0 or 255.
    """
    difference = (1 + p) * cv2.GaussianBlur(grey, (0, 0), sigma)
    difference -= p * cv2.GaussianBlur(grey, (0, 0), k * sigma)
    return (grey * difference >= epsilon).view(np.uint8) * np.uint8(255)


def sketch_of(image: np.ndarray, seed: int, name: str) -> np.ndarray:
    """XDoG sketch (H, W) uint8 of an RGB image (H, W, 3) uint8, σ drawn from (seed, name)."""
    grey = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2GRAY)
    return xdog(grey, draw_sigma(seed, name))
