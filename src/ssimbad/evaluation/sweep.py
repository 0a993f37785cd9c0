"""How a row is best sampled: a search over the keys of its sampling section, measured on validation images.

It is a coordinate search. Every sampler is tried with every number of steps, unguided; then each other key in
turn, at the best found so far.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from ssimbad.diffusion.samplers import SAMPLERS
from ssimbad.evaluation.metrics import METRICS, SWEPT
from ssimbad.evaluation.pairs import Networks, Pairs
from ssimbad.inference import colorized, counted_calls
from ssimbad.settings import exact, images_of

if TYPE_CHECKING:
    from ssimbad.data.image_set import ImageSet
    from ssimbad.evaluation.schema import SearchConfig
    from ssimbad.methods.base import Method
    from ssimbad.schema import Section

BEST = 2
"""Ways of sampling at which each further key is varied."""
PATIENCE = 2
"""A sampler is given up after so many numbers of steps in a row that are no better than its best."""

Measured = dict[str, dict[str, float]]
"""By setting and metric, a mean over images."""


@dataclass(frozen=True)
class Trial:
    """A way of sampling, measured.

    Attributes:
        sampling: the way.
        varied: the key whose turn it was: ``steps`` at first.
        calls: of the network, an image.
        measured: what came out.
    """

    sampling: Section
    varied: str
    calls: float
    measured: Measured

    def value(self, metric: str) -> float:
        """Mean over settings."""
        values = [metrics[metric] for metrics in self.measured.values()]
        return sum(values) / len(values)


def choose(trials: list[Trial], metric: str, tolerance: float) -> Trial:
    """The trial of fewest network calls among those that a metric finds best or nearly so.

    Args:
        trials: at least one.
        metric: whose mean over settings decides.
        tolerance: nearly is within this part of the best value.
    """
    sign = METRICS[metric].better
    best = max(sign * trial.value(metric) for trial in trials)
    near = [t for t in trials if best - sign * t.value(metric) <= tolerance * abs(best)]
    return min(near, key=lambda t: (t.calls, -sign * t.value(metric)))


def unguided(sampling: Section, config: SearchConfig) -> list[list[Section]]:
    """What is tried first: for every number of steps, rising, every sampler the section can name."""
    fields = type(sampling).model_fields
    plain = {"guidance": 1.0} if "guidance" in fields else {}
    samplers = [{"sampler": name} for name in SAMPLERS] if "sampler" in fields else [{}]
    return [
        [sampling.model_copy(update=plain | sampler | {"steps": count}) for sampler in samplers]
        for count in sorted({*config.steps, config.common_calls})
    ]


def _bases(trials: list[Trial], metric: str, tolerance: float) -> list[Trial]:
    """The best trials but for ways that come to the same, as all samplers do at a single step."""
    rest = list(trials)
    bases: list[Trial] = []
    while rest and len(bases) < BEST:
        best = choose(rest, metric, tolerance)
        bases.append(best)
        rest = [
            trial
            for trial in rest
            if trial.calls != best.calls
            or not math.isclose(trial.value(metric), best.value(metric), rel_tol=1e-4)
        ]
    return bases


def search(
    measure: Callable[[Section], tuple[float, Measured]], sampling: Section, config: SearchConfig
) -> list[Trial]:
    """Try ways of sampling until the budget of calls is used up, or the search at its end.

    Args:
        measure: gives a way's network calls an image, and what comes out.
        sampling: the section that is varied; keys that have no turn keep its values.
        config: what to try.

    Returns:
        All trials, in the order in which they were made.
    """
    metric = config.objective
    sign = METRICS[metric].better
    trials: list[Trial] = []

    def spent() -> float:
        return sum(trial.calls for trial in trials)

    def attempt(tried: Section, varied: str) -> Trial:
        calls, measured = measure(tried)
        trials.append(Trial(tried, varied, calls, measured))
        return trials[-1]

    best: dict[str, float] = {}
    in_vain: dict[str, int] = {}
    for ways in unguided(sampling, config):
        for tried in ways:
            sampler, steps = getattr(tried, "sampler", ""), getattr(tried, "steps", 0)
            given_up = in_vain.get(sampler, 0) >= PATIENCE or spent() >= config.calls / 2
            if given_up and steps != config.common_calls:
                continue
            value = sign * attempt(tried, "steps").value(metric)
            before = best.get(sampler, -float("inf"))
            gains = sampler not in best or value - before > config.tolerance * abs(before)
            best[sampler] = max(value, before)
            in_vain[sampler] = 0 if gains else in_vain[sampler] + 1
    for key in sorted(config.vary.keys() & type(sampling).model_fields.keys()):
        for base in _bases(trials, metric, config.tolerance):
            for given in config.vary[key]:
                tried = base.sampling.model_copy(update={key: given})
                if spent() < config.calls and tried not in [t.sampling for t in trials]:
                    attempt(tried, key)
    return trials


def swept_settings(image_set: ImageSet) -> list[str]:
    """The settings that ways of sampling are measured in, each against the best truth there is."""
    settings = list(image_set.partners)
    return [exact(setting, settings) for setting in settings if images_of(setting) == setting]


@torch.inference_mode()
def sweep(
    method: Method,
    sampling: Section,
    image_set: ImageSet,
    config: SearchConfig,
    batch: int,
    networks: Networks,
    label: str,
) -> list[Trial]:
    """Search the ways of sampling a method, by :data:`~ssimbad.evaluation.metrics.SWEPT`.

    Args:
        method: the trained method.
        sampling: its configured sampling.
        image_set: the validation images, of which the first are colorized.
        config: what to try.
        batch: images at once.
        networks: the metrics', on the device where the method is to run.
        label: what the progress bar says.

    Raises:
        UserError: weights cannot be had.
    """
    names, device = image_set.names[: config.images], networks.device
    method = method.to(device).eval()
    settings = swept_settings(image_set)
    parts = [names[start : start + batch] for start in range(0, len(names), batch)]
    bar = tqdm(desc=label, unit=" samplings")

    def measure(tried: Section) -> tuple[float, Measured]:
        measured: Measured = {}
        with counted_calls(method) as calls:
            for setting in settings:
                found: dict[str, list[torch.Tensor]] = {}
                for part in parts:
                    images = colorized(method, tried, image_set, setting, device, part)
                    # MS-SSIM on a processor takes longer than a GPU's sampling.
                    shown, truth = (
                        pixels.to(device).float() / 255
                        for pixels in (images, image_set.truth(part, setting))
                    )
                    pairs = Pairs(shown, truth, truth, networks)
                    for metric, values in pairs.measured(list(SWEPT)).items():
                        found.setdefault(metric, []).append(values.cpu())
                measured[setting] = {m: torch.cat(v).mean().item() for m, v in found.items()}
        bar.update()
        return sum(calls) / (len(settings) * len(names)), measured

    with bar:
        return search(measure, sampling, config)


def records_of(trials: list[Trial], chosen: Trial, images: int) -> list[dict[str, Any]]:
    """A record for each trial and setting: what was varied, the sampling, calls, metrics.

    Args:
        trials: the search's.
        chosen: one of them.
        images: how many each was measured on.
    """
    return [
        {
            "setting": setting,
            "varied": trial.varied,
            "sampler": "ddim",
            **trial.sampling.model_dump(mode="json"),
            "network_calls": trial.calls,
            **metrics,
            "n": images,
            "chosen": int(trial is chosen),
        }
        for trial in trials
        for setting, metrics in trial.measured.items()
    ]
