"""Images of the test set, measured against their truth and their references."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from ssimbad.errors import UserError
from ssimbad.evaluation.metrics import METRICS, ms_ssim_scales, of_images, of_sets
from ssimbad.evaluation.pairs import Pairs
from ssimbad.evaluation.statistics import bootstrap_interval, resampled
from ssimbad.files import sha256_file, whole_file, write_json
from ssimbad.pretrained.fetching import fetch
from ssimbad.pretrained.networks import Inception
from ssimbad.provenance import machine, packages
from ssimbad.settings import images_of

if TYPE_CHECKING:
    from pathlib import Path

    from ssimbad.data.image_set import ImageSet
    from ssimbad.evaluation.pairs import Networks
    from ssimbad.evaluation.schema import EvaluateConfig
    from ssimbad.layout import Results
    from ssimbad.methods import Run


def read_results(folder: Path, names: list[str], size: int) -> Tensor:
    """The images ``folder/<name>.png`` in the order of ``names``: (N, 3, S, S) uint8.

    Raises:
        UserError: a file is missing, surplus, unreadable or of another size; all are named.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    expected = {f"{name}.png" for name in names}
    faults = [f"{folder / name}: missing" for name in sorted(expected - found)]
    faults += [f"{folder / name}: surplus" for name in sorted(found - expected)]
    images = np.zeros((len(names), size, size, 3), np.uint8)
    for target, name in zip(images, names, strict=True):
        path = folder / f"{name}.png"
        if path.name not in found:
            continue
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            faults.append(f"{path}: not readable as an image ({error})")
            continue
        if pixels.shape != target.shape:
            faults.append(f"{path}: is {pixels.shape[1]}×{pixels.shape[0]}, not {size}×{size}")
            continue
        target[:] = pixels
    if faults:
        raise UserError("\n".join(faults))
    return torch.from_numpy(images).permute(0, 3, 1, 2)


class Features:
    """Inception features of images; :meth:`of` computes a set's once and keeps them by its pixels' digest.

    Args:
        networks: where its weights may come from, and where it runs; told of the source read.
        batch: images at once.
        cache: folder of what is kept; None: nothing is.

    Raises:
        UserError: the weights cannot be had.
    """

    def __init__(self, networks: Networks, batch: int, cache: Path | None) -> None:
        self.choice, self.device = networks.weights, networks.device
        self.batch, self.cache = batch, cache
        _, self.weights = fetch("inception", self.choice)
        networks.sources["fid"] = self.weights

    @cached_property
    def network(self) -> Inception:
        """The network, built when it is first asked for."""
        return Inception(self.choice).to(self.device)

    @torch.inference_mode()
    def computed(self, pixels: Tensor) -> Tensor:
        """(B, 2048) features of (B, 3, H, W) uint8 images, on the CPU."""
        return self.network(pixels.to(self.device).float() / 255).cpu()

    def of(self, pixels: Tensor, label: str) -> np.ndarray:
        """(N, 2048) features of (N, 3, S, S) uint8 images."""
        key = hashlib.sha256(pixels.contiguous().numpy().tobytes())
        key.update(f"{self.weights['digest']} {tuple(pixels.shape)} {self.device.type}".encode())
        assert self.cache is not None
        path = self.cache / f"{key.hexdigest()}.safetensors"
        if path.exists():
            with suppress(SafetensorError, KeyError):  # damaged: made anew
                return load_file(path)["features"].numpy()
        rows = []
        with tqdm(total=len(pixels), desc=f"features of {label}", unit=" images") as bar:
            for batch in pixels.split(self.batch):
                rows.append(self.computed(batch))
                bar.update(len(batch))
        features = torch.cat(rows)
        with whole_file(path) as part:
            save_file({"features": features}, part)
        return features.numpy()


def image_values(
    metrics: list[str], batches: Iterable[tuple[Tensor, ...]], networks: Networks
) -> dict[str, np.ndarray]:
    """Each image's values by metric: (N,).

    Args:
        metrics: their names.
        batches: images, truths and references, each (B, 3, H, W) uint8, and (B, 1, H, W) sketches where a
            metric needs them.
        networks: the metrics'.
    """
    columns: dict[str, list[Tensor]] = {metric: [] for metric in metrics}
    with torch.inference_mode():
        for batch in batches:
            images, truth, reference, *sketch = (part.float() / 255 for part in batch)
            pairs = Pairs(images, truth, reference, networks, *sketch)
            for metric, values in pairs.measured(metrics).items():
                columns[metric].append(values.cpu())
    return {metric: torch.cat(v).double().numpy() for metric, v in columns.items()}


def summary(
    per_image: dict[str, np.ndarray], sets: list[np.ndarray], resamples: int, seed: int
) -> dict[str, dict[str, float | None]]:
    """The value and interval of every metric, in the order of :data:`METRICS`. One image has no interval.

    Args:
        per_image: each image's values by metric.
        sets: features of the images and of their truth, row by row; empty: metrics of a set are None.
        resamples: of the intervals' bootstrap.
        seed: of the same.
    """
    found: dict[str, dict[str, float | None]] = {}
    for name in METRICS:
        if name in per_image:
            values = per_image[name]
            low, high = (
                bootstrap_interval(values, resamples, seed) if len(values) > 1 else (None,) * 2
            )
            found[name] = {"value": float(values.mean()), "ci_low": low, "ci_high": high}
        elif name in of_sets():
            found[name] = dict.fromkeys(("value", "ci_low", "ci_high"))
            if sets:
                found[name]["value"] = METRICS[name].compute(*sets)
            if sets and (interval := METRICS[name].interval):
                low, high = interval(*sets, resampled(len(sets[0]), resamples, seed))
                found[name] |= {"ci_low": low, "ci_high": high}
    return found


class Measurer:
    """Measures sets of images of the test set.

    Args:
        test_set: what they are compared with; its seed is the bootstrap's too.
        config: batch size and resamples.
        networks: the metrics', and where they run.
        cache: folder of Inception features.

    Raises:
        UserError: weights cannot be had.
    """

    def __init__(
        self, test_set: ImageSet, config: EvaluateConfig, networks: Networks, cache: Path
    ) -> None:
        self.test_set, self.config, self.networks = test_set, config, networks
        _ = networks.lpips  # weights that cannot be had are told of before any work
        self._cache = cache

    @cached_property
    def features(self) -> Features:
        """Inception's features of image sets."""
        return Features(self.networks, self.config.batch, self._cache)

    def measure(self, folder: Path, setting: str, of_set: bool, label: str) -> dict[str, Any]:
        """A folder's images: metrics with intervals, each image's values, and the pixels' digest.

        Args:
            folder: holds ``<name>.png`` for every test image and nothing else.
            setting: in which they were made, and against whose truth.
            of_set: whether to compute metrics of the whole set. Of images that are copies of the test
                images they say nothing, and are None.
            label: what the progress bar says.

        Raises:
            UserError: images are missing, surplus or damaged.
        """
        names = self.test_set.names
        pixels = read_results(folder, names, self.test_set.size)
        truth = self.test_set.truth(names, setting)
        reference = self.test_set.references(names, setting)
        compared = (pixels, truth, reference, self.test_set.sketches(names))
        batches = zip(*(part.split(self.config.batch) for part in compared), strict=True)
        per_image = image_values(of_images(), batches, self.networks)
        sets = [self.features.of(pixels, label), self._truths(truth)] if of_set else []
        metrics = summary(per_image, sets, self.config.resamples, self.test_set.seed)
        return {
            "metrics": metrics,
            "per_image": {
                name: {metric: float(values[i]) for metric, values in per_image.items()}
                | {"reference": self.test_set.partners[setting][name]}
                for i, name in enumerate(names)
            },
            "images": _digest_of(pixels),
        }

    def _truths(self, truth: Tensor) -> np.ndarray:
        return self.features.of(truth, "the truth")

    def floor(self, setting: str) -> dict[str, float]:
        """Metrics of a set, of training images against a setting's truth: what other people's pictures of
        the same kind reach, by chance of who is drawn."""
        truth = self.test_set.truth(self.test_set.names, setting)
        sets = [self.features.of(self.test_set.others(), "training images"), self._truths(truth)]
        return {metric: METRICS[metric].compute(*sets) for metric in of_sets()}

    def measure_run(self, run: Run, setting: str, results: Results) -> dict[str, Any]:
        """As :meth:`measure`, of a run's images in a setting; with the setting's :meth:`floor`."""
        folder = results.images(run) / images_of(setting)
        # The images of the copy row are the test images themselves, warped.
        found = self.measure(folder, setting, run.method != "reference", f"{run} {setting}")
        return found | {"floor": self.floor(setting)}


def write_measurements(
    measurer: Measurer, run: Run, record: dict[str, Any], results: Results
) -> None:
    """Measure a run's images and write ``metrics/<run>/<setting>.json`` for each setting there is.

    Args:
        measurer: what measures.
        run: whose images.
        record: what else to note of their origin.
        results: where everything lies.

    Raises:
        UserError: images are missing, surplus or damaged.
    """
    start = time.monotonic()
    test_set = measurer.test_set
    for setting in test_set.partners:
        found = measurer.measure_run(run, setting, results)
        write_json(
            results.metrics(run) / f"{setting}.json",
            {
                "row": run,
                "setting": setting,
                "n": len(test_set.names),
                "size": test_set.size,
                "ms_ssim_scales": ms_ssim_scales(test_set.size),
                "metrics": found["metrics"],
                "floor": found["floor"],
                "per_image": found["per_image"],
                "provenance": record
                | {
                    "images": found["images"],
                    "data": sha256_file(results.data / "manifest.json"),
                    "weights": measurer.networks.sources,
                    "packages": packages(),
                    "machine": machine(measurer.networks.device),
                    "seconds": round(time.monotonic() - start, 2),
                },
            },
        )


def _digest_of(pixels: Tensor) -> str:
    return hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()
