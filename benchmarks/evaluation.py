"""A table's evaluation: every metric an image at a time, and the truth's features for every set anew."""

from __future__ import annotations

import tempfile
from pathlib import Path

import lpips
import numpy as np
import torch
from PIL import Image
from pytorch_fid.fid_score import calculate_frechet_distance
from skimage.metrics import peak_signal_noise_ratio
from torch.utils.flop_counter import FlopCounterMode
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from benchmarks.case import Case, Measured, kernel_seconds, timed
from ssimbad.config.files import load
from ssimbad.data.image_set import ImageSet
from ssimbad.evaluation.measure import Measurer
from ssimbad.evaluation.metrics import ms_ssim_scales
from ssimbad.evaluation.pairs import Networks
from ssimbad.pretrained.networks import Inception, lpips_network

ROUNDS = 2
"""Sets; a table has one for each row and setting."""


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


class Plain:
    """The published protocol: one image at a time, features of both sides for every set."""

    def __init__(self, weights: str) -> None:
        self.inception = Inception(weights)
        self.lpips: lpips.LPIPS = lpips_network("alex", weights)

    def _features(self, files: list[Path]) -> np.ndarray:
        rows = [self.inception(_tensor(_pixels(file)))[0].numpy() for file in files]
        return np.stack(rows).astype(np.float64)

    @torch.inference_mode()
    def measure(self, images: list[Path], truth: list[Path], scales: int) -> dict[str, float]:
        """PSNR, MS-SSIM, LPIPS and FID of a set, each over the files anew."""
        pairs = list(zip(images, truth, strict=True))
        weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
        psnr = [peak_signal_noise_ratio(_pixels(t), _pixels(i)) for i, t in pairs]
        structure = [
            multiscale_structural_similarity_index_measure(
                _tensor(_pixels(i)),
                _tensor(_pixels(t)),
                data_range=1.0,
                betas=tuple(weights / weights.sum()),
            ).item()
            for i, t in pairs
        ]
        distance = [
            self.lpips(_tensor(_pixels(i)), _tensor(_pixels(t)), normalize=True).item()
            for i, t in pairs
        ]
        x, y = self._features(images), self._features(truth)
        fid = calculate_frechet_distance(
            x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False)
        )
        return {
            "psnr": float(np.mean(psnr)),
            "ms_ssim": float(np.mean(structure)),
            "lpips": float(np.mean(distance)),
            "fid": float(fid),
        }


def case(data: Path, folder: Path) -> Case:
    """Sets of noisy copies of the test images."""
    loaded = load([])
    test_set = ImageSet(data, "test", loaded.seed)
    own = test_set.images(test_set.names)
    images = own.permute(0, 2, 3, 1).numpy()
    truth = folder / "truth"
    first, *sets = (folder / f"set{number}" for number in range(1 + ROUNDS))
    generator = np.random.default_rng(0)
    for path in (truth, first, *sets):
        path.mkdir(parents=True)
        for name, image in zip(test_set.names, images, strict=True):
            noise = 0 if path == truth else generator.normal(0, 20, image.shape)
            pixels = np.clip(image + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path / f"{name}.png")
    plain = Plain(loaded.weights)
    # The truth's features are computed once a table and kept, as a run keeps them.
    cache = Path(tempfile.mkdtemp(dir=folder))
    networks = Networks(loaded.weights, torch.device("cpu"))
    measurer = Measurer(test_set, loaded.evaluate, networks, cache)
    scales = ms_ssim_scales(test_set.size)
    with FlopCounterMode(display=False) as counter:
        plain.inception(torch.zeros(1, 3, test_set.size, test_set.size))

    def files(path: Path) -> list[Path]:
        return [path / f"{name}.png" for name in test_set.names]

    def measured(path: Path) -> dict[str, float]:
        found = measurer.measure(path, "same", True, "set")["metrics"]
        return {key: values["value"] for key, values in found.items()}

    measurer.features.of(own[:2], "two images")  # reads the network
    inception_s, _ = timed(lambda: measurer.features.of(own, "the truth"))
    spent = kernel_seconds(lambda: measured(first))

    def plainly(number: int) -> Measured:
        return timed(lambda: plain.measure(files(sets[number]), files(truth), scales))

    def ours(number: int) -> Measured:
        return timed(lambda: measured(sets[number]))

    return Case(
        "evaluation",
        f"s for a set of {len(test_set.names)} pairs",
        plainly,
        ours,
        lambda a, b: max(abs(a[key] - b[key]) / abs(a[key]) for key in ("psnr", "lpips", "fid")),
        "largest relative difference of PSNR, LPIPS and FID",
        ROUNDS,
        target=5.0,
        flops=counter.get_total_flops() * len(test_set.names),
        notes={"inception_s": inception_s, "convolution_s": spent["aten::mkldnn_convolution"]},
    )
