"""The infer phase: one row's images of both settings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ssimbad.data.store import Split, read_pairs, to_pixels, to_unit
from ssimbad.data.warp import EVALUATION, draw_controls, warp
from ssimbad.distributed import SINGLE, World, all_gather, broadcast
from ssimbad.files import whole_folder, write_json
from ssimbad.provenance import machine
from ssimbad.rng import image_noise

if TYPE_CHECKING:
    from ssimbad.data.schema import WarpConfig
    from ssimbad.evaluation.schema import InferConfig
    from ssimbad.methods.base import Method, Noise
    from ssimbad.schema import Section

SETTINGS = ("same", "cross")
"""The reference is the warped truth; or another identity's warped image."""


def test_inputs(
    split: Split, warp_config: WarpConfig, seed: int, names: list[str], partners: list[str]
) -> tuple[Tensor, Tensor]:
    """Sketches of ``names`` and warped references of ``partners``, in [-1, 1]."""
    sketches = to_unit(split.sketch_pixels([split.index[name] for name in names]))
    pixels = split.image_pixels([split.index[name] for name in partners])
    controls = draw_controls(warp_config, seed, [(name, EVALUATION) for name in partners])
    references, _ = warp(pixels, controls, pixels.device)
    return sketches, references


def own_noise(seed: int, names: list[str], size: int, device: torch.device) -> Noise:
    """The noise of the named images."""
    return lambda draw: image_noise(seed, names, size, draw).to(device)


def count_parameters(method: Method) -> int:
    """Parameters of the network that colorizes."""
    return sum(p.numel() for p in method.backbone.parameters()) if method.backbone else 0


@contextmanager
def counted_calls(method: Method) -> Iterator[list[int]]:
    """A list that grows by the number of images of each call of the method's network."""
    calls: list[int] = []
    if method.backbone is None:
        yield calls
        return
    hook = method.backbone.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    try:
        yield calls
    finally:
        hook.remove()


@contextmanager
def _common(folder: Path, world: World) -> Iterator[Path]:
    """As :func:`whole_folder`, one for all processes, whole once each has done its part."""
    with ExitStack() as stack:
        part = folder
        if world.rank == 0:
            part = stack.enter_context(whole_folder(folder))
        yield broadcast(world, part)
        all_gather(world, None)


@torch.inference_mode()
def colorize_set(
    method: Method,
    sampling: Section | None,
    split: Split,
    partners: dict[str, str],
    warp_config: WarpConfig,
    seed: int,
    batch: int,
    device: torch.device,
    folder: Path,
    label: str,
    world: World = SINGLE,
) -> None:
    """Write ``folder/<name>.png`` for every name in ``partners``, all of them or none."""
    names = list(partners)
    own = world.share(len(names))
    quiet = world.rank > 0
    with (
        _common(folder, world) as part,
        tqdm(total=len(own), desc=label, unit=" images", disable=quiet) as bar,
    ):
        for start in range(own.start, own.stop, batch):
            chosen = names[start : min(start + batch, own.stop)]
            sketch, reference = test_inputs(
                split, warp_config, seed, chosen, [partners[name] for name in chosen]
            )
            noise = own_noise(seed, chosen, split.size, device)
            images = method.colorize(sketch.to(device), reference.to(device), noise, sampling)
            pixels = to_pixels(images.float()).permute(0, 2, 3, 1).cpu().numpy()
            for name, image in zip(chosen, pixels, strict=True):
                Image.fromarray(image).save(part / f"{name}.png")
            bar.update(len(chosen))


def infer(
    method: Method,
    sampling: Section | None,
    data: Path,
    warp_config: WarpConfig,
    seed: int,
    config: InferConfig,
    device: torch.device,
    folder: Path,
    record: dict[str, Any],
    world: World = SINGLE,
) -> None:
    """Colorize the test set in both settings into ``folder/<setting>`` and write ``folder/infer.json``."""
    split = Split(data, "test")
    partners = {"same": {name: name for name in split.names}, "cross": read_pairs(data)}
    method = method.to(device).eval()
    start = time.monotonic()
    with counted_calls(method) as calls:
        for setting in SETTINGS:
            colorize_set(
                method,
                sampling,
                split,
                partners[setting],
                warp_config,
                seed,
                config.batch,
                device,
                folder / setting,
                f"infer {folder.name} {setting}",
                world,
            )
    counts = all_gather(world, sum(calls))
    if world.rank:
        return
    record = record | {
        "seconds": round(time.monotonic() - start, 2),
        "network_calls": sum(counts) / (len(SETTINGS) * len(split)),
        "parameters": count_parameters(method),
        "machine": machine(device),
        "processes": world.size,
    }
    write_json(folder / "infer.json", record)
