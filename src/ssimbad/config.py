"""The config: composed from the sections' schemas, validated before any work. Nothing else reads it."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from ssimbad import devices
from ssimbad.data.prepare import DataConfig
from ssimbad.errors import UserError, shown
from ssimbad.evaluation.settings import EvaluateConfig, OracleConfig, SweepConfig
from ssimbad.inference import InferConfig
from ssimbad.layout import overlap
from ssimbad.methods import (
    method_of,
    methods,
    pretrained_run,
    row_of,
    rows,
    stage_of,
    trained_run,
)
from ssimbad.methods.base import Method
from ssimbad.methods.denoising import DenoisingMethod
from ssimbad.networks.unet import UNetConfig
from ssimbad.noise.search import PhiConfig
from ssimbad.section import Section
from ssimbad.training.settings import RefineConfig, Schedule, StageConfig

BASE = Path("config.yaml")
"""The default config; other files are overlays on it."""
_EXTENDS = (
    "extends"  # key of an overlay: the file, seen from its own folder, that it is an overlay on
)


class _Base(Section):
    results: str = Field(min_length=1, description="folder of everything the run leaves")
    seed: int = Field(ge=0, description="seed of all randomness but training's")
    seeds: list[int] = Field(
        min_length=1, description="training seeds; every trained row is trained with each"
    )
    device: str = Field(pattern=devices.NAMES, description="auto: a GPU where there is one")
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
    rows: list[str] = Field(min_length=1, description="rows of the table, in its order")
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

    @field_validator("rows")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        for row in value:
            if row not in rows():
                raise ValueError(f"no row {row!r}: rows are {', '.join(rows())}")
            if value.count(row) > 1:
                raise ValueError(f"row {row!r} stands twice")
        return value


def rows_for(phase: str) -> list[str]:
    """The rows a phase can be run for."""

    def suits(row: str, method: type[Method], stage: str) -> bool:
        if phase in ("train", "refine"):
            return stage == phase and row not in method.resampled
        if phase == "sweep":
            return method.sampling is not None and "steps" in method.sampling.model_fields
        return phase != "oracle" or issubclass(method, DenoisingMethod)

    return [row for row, (name, stage) in rows().items() if suits(row, methods()[name], stage)]


def _consistent(config: Any) -> Any:
    multiple = 2 ** (len(config.unet.multipliers) - 1)
    if config.data.size % multiple:
        raise ValueError(
            f"data.size ({config.data.size}) must be a multiple of {multiple},"
            f" as unet.multipliers has {len(config.unet.multipliers)} levels"
        )
    for row in config.rows:
        stride = methods()[rows()[row][0]].stride
        if config.data.size % stride:
            raise ValueError(
                f"data.size ({config.data.size}) must be a multiple of {stride} for row {row!r}"
            )
    _check_sharing(config)
    for name, recipe in _recipes(config).items():
        unvalidated = config.data.source == "folder" and config.data.folder.validation == 0
        if unvalidated and recipe.choose_by == "validation":
            raise ValueError(
                "data.folder.validation (0) leaves no images to validate with, as"
                f" {name}.choose_by (validation) needs"
            )
    for row in config.sweep.rows:
        if row not in rows_for("sweep"):
            raise ValueError(f"sweep.rows: {row!r} has no number of sampling steps to vary")
    for row in config.oracle.rows:
        if row not in rows_for("oracle"):
            raise ValueError(
                f"oracle.rows: {row!r} is no denoiser, as edm's and ssimbad's rows are"
            )
    return config


def _recipes(config: Any) -> dict[str, Schedule]:
    """How every stage is optimised, by the key of its section."""
    own = {
        f"{name}.recipe": getattr(config, name).recipe
        for name, method in methods().items()
        if method.own_recipe
    }
    return {"train": config.train, "refine": config.refine} | own


def _check_sharing(config: Any) -> None:
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


def _parts(method: type[Method]) -> dict[str, type[Section]]:
    """The schemas of the parts of a method's section that single phases read."""
    given = {
        "recipe": Schedule if method.own_recipe else None,
        "refinement": method.refinement,
        "sampling": method.sampling,
    } | {part: method.sampling for _, part in method.resampled.values()}
    return {part: kind for part, kind in given.items() if kind}


@cache
def schema() -> type[Any]:
    """The model of the whole config: the common sections and one for each method that has one."""
    sections: dict[str, Any] = {}
    for name, method in methods().items():
        if method.section:
            parts = {part: (kind, ...) for part, kind in _parts(method).items()}
            composed = create_model(  # type: ignore[call-overload]
                name, __base__=method.section, __doc__=method.section.__doc__, **parts
            )
            sections[name] = (composed, ...)
    validators: Any = {"consistent": model_validator(mode="after")(_consistent)}
    return create_model("Config", __base__=_Base, __validators__=validators, **sections)


_SHARED = ("device", "compile", "devices", "nodes")
_PHASES: dict[str, tuple[str, ...]] = {
    "data": ("seed", "data"),
    "phi": ("seed", "device", "phi"),
    "train": ("seed", *_SHARED, "weights", "data", "unet", "train"),
    "refine": ("seed", *_SHARED, "weights", "data", "refine"),
    "infer": ("seed", *_SHARED, "data", "infer"),
    "evaluate": ("seed", "device", "weights", "evaluate"),
    "sweep": ("seed", "device", "weights", "data", "sweep"),
    "oracle": ("seed", "device", "weights", "data", "evaluate", "oracle"),
}
_USES_CHECKPOINT = ("infer", "sweep", "oracle")


def _keys(phase: str) -> tuple[str, ...]:
    """The top-level keys a phase reads; the report shows everything."""
    return tuple(schema().model_fields) if phase == "report" else _PHASES[phase]


def _method_values(
    method: type[Method], section: dict[str, Any], phase: str, row: str
) -> dict[str, Any] | None:
    """What a phase reads of a method's section: one part, or for training all but the parts."""
    if phase == "train":
        return {k: v for k, v in section.items() if k not in _parts(method)}
    if phase == "refine":
        return section["refinement"]
    _, sampling = method.resampled.get(row, (row, "sampling"))
    return section.get(sampling) if phase in _USES_CHECKPOINT else None


def _fault(error: Any) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{path}: missing"
    if error["type"] == "extra_forbidden":
        known: Any = schema()
        for part in error["loc"][:-1]:
            known = known.model_fields[part].annotation
        value = json.dumps(error["input"], default=str)
        return f"{path}: {value}: no such key: keys here are {', '.join(known.model_fields)}"
    message = error["msg"].removeprefix("Value error, ")
    value = error["input"]
    shown = "" if isinstance(value, dict) else f": {json.dumps(value, default=str)}"
    return f"{path}{shown}: {message[0].lower()}{message[1:]}".removeprefix(": ")


def validate(values: dict[str, Any], where: str = "config") -> Any:
    """The typed config.

    Raises:
        UserError: one line a fault, with the key's path, its value and what is allowed.
    """
    try:
        return schema().model_validate(values)
    except ValidationError as error:
        faults = [f"{where}: {shown(_fault(e))}" for e in error.errors()]
        raise UserError("\n".join(faults)) from None


class _Loader(yaml.SafeLoader):
    """YAML in which a key stands once: plain YAML lets the last of several win."""


def _distinct_keys(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key.value!r} stands twice", key.start_mark
            )
        seen.add(key.value)
    return loader.construct_mapping(node)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _distinct_keys)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable ({shown(error)})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: 2000-99-99
        detail = shown(" ".join(str(error).split()))
        raise UserError(f"{path}: not valid YAML ({detail})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: must hold keys and values")
    return values


def _overlay(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        below = base.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        merged[key] = _overlay(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _read_overlay(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """What an overlay says, on top of what the overlay says that it extends."""
    values = _read(path)
    extended = values.pop(_EXTENDS, None)
    if extended is None:
        return values
    if not isinstance(extended, str):
        raise UserError(f"{path}: {_EXTENDS}: must be the name of a file")
    if path.resolve() in below:
        raise UserError(f"{path}: {_EXTENDS}: leads back to itself")
    base = _read_overlay(path.parent / extended, (*below, path.resolve()))
    return _overlay(base, values)


def load(overlays: list[Path], values: dict[str, Any] | None = None) -> Any:
    """``config.yaml`` of the current folder with overlays on it, the last one uppermost.

    Args:
        overlays: files that say what differs; one may be an overlay on another, its key ``extends``.
        values: what else differs, on top of all.

    Raises:
        UserError: a file or a value is at fault, or the results would lie where the user's files are.
    """
    merged = _read(BASE)
    for path in overlays:
        merged = _overlay(merged, _read_overlay(path))
    # Snakemake hands on what the files say, this key too.
    merged = _overlay(merged, {k: v for k, v in (values or {}).items() if k != _EXTENDS})
    where = str(overlays[-1] if overlays else BASE)
    config = validate(merged, where)
    _check_places(config, where)
    return config


def _check_places(config: Any, where: str) -> None:
    """Refuse a results folder in which a run could write over what is the user's."""
    images = config.data.folder.path if config.data.source == "folder" else None
    faults = overlap(config.results, {"data.folder.path": images} if images else {})
    if Path.cwd().is_relative_to(Path(config.results).resolve()):
        faults.append(
            f"results: {shown(config.results)}: holds the folder that the command runs in"
        )
    if faults:
        raise UserError("\n".join(f"{where}: {fault}" for fault in faults))


def load_merged(path: Path) -> Any:
    """A whole config in one file, as a run leaves it.

    Raises:
        UserError: the file or a value is at fault.
    """
    return validate(_read(path), str(path))


def runs(config: Any) -> list[str]:
    """The trainings and other runs of the table's rows: ``row``, and ``row@seed`` for further seeds."""
    return [
        row if k == 0 else f"{row}@{seed}"
        for row in config.rows
        for k, seed in enumerate(config.seeds)
        if k == 0 or stage_of(row) != "none"
    ]


def trained_runs(config: Any) -> list[str]:
    """The runs that the table's rows need trained, each once."""
    needed = [trained_run(run) for run in runs(config) if stage_of(run) != "none"]
    return list(dict.fromkeys(needed))


def seed_of(config: Any, run: str) -> int:
    """The training seed of a run."""
    return int(run.partition("@")[2] or config.seeds[0])


def _trained_by(config: Any, run: str) -> list[str]:
    """Digests of what each training stage of a run reads of the config."""
    stage = stage_of(run)
    stages = [] if stage == "none" else [("train", pretrained_run(run))]
    stages += [("refine", trained_run(run))] if stage == "refine" else []
    return [digest(phase_json(config, *stage)) for stage in stages]


def digest(text: str) -> str:
    """SHA-256 of a phase's part of the config, as checkpoints and the phases that use them note it."""
    return hashlib.sha256(text.encode()).hexdigest()


def phase_json(config: Any, phase: str, run: str | None = None) -> str:
    """All that a phase (of a run) reads of the config, as canonical JSON."""
    values = config.model_dump(mode="json")
    chosen = {key: values[key] for key in _keys(phase)}
    if run is not None:
        name = method_of(run)
        method, section = methods()[name], values.get(name, {})
        chosen["method"] = _method_values(method, section, phase, row_of(run))
        if phase in ("train", "refine"):
            chosen["seed"] = seed_of(config, run)
        if phase == "train" and method.own_recipe:
            chosen["train"] = section["recipe"]
        if phase in _USES_CHECKPOINT:
            chosen["trained_by"] = _trained_by(config, run)
    return json.dumps(chosen, sort_keys=True)


class Phase:
    """What one phase may read of the config, and nothing else: other attributes are not set.

    The workflow tracks :func:`phase_json` and hands it to the command, so a phase cannot depend on
    a key whose change would go unnoticed. ``method`` is what the phase reads of the section of the
    row's method: the section for ``train``, its part ``refinement`` or ``sampling`` else. ``digest``
    is this part of the config's own; ``trained_by``, where a checkpoint is used, the digests that
    its training stages must have had.
    """

    method: Section | None
    digest: str
    trained_by: list[str]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A key of the config."""

    def __init__(self, text: str, phase: str, run: str | None = None) -> None:
        self.values = json.loads(text)
        self.digest = digest(text)
        if phase in _USES_CHECKPOINT:
            self.trained_by = self.values["trained_by"]
        method = None if run is None else methods()[method_of(run)]
        for key in _keys(phase):
            annotation = schema().model_fields[key].annotation
            if key == "train" and method is not None and method.own_recipe:
                annotation = Schedule
            is_section = isinstance(annotation, type) and issubclass(annotation, Section)
            value = self.values[key]
            setattr(self, key, annotation.model_validate(value) if is_section else value)
        if method is not None:
            kind = {"train": method.section, "refine": method.refinement}.get(
                phase, method.sampling
            )
            given = self.values["method"]
            self.method = kind.model_validate(given) if kind and given is not None else None


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
            else:
                facts = {k: v for k, v in fields[name].items() if k not in ("title", "description")}
                lines.append(f"{path}: {field.description} {json.dumps(facts)}")

    walk(schema(), "")
    return "\n".join(lines)
