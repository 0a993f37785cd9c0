"""The sweep phase: one row's quality against network calls per image, for every sampler it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import torch
from tqdm import tqdm

from ssimbad.data.store import Split, to_pixels
from ssimbad.evaluation.metrics import SWEPT
from ssimbad.evaluation.pairs import Networks, Pairs
from ssimbad.inference import counted_calls, own_noise, test_inputs

if TYPE_CHECKING:
    from ssimbad.data.schema import WarpConfig
    from ssimbad.evaluation.schema import SweepConfig
    from ssimbad.methods.base import Method
    from ssimbad.schema import Section


def variants(sampling: Section, steps: list[int]) -> list[tuple[str, int, Section]]:
    """What is tried: every sampler the method has with each number of steps, as its sampling config."""
    field = type(sampling).model_fields.get("sampler")
    samplers = get_args(field.annotation) if field else ("ddim",)
    return [
        (
            sampler,
            count,
            sampling.model_copy(update={"steps": count} | ({"sampler": sampler} if field else {})),
        )
        for sampler in samplers
        for count in steps
    ]


@torch.inference_mode()
def sweep(
    method: Method,
    sampling: Section,
    split: Split,
    warp: WarpConfig,
    seed: int,
    config: SweepConfig,
    weights: str,
    device: torch.device,
    label: str,
) -> list[dict[str, Any]]:
    """Means of :data:`~ssimbad.evaluation.metrics.SWEPT` in the same-reference setting: a record for each
    sampler and step count.

    Args:
        method: the trained method.
        sampling: its configured sampling, whose ``steps`` and ``sampler`` are varied.
        split: the test set.
        warp, seed: as everywhere in the run.
        config: what to try.
        weights: where the metrics' weights may come from.
        device: where to run.
        label: what the progress bar says.

    Raises:
        UserError: weights cannot be had.
    """
    names = split.names[: config.images]
    method = method.to(device).eval()
    networks = Networks(weights, device)
    sketch, reference = (t.to(device) for t in test_inputs(split, warp, seed, names, names))
    truth = split.image_pixels([split.index[n] for n in names]).float() / 255
    noise = own_noise(seed, names, split.size, device)
    records = []
    for sampler, steps, tried in tqdm(
        variants(sampling, config.steps), desc=label, unit=" samplings"
    ):
        with counted_calls(method) as calls:
            images = method.colorize(sketch, reference, noise, tried)
        # What a viewer gets: 8 bits a channel.
        images = to_pixels(images.float()).cpu().float() / 255
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
