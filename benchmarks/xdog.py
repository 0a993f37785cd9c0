"""XDoG sketches at 256 px against the published formula in float64, an image at a time on one thread each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.case import Case, Measured, timed
from ssimbad.data.xdog import draw_sigma, sketch_of

COUNT, ROUNDS = 64, 7
SEED = 0


def plain(image: np.ndarray, sigma: float) -> np.ndarray:
    """The published sketch of an RGB image, with OpenCV's own kernel sizes."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) / 255
    inner = cv2.GaussianBlur(grey, (0, 0), sigma)
    outer = cv2.GaussianBlur(grey, (0, 0), 3.5 * sigma)
    u = grey * (11 * inner - 10 * outer)
    return np.round(255 * np.where(u >= 0.01, 1, 1 + np.tanh(1e9 * (u - 0.01)))).astype(np.uint8)


def case(files: list[Path]) -> Case:
    """64 images a round."""
    images = [np.asarray(Image.open(path).convert("RGB")) for path in files[:COUNT]]
    names = [path.stem for path in files[:COUNT]]
    sigmas = [draw_sigma(SEED, name) for name in names]
    cv2.setNumThreads(1)

    def per_image(work: Callable[[], Any]) -> Measured:
        took, sketches = timed(work)
        return 1000 * took / len(images), sketches

    return Case(
        "xdog",
        "ms an image and core at 256 px",
        lambda _: per_image(lambda: [plain(i, s) for i, s in zip(images, sigmas, strict=True)]),
        lambda _: per_image(
            lambda: [sketch_of(i, SEED, name) for i, name in zip(images, names, strict=True)]
        ),
        lambda a, b: float(np.mean(np.stack(a) != np.stack(b))),
        "share of pixels that differ: the plain protocol rounds grey to 8 bit",
        ROUNDS,
        target=1.0,
    )
