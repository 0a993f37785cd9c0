"""What of the config each phase reads: all that it is tracked by, and all that it is given."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from ssimbad.config.schema import Config, parts_of
from ssimbad.evaluation.schema import SearchConfig
from ssimbad.methods import Run, methods
from ssimbad.phases import PHASES, Phase
from ssimbad.schema import Section
from ssimbad.training.passes import Stages
from ssimbad.training.schema import UNITS, RefineConfig, Schedule, StageConfig, in_steps

if TYPE_CHECKING:
    from ssimbad.data.schema import DataConfig
    from ssimbad.evaluation.schema import EvaluateConfig, InferConfig, OracleConfig
    from ssimbad.networks.schema import UNetConfig
    from ssimbad.noise.schema import PhiConfig


def digest(text: str) -> str:
    """SHA-256 of a phase's part of the config, as checkpoints and the phases that use them note it."""
    return hashlib.sha256(text.encode()).hexdigest()


def _part_of(phase: Phase, run: Run) -> str | None:
    """The part of the method's section that a phase reads; None: none, or for training all but the parts."""
    if phase.name == "refine":
        return "refinement" if run.on_images else None
    return run.declared.part if phase.checkpoint else None


def _method_values(config: Config, phase: Phase, run: Run) -> dict[str, Any] | None:
    section = config.section(run.method)
    values = {} if section is None else section.model_dump(mode="json")
    if phase.name == "train":
        return {k: v for k, v in values.items() if k not in parts_of(methods()[run.method])}
    return values.get(_part_of(phase, run) or "")


def _schedule(values: dict[str, Any], stage: str, run: Run) -> dict[str, Any]:
    """How a training stage is optimised: what goes on with pretraining is as pretraining is."""
    if stage == "refine" and run.on_images:
        schedule = values["refine"]
    else:
        own = methods()[run.method].own_recipe
        schedule = values[run.method]["recipe"] if own else values["train"]
        losses = RefineConfig.model_fields.keys() - StageConfig.model_fields.keys()
        schedule = schedule | {key: values["refine"][key] for key in losses if run.on_images}
    factor = values.get("lr_factors", {}).get(run.base, 1.0)
    rates = schedule.keys() & {"lr", "muon_lr"}
    return schedule | {key: factor * schedule[key] for key in rates}


def _schedule_kind(run: Run) -> type[Schedule]:
    if run.on_images:
        return RefineConfig
    return Schedule if methods()[run.method].own_recipe else StageConfig


def _stages(values: dict[str, Any], run: Run) -> dict[str, Any]:
    """How long both stages of a refined run are, of which another training takes as many network passes."""
    stages = {"train": run.pretrained, "refine": run}
    lengths = {
        stage: {key: _schedule(values, stage, of)[key] for key in ("batch", *UNITS)}
        for stage, of in stages.items()
    }
    return lengths | {"refinement": values[run.method]["refinement"]}


def _trained_by(config: Config, run: Run) -> list[str]:
    """Digests of what each training stage of a run reads of the config."""
    stages = [] if run.stage == "none" else [("train", run.pretrained)]
    stages += [("refine", run.trained)] if run.stage == "refine" else []
    return [digest(phase_json(config, *stage)) for stage in stages]


def _sampled_by(config: Config, run: Run) -> str | None:
    """Digest of what the sweep that chooses a run's sampling reads; None: its section says how to sample."""
    swept = Run(run.row)
    return digest(phase_json(config, "sweep", swept)) if swept in config.chosen_rows else None


def phase_json(config: Config, name: str, run: Run | None = None) -> str:
    """All that a phase (of a run) reads of the config, under the run's variant, as canonical JSON."""
    config = config if run is None else config.under(run.variant)
    phase, values = PHASES[name], config.model_dump(mode="json")
    if phase.keys is None:
        return json.dumps(values, sort_keys=True)
    chosen = {key: values[key] for key in phase.keys}
    if run is not None:
        chosen["method"] = _method_values(config, phase, run)
        if name in ("train", "refine"):
            chosen["seed"] = config.seed_of(run)
            chosen[name] = _schedule(values, name, run)
            if run.passes_of:
                chosen["passes_of"] = _stages(values, run.passes_of)
        if name == "sweep":  # which other rows are swept is no row's business
            del chosen["sweep"]["rows"]
        if phase.checkpoint:
            chosen["trained_by"] = _trained_by(config, run)
        if name == "infer":
            chosen["sampled_by"] = _sampled_by(config, run)
    return json.dumps(chosen, sort_keys=True)


class PhaseConfig:
    """What one phase may read of the config, and nothing else: other attributes are not set.

    The workflow tracks :func:`phase_json`, so a phase cannot depend on a key whose change would go unnoticed.

    Attributes:
        phase: its name.
        run: what the phase is run for; None where it is not of a row.
        values: :func:`phase_json`, as values.
        digest: of that.
        trained_by: where a checkpoint is used, the digests that its training stages must have had.
        sampled_by: of ``infer``: where the sweep chooses how to sample, the digest that it must have had.
        method: what the phase reads of the section of the run's method: the section for ``train``, its part
            ``refinement``, or the one that says how to sample.
        passes_of: the stages of as many network passes as which a training is; None: as its schedule says.
        trained: the run whose checkpoint the run's images come from; of runs with networks.
        pretrained: the run whose checkpoint that training starts from, or whose it is.
        whole: the config, of the report, which reads all of it.
    """

    phase: str
    values: dict[str, Any]
    digest: str
    trained_by: list[str]
    sampled_by: str | None
    method: Section | None
    passes_of: Stages | None
    trained: Run
    pretrained: Run
    whole: Config

    seed: int
    device: str
    compile: bool
    devices: int
    nodes: int
    weights: str
    data: DataConfig
    phi: PhiConfig
    unet: UNetConfig
    train: Schedule
    refine: Schedule
    infer: InferConfig
    evaluate: EvaluateConfig
    sweep: SearchConfig
    oracle: OracleConfig

    def __init__(self, config: Config, name: str, run: Run | None = None) -> None:
        phase, text = PHASES[name], phase_json(config, name, run)
        self.phase, self.run = name, run
        self.values, self.digest = json.loads(text), digest(text)
        if phase.keys is None:
            self.whole = config
            return
        kinds = {key: field.annotation for key, field in Config.model_fields.items()}
        kinds["sweep"] = SearchConfig
        if run is not None:
            declared = methods()[run.method]
            if run.stage != "none":
                self.trained, self.pretrained = config.training_of(run), config.pretraining_of(run)
            if name in ("train", "refine"):
                kinds[name] = _schedule_kind(run)
            stage = {"train": declared.section, "refine": declared.refinement}
            self.method = _typed(stage.get(name, declared.sampling), self.values["method"])
        if phase.checkpoint:
            self.trained_by = self.values["trained_by"]
        if name == "infer":
            self.sampled_by = self.values["sampled_by"]
        # From values, as tracked: the order of keys in a config file changes nothing.
        for key in phase.keys:
            setattr(self, key, _typed(kinds[key], self.values[key]))
        if run is not None and name in ("train", "refine"):
            self.passes_of = self._stages(run.passes_of)

    def _stages(self, run: Run | None) -> Stages | None:
        if run is None:
            return None
        given, own = self.values["passes_of"], getattr(self, self.phase)
        train, refine = (own.model_copy(update=given[stage]) for stage in ("train", "refine"))
        refinement = methods()[run.method].refinement
        assert refinement is not None
        return Stages(train, refine, refinement.model_validate(given["refinement"]))

    def schedule(self, images: int) -> Schedule:
        """How a training phase is optimised, counted in steps.

        Args:
            images: number of training images.
        """
        assert self.run is not None
        schedule = in_steps(getattr(self, self.phase), images)
        if self.passes_of is None:
            return schedule
        return self.passes_of.matched(schedule, images, pretrained=self.phase == "refine")


def _typed(kind: Any, value: Any) -> Any:
    is_section = isinstance(kind, type) and issubclass(kind, Section)
    return kind.model_validate(value) if is_section and value is not None else value
