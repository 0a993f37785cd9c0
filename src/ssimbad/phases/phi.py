"""The search for φ*."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F

from ssimbad.data.store import Split, to_pixels, to_unit
from ssimbad.devices import device_of
from ssimbad.files import whole_file, write_json, write_text
from ssimbad.noise.search import Curve, Search
from ssimbad.noise.transforms import Phi, parse
from ssimbad.rng import numpy_generator

if TYPE_CHECKING:
    from ssimbad.layout import Results
    from ssimbad.phases.slices import PhaseConfig


def _write_curves(curves: list[Curve], folder: Path) -> None:
    with whole_file(folder / "curves.csv") as part, part.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["spacing", "axis_name", "axis", "sigma", "ssim", "ssim_std", "r2"])
        for curve in curves:
            columns = (curve.axis, curve.sigmas, curve.ssim.mean(0), curve.ssim.std(0))
            for axis, sigma, mean, deviation in zip(*columns, strict=True):
                numbers = [f"{v:.6g}" for v in (axis, sigma, mean, deviation, curve.r2)]
                writer.writerow([curve.spacing, curve.axis_name, *numbers])
    with whole_file(folder / "noisy.npz") as part, part.open("wb") as stream:
        grids = {c.spacing: to_pixels(c.noisy).permute(0, 2, 3, 1).numpy() for c in curves}
        np.savez_compressed(stream, allow_pickle=False, **grids)


def run(config: PhaseConfig, results: Results) -> None:
    """The search for φ*: ranking, curves, and the φ that training and sampling read."""
    section = config.phi
    split = Split(results.data, "train")
    order = numpy_generator(config.seed, "phi", "images").permutation(len(split))
    chosen = sorted(order[: section.images].tolist())
    images = to_unit(split.image_pixels(chosen))
    if section.size != split.size:
        shape = (section.size, section.size)
        images = F.interpolate(images, shape, mode="bilinear", antialias=True, align_corners=False)
    images = images.to(device_of(config.device))
    search = Search(section, images, [split.names[i] for i in chosen], config.seed)
    ranking = search.ranking()
    if section.choice == "auto":
        best, r2 = ranking[0]
    else:
        best = Phi(*parse(section.choice), section.sigma_min, section.sigma_max)
        r2 = search.r2([best])[0]
    lines = [f"{p.name},{p.c:.6g},{score:.6f}" for p, score in ranking]
    write_text(results.phi / "ranking.csv", "\n".join(["phi,c,r2", *lines]) + "\n")
    _write_curves(search.curves(best), results.phi)
    write_json(
        results.phi / "phi.json",
        best.to_dict()
        | {"r2": r2, "choice": section.choice, "images": len(chosen), "size": section.size},
    )
