"""How a method's images of the test set are made, and what its network does for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from tqdm import tqdm

from ssimbad.counting import make_fake, measured, remember_calls
from ssimbad.data.store import to_pixels
from ssimbad.distributed import World, all_gather, broadcast
from ssimbad.files import whole_folder
from ssimbad.machine import processors

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    from ssimbad.data.image_set import ImageSet
    from ssimbad.methods.base import Method
    from ssimbad.schema import Section


def count_parameters(method: Method) -> int:
    """Parameters of the network that colorizes."""
    return sum(p.numel() for p in method.backbone.parameters()) if method.backbone else 0


@torch.no_grad()
def flops_per_image(method: Method, sampling: Section | None, size: int) -> int:
    """Floating-point operations of a method's network for one image: of its convolutions, matrix products and
    attention, a multiplication and an addition being two.

    Args:
        method: on the CPU, not compiled.
        sampling: how the image is sampled.
        size: its side, pixels.
    """
    if method.backbone is None:
        return 0
    counted = deepcopy(method)
    assert counted.backbone is not None
    remember_calls(counted.backbone, {})
    with make_fake():
        sketch, reference, noise = (torch.empty(1, c, size, size) for c in (1, 3, 3))
    return measured(
        (), lambda: counted.colorize(sketch, reference, lambda draw: noise.clone(), sampling)
    ).total


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


@torch.inference_mode()
def colorized(
    method: Method,
    sampling: Section | None,
    test_set: ImageSet,
    setting: str,
    device: torch.device,
    names: list[str],
    sample: int = 0,
) -> Tensor:
    """The named images as a method colorizes them on a device, as viewers get them: (B, 3, S, S) uint8, on
    the CPU. Another ``sample`` starts from other noise."""
    sketch, reference = (given.to(device) for given in test_set.inputs(names, setting))
    images = method.colorize(sketch, reference, test_set.noise(names, device, sample), sampling)
    return to_pixels(images.float()).cpu()


SPREAD_IMAGES, SPREAD_SAMPLES = 8, 4
"""Of how many images, and from how many noises, :func:`noise_spread` is taken."""


def noise_spread(
    samples_of: Callable[[list[str], int], Tensor], names: list[str], batch: int
) -> dict[str, Any]:
    """How much a method's images depend on the noise they start from, in levels of 255.

    The standard deviation of each pixel and channel over a few noises, averaged over the first images. Of a
    method that regresses it is 0.

    Args:
        samples_of: makes the named images from the noise of a number: (B, 3, S, S) uint8.
        names: of all images.
        batch: how many to make at once.

    Returns:
        The spread, and of how many images and samples.
    """
    shown = names[:SPREAD_IMAGES]
    samples = [
        torch.cat([samples_of(shown[k : k + batch], n) for k in range(0, len(shown), batch)])
        for n in range(SPREAD_SAMPLES)
    ]
    spread = torch.stack(samples).double().std(0).mean().item()
    return {"levels": spread, "images": len(shown), "samples": len(samples)}


@contextmanager
def _common(folder: Path, world: World) -> Iterator[Path]:
    """As :func:`whole_folder`, one for all processes, whole once each has done its part."""
    with ExitStack() as stack:
        part = folder
        if world.rank == 0:
            part = stack.enter_context(whole_folder(folder))
        yield broadcast(world, part)
        all_gather(world, None)


def write_images(
    images_of: Callable[[list[str]], Tensor],
    names: list[str],
    batch: int,
    folder: Path,
    label: str,
    world: World,
) -> None:
    """Write ``folder/<name>.png`` for every name, all of them or none; each process makes its share.

    Args:
        images_of: makes the named images: (B, 3, S, S) uint8.
        names: of all images.
        batch: how many to make at once.
        folder: where, replaced as a whole.
        label: what the progress bar says.
        world: this process among those that share the images.
    """
    own = world.share(len(names))
    quiet = world.rank > 0
    with (
        _common(folder, world) as part,
        tqdm(total=len(own), desc=label, unit=" images", disable=quiet) as bar,
        ThreadPoolExecutor(processors()) as pool,
    ):

        def save(name: str, image: np.ndarray) -> None:
            Image.fromarray(image).save(part / f"{name}.png")

        for start in range(own.start, own.stop, batch):
            chosen = names[start : min(start + batch, own.stop)]
            images = images_of(chosen).permute(0, 2, 3, 1).numpy()
            list(pool.map(save, chosen, images))  # asked for, so that a fault is raised
            bar.update(len(chosen))
