"""What a config asks of a processor: every phase's passes, each counted once and multiplied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ssimbad.config import Phase, phase_json
from ssimbad.data.source import SPLITS
from ssimbad.errors import UserError
from ssimbad.evaluation.oracle import Distance, guided_euler, ssim_distance
from ssimbad.evaluation.sweep import variants
from ssimbad.inference import SETTINGS, count_parameters
from ssimbad.methods import method_of, methods, pretrained_run, row_of, stage_of
from ssimbad.methods.base import Method, TrainedMethod
from ssimbad.methods.denoising import DenoisingMethod, SamplingConfig
from ssimbad.noise.search import PhiConfig
from ssimbad.noise.transforms import Phi, parse
from ssimbad.plan.counting import Cost, counted_by_steps, make_fake, measured
from ssimbad.plan.steps import Stepper, blank_batch
from ssimbad.pretrained.networks import Inception, lpips_network
from ssimbad.pretrained.weights import BLANK
from ssimbad.section import Section


@dataclass(frozen=True)
class Line:
    """A phase of a row, one GPU's share of it.

    Attributes:
        phase, row: which.
        parameters: of everything that is trained, or of the network that colorizes or measures.
        passes: what is run, each with how often: the optimizer step or the batch first.
        runs: how many training seeds run it.
        state: bytes that stay in memory between passes.
    """

    phase: str
    row: str
    parameters: int
    passes: tuple[tuple[Cost, float], ...]
    runs: int = 1
    state: int = 0

    @property
    def total(self) -> Cost:
        """All of its passes, one after the other."""
        whole = Cost()
        for cost, times in self.passes:
            whole = whole.then(cost.times(times * self.runs))
        return whole


def image_counts(config: Any, given: list[int]) -> dict[str, int]:
    """Images of each split.

    Args:
        config: the config.
        given: for a folder: images in all, split as the config says; or of training and of testing.

    Raises:
        UserError: the folder is not there, or not usable, and nothing is given.
    """
    data = config.data
    if data.source == "faces":
        if given:
            raise UserError("--images: data.source is faces, whose numbers the config has")
        return {split: getattr(data.faces, split) for split in SPLITS}
    if not given:
        items, faults = data.make_source(config.seed).items()
        if faults:
            hint = "(--images N plans for a folder that is not there yet)"
            raise UserError("\n".join([*faults[:-1], f"{faults[-1]} {hint}"]))
        return {split: sum(item.split == split for item in items) for split in SPLITS}
    test = given[1] if len(given) > 1 else max(1, round(data.folder.test * given[0]))
    train = given[0] if len(given) > 1 else given[0] - test
    validation = max(1, round(data.folder.validation * train))
    return {"train": train - validation, "validation": validation, "test": test}


def _any_phi(config: PhiConfig) -> Phi:
    """The configured φ; before the search, one that costs what any does."""
    choice = "sigma/(sigma+0.3)" if config.choice == "auto" else config.choice
    return Phi(*parse(choice), config.sigma_min, config.sigma_max)


def _phase(config: Any, name: str, run: str) -> Phase:
    return Phase(phase_json(config, name, run), name, run)


def make_method(config: Any, run: str) -> Method:
    """A run's method with fresh weights, fake ones under a fake mode."""
    kind = methods()[method_of(run)]
    if not issubclass(kind, TrainedMethod):
        return kind()
    training = _phase(config, "train", pretrained_run(run))
    assert training.method is not None
    return kind(training.method, config.unet, _any_phi(config.phi))


def make_stepper(config: Any, stage: str, run: str, batch: int, steps: int = 0) -> Stepper:
    """A run's stage, ready to take steps like those of its training.

    Args:
        config: the config.
        stage: ``train`` or ``refine``.
        run: the run.
        batch: images a step.
        steps: of the sampler that refinement unrolls; 0: as configured.
    """
    phase = _phase(config, stage, run)
    method = make_method(config, run)
    assert isinstance(method, TrainedMethod)
    schedule = getattr(phase, stage).model_copy(update={"batch": batch})
    part = phase.method if stage == "refine" else None
    if part is not None and steps:
        part = part.model_copy(update={"steps": steps})
    stepper = Stepper(method, schedule, part, config.data.size)
    stepper.prepare()
    return stepper


def _by_steps(part: Section | None, cost_of: Callable[[int], Cost]) -> Cost:
    """The cost of what a part of a method's section, which may have a key ``steps``, is about."""
    steps = getattr(part, "steps", 0)
    return counted_by_steps(steps, cost_of) if steps else cost_of(0)


def _training(stage: str, config: Any, run: str, counts: dict[str, int], gpus: int) -> Line:
    phase = _phase(config, stage, run)
    schedule = getattr(phase, stage)
    batch = -(-schedule.batch // gpus)

    def pass_of(what: Callable[[Stepper], None]) -> Cost:
        def cost_of(steps: int) -> Cost:
            with make_fake():
                stepper = make_stepper(config, stage, run, batch, steps)
            return measured(stepper.tensors(), partial(what, stepper))

        return _by_steps(phase.method if stage == "refine" else None, cost_of)

    step, validation = pass_of(Stepper.step), pass_of(Stepper.validate)
    with make_fake():
        stepper = make_stepper(config, stage, run, batch)
    intervals = -(-schedule.steps // schedule.checkpoint_every)
    return Line(
        stage,
        row_of(run),
        sum(p.numel() for p in stepper.method.parameters()),
        ((step, schedule.steps), (validation, intervals * counts["validation"] / batch / gpus)),
        len(config.seeds),
        sum(t.untyped_storage().nbytes() for t in stepper.tensors()),
    )


class _Colorizing:
    """A row's network with a batch of fake images, and what sampling it costs."""

    def __init__(self, config: Any, row: str, images: int) -> None:
        self.config, self.row = config, row
        with make_fake():
            self.method = make_method(config, row).eval().requires_grad_(False)
            self.batch = blank_batch(images, config.data.size)
        self.images = images

    def noise(self, draw: int) -> Tensor:
        """A draw of noise."""
        return torch.empty_like(self.batch.target)

    @torch.no_grad()
    def colorize(self, sampling: Section | None) -> Cost:
        """The cost of the batch."""
        batch, method = self.batch, self.method

        def cost_of(steps: int) -> Cost:
            part = sampling.model_copy(update={"steps": steps}) if sampling and steps else sampling
            return measured(
                list(method.state_dict().values()),
                lambda: method.colorize(batch.sketch, batch.reference, self.noise, part),
            )

        return _by_steps(sampling, cost_of)

    def guide(self, sampling: SamplingConfig, distance: Distance) -> Cost:
        """The cost of the batch under oracle guidance in one setting."""
        method, batch = self.method, self.batch
        assert isinstance(method, DenoisingMethod)
        sigmas = method.spacing.sampling_sigmas(sampling.steps, sampling.last_call).float()
        return measured(
            list(method.state_dict().values()),
            lambda: guided_euler(
                method, batch.condition(), self.noise(0), sigmas, batch.target, distance, 1.0
            ),
        )


def _inference(config: Any, row: str, counts: dict[str, int], gpus: int) -> Line:
    batch = min(config.infer.batch, counts["test"])
    colorizing = _Colorizing(config, row, batch)
    cost = colorizing.colorize(_phase(config, "infer", row).method)
    passes = len(SETTINGS) * counts["test"] / batch / gpus
    seeds = 1 if stage_of(row) == "none" else len(config.seeds)
    return Line("infer", row, count_parameters(colorizing.method), ((cost, passes),), seeds)


@torch.no_grad()
def _lpips(images: int, size: int) -> Cost:
    with make_fake():
        network, blank = lpips_network("alex", BLANK), blank_batch(images, size)
    return measured((), lambda: network(blank.target, blank.target))


@torch.no_grad()
def _inception(images: int, size: int) -> Cost:
    network = Inception(BLANK)
    with make_fake():
        blank = blank_batch(images, size)
    return measured((), lambda: network(blank.target))


def _evaluation(config: Any, row: str, counts: dict[str, int], gpus: int) -> Line:
    batch, size = min(config.evaluate.batch, counts["test"]), config.data.size
    times = len(SETTINGS) * counts["test"] / batch / gpus
    networks = [_lpips(batch, size)]
    seeds = 1
    if stage_of(row) != "none":
        networks.append(_inception(batch, size))
        seeds = len(config.seeds)
    return Line("evaluate", row, 0, tuple((cost, times) for cost in networks), seeds)


def _sweep(config: Any, row: str, counts: dict[str, int], gpus: int) -> Line:
    images = min(config.sweep.images, counts["test"])
    colorizing = _Colorizing(config, row, images)
    sampling = _phase(config, "sweep", row).method
    assert sampling is not None
    tried = [s for _, _, s in variants(sampling, config.sweep.steps)]
    passes = [(colorizing.colorize(s), 1 / gpus) for s in tried]
    passes.append((_lpips(images, config.data.size), len(tried) / gpus))
    return Line("sweep", row, count_parameters(colorizing.method), tuple(passes))


def _oracle(config: Any, row: str, counts: dict[str, int], gpus: int) -> Line:
    images = min(config.oracle.images, counts["test"])
    guiding = _Colorizing(config, row, images)
    distance: Distance = ssim_distance
    if config.oracle.guide == "lpips":
        with make_fake():
            network = lpips_network("alex", BLANK)
        distance = lambda x, y: network(x, y).flatten()  # noqa: E731
    sampling = _phase(config, "oracle", row).method
    assert isinstance(sampling, SamplingConfig)
    cost = guiding.guide(sampling, distance)
    measuring = _lpips(images, config.data.size)
    times = len(SETTINGS) / gpus
    return Line(
        "oracle",
        row,
        count_parameters(guiding.method),
        ((cost, times), (measuring, times)),
    )


def workload(config: Any, counts: dict[str, int], gpus: int) -> Iterator[Line]:
    """Every phase of every row that runs on a GPU, in the order they run.

    Args:
        config: the config.
        counts: images of each split.
        gpus: how many share the work: a training batch is split among them, the other phases'
            rows are spread over them.

    Raises:
        UserError: an extra package that a loss needs is missing.
    """
    trained = [row for row in config.rows if stage_of(row) != "none"]
    pretrained = list(dict.fromkeys(pretrained_run(row) for row in trained))
    refined = [row for row in trained if stage_of(row) == "refine"]
    phases: list[tuple[Callable[..., Line], list[str]]] = [
        (partial(_training, "train"), pretrained),
        (partial(_training, "refine"), refined),
        (_inference, config.rows),
        (_evaluation, config.rows),
        (_sweep, [row for row in config.sweep.rows if row in config.rows]),
        (_oracle, [row for row in config.oracle.rows if row in config.rows]),
    ]
    jobs = [(line, row) for line, rows in phases for row in rows]
    for line, row in tqdm(jobs, "counting", unit=" phases", leave=False):
        yield line(config, row, counts, gpus)
