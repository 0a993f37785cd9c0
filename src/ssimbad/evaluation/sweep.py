"""One row's quality against network calls per image, for every sampler it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from ssimbad.diffusion.samplers import SAMPLERS
from ssimbad.evaluation.metrics import SWEPT
from ssimbad.evaluation.pairs import Networks, Pairs
from ssimbad.inference import colorized, counted_calls

if TYPE_CHECKING:
    from ssimbad.data.image_set import ImageSet
    from ssimbad.evaluation.schema import SweepConfig
    from ssimbad.methods.base import Method
    from ssimbad.schema import Section


def variants(sampling: Section, steps: list[int]) -> list[tuple[str, int, Section]]:
    """What is tried: every sampler the method has with each number of steps, as its sampling config."""
    if "sampler" not in type(sampling).model_fields:
        return [("ddim", count, sampling.model_copy(update={"steps": count})) for count in steps]
    return [
        (sampler, count, sampling.model_copy(update={"steps": count, "sampler": sampler}))
        for sampler in SAMPLERS
        for count in steps
    ]


@torch.inference_mode()
def sweep(
    method: Method,
    sampling: Section,
    test_set: ImageSet,
    config: SweepConfig,
    networks: Networks,
    label: str,
) -> list[dict[str, Any]]:
    """Means of :data:`~ssimbad.evaluation.metrics.SWEPT` in the same-reference setting: a record for each
    sampler and step count.

    Args:
        method: the trained method.
        sampling: its configured sampling, whose ``steps`` and ``sampler`` are varied.
        test_set: whose first images are colorized.
        config: what to try.
        networks: the metrics', on the device where the method is to run.
        label: what the progress bar says.

    Raises:
        UserError: weights cannot be had.
    """
    names, device = test_set.names[: config.images], networks.device
    method = method.to(device).eval()
    truth = test_set.truth(names, "same").float() / 255
    records = []
    for sampler, steps, tried in tqdm(
        variants(sampling, config.steps), desc=label, unit=" samplings"
    ):
        with counted_calls(method) as calls:
            images = colorized(method, tried, test_set, "same", device, names).float() / 255
        measured = Pairs(images, truth, truth, networks).measured(list(SWEPT))
        records.append(
            {
                "sampler": sampler,
                "steps": steps,
                "network_calls": sum(calls) / len(names),
                **{metric: values.mean().item() for metric, values in measured.items()},
                "n": len(names),
            }
        )
    return records
