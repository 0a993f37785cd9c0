"""What a config asks of a processor: every phase's passes, each counted once and multiplied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from ssimbad.counting import Cost, counted_by_steps, make_fake, measured, remember_calls
from ssimbad.evaluation.oracle import Distance, guided_euler, ssim_distance
from ssimbad.evaluation.sweep import unguided
from ssimbad.inference import SPREAD_IMAGES, SPREAD_SAMPLES, count_parameters
from ssimbad.methods import Run, model_of
from ssimbad.methods.base import Method, NetworkMethod, SampledMethod
from ssimbad.methods.denoising import DenoisingMethod
from ssimbad.methods.schema import SamplingConfig
from ssimbad.noise.transforms import Phi, parse
from ssimbad.phases import PHASES
from ssimbad.phases.slices import PhaseConfig
from ssimbad.plan.steps import Stepper, blank_batch
from ssimbad.pretrained.networks import Inception, lpips_network
from ssimbad.settings import inferred

if TYPE_CHECKING:
    from ssimbad.config.schema import Config
    from ssimbad.evaluation.schema import OracleConfig
    from ssimbad.noise.schema import PhiConfig
    from ssimbad.schema import Section
from ssimbad.pretrained.sources import BLANK


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


def _any_phi(config: PhiConfig) -> Phi:
    """The configured φ; before the search, one that costs what any does."""
    choice = "sigma/(sigma+0.3)" if config.choice == "auto" else config.choice
    return Phi(*parse(choice), config.sigma_min, config.sigma_max)


def make_method(config: Config, run: Run) -> Method:
    """A run's method with fresh weights, fake ones under a fake mode."""
    kind = model_of(run.method)
    if not issubclass(kind, NetworkMethod):
        return kind()
    training = PhaseConfig(config, "train", config.pretraining_of(run))
    return kind(training.method, training.unet, _any_phi(config.phi))


def make_stepper(config: Config, stage: str, run: Run, batch: int, steps: int = 0) -> Stepper:
    """A run's stage, ready to take steps like those of its training.

    Args:
        config: the config.
        stage: ``train`` or ``refine``.
        run: the run.
        batch: images a step.
        steps: of the sampler that refinement unrolls; 0: as configured.
    """
    phase = PhaseConfig(config, stage, run)
    method = make_method(config, run)
    assert isinstance(method, NetworkMethod)
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


def _trajectories(
    method: NetworkMethod, refinement: Section, steps: int
) -> list[tuple[Section | None, int]]:
    """The kinds of trajectories of a stage's steps, the last first, and how many there are of each."""
    assert isinstance(method, SampledMethod)
    kinds: list[tuple[Section | None, int]] = []
    for step in reversed(range(steps)):
        part = method.trajectory(refinement, step / steps)
        if kinds and (kinds[-1][0] is part or kinds[-1][0] == part):
            kinds[-1] = part, kinds[-1][1] + 1
        else:
            kinds.append((part, 1))
    return kinds


class _Colorizing:
    """A method with a batch of fake images, and what sampling it costs."""

    def __init__(self, config: Config, row: Run, images: int, calls: dict[Any, Any]) -> None:
        with make_fake():
            self.method = make_method(config, row).eval().requires_grad_(False)
            if self.method.backbone is not None:
                remember_calls(self.method.backbone, calls)
            self.batch = blank_batch(images, config.data.size)
        self.known: dict[str, Cost] = {}

    def _noise(self, draw: int) -> Tensor:
        return torch.empty_like(self.batch.target)

    def _counted(self, sampling: Section | None, work: Callable[[Any], Any], what: str) -> Cost:
        def cost_of(steps: int) -> Cost:
            part = sampling.model_copy(update={"steps": steps}) if sampling and steps else sampling
            key = what + (part.model_dump_json() if part else "")
            if key not in self.known:
                self.known[key] = measured(self.method.state_dict(), partial(work, part))
            return self.known[key]

        return _by_steps(sampling, cost_of)

    @torch.no_grad()
    def colorize(self, sampling: Section | None) -> Cost:
        """The cost of the batch; nothing of a method without a network."""
        if self.method.backbone is None:
            return Cost()
        batch = self.batch

        def work(part: Section | None) -> None:
            self.method.colorize(batch.sketch, batch.reference, self._noise, part)

        return self._counted(sampling, work, "colorize")

    def guide(self, sampling: SamplingConfig, distance: Distance, config: OracleConfig) -> Cost:
        """The cost of the batch under oracle guidance in one setting."""
        method, batch = self.method, self.batch
        assert isinstance(method, DenoisingMethod)

        def work(part: SamplingConfig) -> None:
            sigmas = method.sigmas(part).float()
            start, condition = self._noise(0), batch.condition()
            guided_euler(method, condition, start, sigmas, batch.target, distance, config)

        return self._counted(sampling, work, "guide")


@cache
@torch.no_grad()
def _lpips(images: int, size: int) -> Cost:
    with make_fake():
        network, blank = lpips_network("alex", BLANK), blank_batch(images, size)
    return measured((), lambda: network(blank.target, blank.target))


@cache
@torch.no_grad()
def _inception(images: int, size: int) -> Cost:
    network = Inception(BLANK)  # folding normalisations into fake weights corrupts torch's heap
    with make_fake():
        blank = blank_batch(images, size)
    return measured((), lambda: network(blank.target))


class Workload:
    """Every phase of every row that runs networks.

    Args:
        config: the config.
        counts: images of each split.
        gpus: how many share the work: a training batch is split among them, the other phases' rows
            are spread over them.
    """

    def __init__(self, config: Config, counts: dict[str, int], gpus: int) -> None:
        self.config, self.counts, self.gpus = config, counts, gpus
        for run in config.runs:
            model_of(run.method)  # some compute as they are imported, which fake tensors cannot
        self._colorizing = cache(self._make_colorizing)
        self._calls: dict[Run, dict[Any, Any]] = {}

    def lines(self) -> Iterator[Line]:
        """A line for each, in the order they run.

        Raises:
            UserError: an extra package that a loss needs is missing.
        """
        lines: dict[str, Callable[[Run], Line]] = {
            "train": partial(self._training, "train"),
            "refine": partial(self._training, "refine"),
            "infer": self._inference,
            "evaluate": self._evaluation,
            "sweep": self._sweep,
            "oracle": self._oracle,
        }
        jobs = [
            (lines[name], run)
            for name in lines
            for run in PHASES[name].runs(self.config)
            if run.seed is None
        ]
        for line, row in tqdm(jobs, "counting", unit=" phases", leave=False):
            yield line(row)

    def _runs(self, row: Run) -> int:
        return 1 if row.stage == "none" else len(self.config.seeds)

    def _network_of(self, row: Run) -> Run:
        """The run whose network a row colorizes with, of that structure; a row without networks itself."""
        return row if row.stage == "none" else self.config.pretraining_of(row)

    def _make_colorizing(self, network: Run, images: int) -> _Colorizing:
        return _Colorizing(self.config, network, images, self._calls.setdefault(network, {}))

    def _training(self, stage: str, row: Run) -> Line:
        phase = PhaseConfig(self.config, stage, row)
        schedule = phase.schedule(self.counts["train"])
        batch = -(-schedule.batch // self.gpus)

        @cache
        def stepper(steps: int) -> Stepper:
            with make_fake():
                return make_stepper(self.config, stage, row, batch, steps)

        def cost(work: Callable[[Stepper], None], part: Section | None) -> Cost:
            return _by_steps(
                part,
                lambda steps: measured(stepper(steps).tensors(), partial(work, stepper(steps))),
            )

        whole = phase.method if stage == "refine" else None
        kinds: list[tuple[Section | None, int]] = [(whole, schedule.steps)]
        if whole is not None:
            kinds = _trajectories(stepper(0).method, whole, schedule.steps)
        passes = [(cost(Stepper.step, part), times) for part, times in kinds]
        validation = cost(Stepper.validate, whole)
        tensors = stepper(0).tensors()
        intervals = -(-schedule.steps // schedule.checkpoint_every)
        validations = intervals * self.counts["validation"] / batch / self.gpus
        return Line(
            stage,
            row,
            sum(p.numel() for p in stepper(0).method.parameters()),
            (*passes, (validation, validations)),
            self._runs(row),
            sum(t.untyped_storage().nbytes() for t in tensors),
        )

    def _inference(self, row: Run) -> Line:
        test = self.counts["test"]
        batch = min(self.config.infer.batch, test)
        colorizing = self._colorizing(self._network_of(row), batch)
        sampling = PhaseConfig(self.config, "infer", row).method
        if row in self.config.chosen_rows:  # not known yet: with the most steps that are tried
            assert sampling is not None
            sampling = unguided(sampling, self.config.sweep)[-1][0]
        cost = colorizing.colorize(sampling)
        images = len(inferred()) * test + SPREAD_IMAGES * SPREAD_SAMPLES
        passes = images / batch / self.gpus
        parameters = count_parameters(colorizing.method)
        return Line("infer", row, parameters, ((cost, passes),), self._runs(row))

    def _evaluation(self, row: Run) -> Line:
        test = self.counts["test"]
        batch, size = min(self.config.evaluate.batch, test), self.config.data.size
        batches = test / batch / self.gpus
        passes = [(_lpips(batch, size), len(self.config.settings) * batches)]
        if row.method != "reference":  # features of the truth are computed once for all rows
            passes.append((_inception(batch, size), len(inferred()) * batches))
        return Line("evaluate", row, 0, tuple(passes), self._runs(row))

    def _sweep(self, row: Run) -> Line:
        swept = self.config.sweep
        images = min(swept.images, self.counts["validation"])
        batch = min(self.config.infer.batch, images)
        colorizing = self._colorizing(self._network_of(row), batch)
        sampling = PhaseConfig(self.config, "sweep", row).method
        assert sampling is not None
        # All calls that the search may take, each with the measuring of what it leads to, at most.
        call = unguided(sampling, swept)[0][0].model_copy(update={"steps": 1})
        costs = colorizing.colorize(call), _lpips(batch, self.config.data.size)
        times = 2 * swept.calls * images / batch / self.gpus
        passes = tuple((cost, times) for cost in costs)
        return Line("sweep", row, count_parameters(colorizing.method), passes)

    def _oracle(self, row: Run) -> Line:
        config = self.config
        images = min(config.oracle.images, self.counts["test"])
        guiding = self._colorizing(self._network_of(row), images)
        distance: Distance = ssim_distance
        if config.oracle.guide == "lpips":
            with make_fake():
                network = lpips_network("alex", BLANK)
            distance = lambda x, y: network(x, y).flatten()  # noqa: E731
        sampling = PhaseConfig(config, "oracle", row).method
        assert isinstance(sampling, SamplingConfig)
        guided = guiding.guide(sampling, distance, config.oracle)
        costs = guided, _lpips(images, config.data.size)
        passes = tuple((cost, len(inferred()) / self.gpus) for cost in costs)
        return Line("oracle", row, count_parameters(guiding.method), passes)
