"""The phases, one function each: what the workflow's rules and the commands call.

What is slow to import (Lightning, metrics, plotting) is imported by the phase that needs it.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
import yaml

from ssimbad.config import Phase, runs, seed_of
from ssimbad.data.prepare import prepare, read_pairs
from ssimbad.data.store import Split, to_pixels, to_unit
from ssimbad.devices import compile_in_place, device_of
from ssimbad.errors import UserError
from ssimbad.files import read_json, sha256_file, whole_file, write_json, write_text
from ssimbad.inference import infer as colorize_test_set
from ssimbad.layout import Results
from ssimbad.methods import method_of, methods, pretrained_run, row_of, stage_of, trained_run
from ssimbad.methods.base import Method, TrainedMethod
from ssimbad.noise.search import Curve, Search
from ssimbad.noise.transforms import Phi, parse
from ssimbad.processes import Place, joined, lead, place_of
from ssimbad.provenance import code_version, machine, package_digest, packages
from ssimbad.rng import numpy_generator
from ssimbad.training import checkpoint
from ssimbad.training.settings import in_steps


def _shared(
    work: Callable[[Phase, str, Results, Place], None],
) -> Callable[[Phase, str, Results], None]:
    """A phase whose work ``devices`` processes on each of ``nodes`` nodes share, as the config has it."""

    @wraps(work)
    def phase(config: Phase, row: str, results: Results) -> None:
        place = place_of(config.devices, config.nodes)
        if place is None:
            command = [sys.executable, "-m", "ssimbad", work.__name__, row]
            command += ["--results", str(results.root)]
            command += ["--json", json.dumps(config.values, sort_keys=True)]
            lead(command, config.devices, config.nodes)
        else:
            work(config, row, results, place)

    return phase


def data(config: Phase, results: Results) -> None:
    """Images and sketches into the packed store; test pairs; attribution."""
    prepare(config.data, config.seed, results.data)


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


def phi(config: Phase, results: Results) -> None:
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


def read_phi(results: Results) -> Phi:
    """The φ that the phi phase chose."""
    stored = read_json(results.phi / "phi.json")
    try:
        return Phi(**{key: stored[key] for key in ("name", "c", "sigma_min", "sigma_max")})
    except (KeyError, TypeError):
        raise UserError(f"{results.phi / 'phi.json'}: not a φ") from None


def _trained(
    row: str, results: Results, trained_by: list[str] | None = None
) -> tuple[TrainedMethod, dict[str, Any]]:
    """A row's method and header, from a checkpoint that is this run's own.

    Raises:
        UserError: the checkpoint is missing, damaged, or of another row, data, φ or config.
    """
    path = results.checkpoint(row)
    method, header = checkpoint.load(path)
    expected = {
        "row": trained_run(row),
        "data": sha256_file(results.data / "manifest.json"),
        "phi": read_phi(results).to_dict(),
        "config": trained_by or header.get("config"),
    }
    for key, value in expected.items():
        if header.get(key) != value:
            raise UserError(f"{path}: is of another {key} than this run's")
    return method, header


def _fit_and_save(
    method: TrainedMethod,
    header: dict[str, Any],
    config: Phase,
    row: str,
    results: Results,
    place: Place,
) -> None:
    from ssimbad.training.loop import discard_state, fit

    stage = header["stage"]
    device = device_of(config.device, place)
    if config.compile and method.backbone is not None:
        compile_in_place(method.backbone, device)
    train = Split(results.data, "train")
    section = in_steps(config.train if stage == "train" else config.refine, len(train))
    header = header | {
        "seed": config.seed,
        "size": config.data.size,
        "warp": config.data.warp.model_dump(mode="json"),
        "data": sha256_file(results.data / "manifest.json"),
        "config": [*header.get("config", []), config.digest],
        "stages": [
            *header.get("stages", []),
            {"stage": stage} | section.model_dump(mode="json"),
        ],
    }
    with joined(place, device):
        history, summary = fit(
            method,
            section,
            config.method if stage == "refine" else None,
            label=f"{stage} {row}",
            train=train,
            validation=Split(results.data, "validation"),
            warp=config.data.warp,
            redrawn=config.data.redrawn,
            seed=config.seed,
            weights=config.weights,
            device=device,
            folder=results.work(row),
            identity=header | {"code": package_digest(), "packages": packages()},
            place=place,
        )
    if place.rank:
        return
    lines = history.to_csv(index=False, lineterminator="\n", float_format="%.8g")
    write_text(results.history(row), lines)
    best = {key: summary[key] for key in ("step", section.choose_by)}
    networks = [*header.get("loss_networks", []), *summary["loss_networks"]]
    header |= {"best": best, "loss_networks": networks}
    checkpoint.save(results.checkpoint(row), method, header)
    write_json(
        results.history(row).with_suffix(".json"),
        summary
        | {
            "parameters": sum(p.numel() for p in method.parameters()),
            "checkpoint": sha256_file(results.checkpoint(row)),
            "packages": packages(),
            "code": code_version(),
            "machine": machine(device),
            "processes": place.count,
        },
    )
    discard_state(results.work(row))


@_shared
def train(config: Phase, row: str, results: Results, place: Place) -> None:
    """Pretraining of a row into its checkpoint."""
    name = method_of(row)
    chosen = read_phi(results)
    assert config.method is not None
    header = {
        "row": row,
        "method": name,
        "stage": "train",
        "section": config.method.model_dump(mode="json"),
        "unet": config.unet.model_dump(mode="json"),
        "phi": chosen.to_dict(),
    }
    method = checkpoint.build(name, config.method, config.unet, chosen, config.seed)
    _fit_and_save(method, header, config, row, results, place)


@_shared
def refine(config: Phase, row: str, results: Results, place: Place) -> None:
    """Trajectory refinement of a row, from its pretrained checkpoint into its own."""
    before = pretrained_run(row)
    source = results.checkpoint(before)
    method, header = _trained(before, results)
    assert config.method is not None
    header = {k: v for k, v in header.items() if k != "best"} | {
        "row": row,
        "stage": "refine",
        "pretrained": sha256_file(source),
        "refinement": config.method.model_dump(mode="json"),
    }
    _fit_and_save(method.train(), header, config, row, results, place)


@_shared
def infer(config: Phase, row: str, results: Results, place: Place) -> None:
    """A row's images of both settings."""
    name, stage = method_of(row), stage_of(row)
    record: dict[str, Any] = {"row": row, "method": name, "stage": stage, "config": config.values}
    if stage == "none":
        method: Method = methods()[name]()
    else:
        method, header = _trained(row, results, config.trained_by)
        record |= {"checkpoint": sha256_file(results.checkpoint(row)), "header": header}
    device = device_of(config.device, place)
    if config.compile and method.backbone is not None:
        compile_in_place(method.backbone, device)
    with joined(place, device):
        colorize_test_set(
            method,
            config.method,
            results.data,
            config.data.warp,
            config.seed,
            config.infer,
            device,
            results.images(row),
            record,
            place,
        )


def evaluate(config: Phase, row: str, results: Results) -> None:
    """A row's metrics in both settings."""
    from ssimbad.evaluation.measure import Measurer, measure_row

    partners = read_pairs(results.data)
    folder = results.images(row)
    measurer = Measurer(
        results.data,
        config.evaluate,
        config.seed,
        config.weights,
        device_of(config.device),
        results.features,
    )
    measure_row(
        measurer,
        row,
        {
            "same": (folder / "same", {name: name for name in partners}),
            "cross": (folder / "cross", partners),
        },
        data=results.data,
        record={"infer": read_json(folder / "infer.json"), "config": config.values},
        of_set=stage_of(row) != "none",
        output=results.metrics(row),
    )


def sweep(config: Phase, row: str, results: Results) -> None:
    """A row's quality against network calls."""
    from ssimbad.evaluation.records import to_csv
    from ssimbad.evaluation.sweep import sweep as measure

    method, _ = _trained(row, results, config.trained_by)
    assert config.method is not None
    split, device = Split(results.data, "test"), device_of(config.device)
    records = measure(
        method,
        config.method,
        split,
        config.data.warp,
        config.seed,
        config.sweep,
        config.weights,
        device,
        f"sweep {row}",
    )
    write_text(results.sweep / f"{row}.csv", to_csv(records, list(records[0])))


def oracle(config: Phase, row: str, results: Results) -> None:
    """A row's quality when the ground truth steers its sampling."""
    from ssimbad.evaluation.oracle import oracle as measure
    from ssimbad.evaluation.records import to_csv
    from ssimbad.methods.denoising import DenoisingMethod, SamplingConfig

    method, _ = _trained(row, results, config.trained_by)
    if not isinstance(method, DenoisingMethod):
        raise UserError(
            f"oracle: {row} is no denoiser: oracle guidance is for edm and ssimbad rows"
        )
    assert isinstance(config.method, SamplingConfig)
    split, device = Split(results.data, "test"), device_of(config.device)
    records = measure(
        method,
        config.method,
        split,
        {"same": {name: name for name in split.names}, "cross": read_pairs(results.data)},
        config.data.warp,
        config.seed,
        config.oracle,
        config.evaluate.resamples,
        config.weights,
        device,
        f"oracle {row}",
    )
    records = [{"method": row} | record for record in records]
    write_text(results.oracle / f"{row}.csv", to_csv(records, list(records[0])))


def report(config: Phase, results: Results) -> None:
    """What people read, from what the other phases wrote; beside it the merged config and all digests."""
    from ssimbad.evaluation.compare import comparisons, read_runs, table
    from ssimbad.report.compose import compose
    from ssimbad.verify import write_digests

    found = read_runs(
        {(row_of(run), seed_of(config, run)): results.metrics(run) for run in runs(config)}
    )
    resamples = config.evaluate.resamples
    compose(
        config,
        found,
        table(found, resamples, config.seed),
        comparisons(found, resamples, config.seed),
        results,
    )
    write_text(
        results.root / "config.yaml",
        yaml.safe_dump(config.values, sort_keys=False, allow_unicode=True),
    )
    write_digests(results)
