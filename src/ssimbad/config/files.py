"""Config files: read, laid over one another, validated before any work. Nothing else reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ssimbad.config.schema import EXTENDS, Config, overlaid, validate
from ssimbad.config.yaml import dumped, parse
from ssimbad.errors import UserError, shown
from ssimbad.files import read_text, refusal, write_if_new
from ssimbad.layout import no_folder, overlap
from ssimbad.machine import at_home

BASE = Path("config.yaml")
"""The default config, of the current folder; other files are overlays on it."""
_SHIPPED = Path(__file__).parent / "default.yaml"  # the same file, where there is no other
# Keys that every whole config has.
_WHOLE = {key for key, field in Config.model_fields.items() if field.is_required()}


def _read(path: Path) -> dict[str, Any]:
    try:
        values = parse(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        where = "" if path.is_absolute() else f" in {shown(Path.cwd())}"
        raise UserError(f"{shown(path)}: no such file{where}") from None
    except OSError as error:
        told = refusal(error) or f"{shown(path)}: not readable ({error.strerror})"
        raise UserError(told) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{shown(path)}: not readable ({shown(error)})") from None
    except ValueError as error:  # a path with a null character, too
        raise UserError(f"{shown(path)}: {shown(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{shown(path)}: must hold keys and values")
    return values


def values_of(arguments: list[str]) -> dict[str, Any]:
    """What ``KEY=VALUE`` arguments say, each value read as in a file; text that is no YAML is text.

    Raises:
        UserError: one is not of that form.
    """
    values: dict[str, Any] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or not key:
            raise UserError(f"--config: {shown(argument)}: must be KEY=VALUE")
        try:
            value = parse(text)
        except ValueError:
            value = text
        values = overlaid(values, {key: value})
    return values


def _read_overlay(path: Path, named: list[Path], below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """What an overlay says, on top of what the overlay says that it extends; both are added to ``named``."""
    values = _read(path)
    named.append(path)
    extended = values.pop(EXTENDS, None)
    if extended is None:
        return values
    if not isinstance(extended, str):
        raise UserError(f"{path}: {EXTENDS}: must be the name of a file")
    if path.resolve() in below:
        raise UserError(f"{path}: {EXTENDS}: leads back to itself")
    try:
        base_path = path.parent / at_home(extended)
    except ValueError as error:
        raise UserError(f"{path}: {EXTENDS}: {shown(extended)}: {error}") from None
    base = _read_overlay(base_path, named, (*below, path.resolve()))
    return overlaid(base, values)


def load(
    overlays: list[Path], values: dict[str, Any] | None = None, base: Path | None = None
) -> Config:
    """The default config with overlays on it, the last one uppermost.

    Args:
        overlays: files that say what differs; one may be an overlay on another, its key ``extends``.
        values: what else differs, on top of all.
        base: the default config, which is not read where the first overlay is a whole config; None:
            :data:`BASE`, or the package's own where the current folder has none.

    Raises:
        UserError: a file or a value is at fault, or the results would lie where the user's files are.
    """
    base = base or (BASE if BASE.exists() else _SHIPPED)
    named: list[Path] = []
    changes = [_read_overlay(path, named) for path in overlays]
    # A whole config, as a run leaves it, stands alone, whatever config.yaml is meanwhile.
    is_whole = bool(changes) and changes[0].keys() >= _WHOLE
    merged = {} if is_whole else _read(base)
    for change in changes:
        merged = overlaid(merged, change)
    # Snakemake hands on what the files say, this key too.
    merged = overlaid(merged, {k: v for k, v in (values or {}).items() if k != EXTENDS})
    where = str(overlays[-1] if overlays else base)
    config = validate(merged, where)
    _check_places(config, named, where)
    return config


def _check_places(config: Config, named: list[Path], where: str) -> None:
    """Refuse a results folder in which a run could write over what is the user's."""
    root = Path(os.path.realpath(config.results))
    # Right in the results folder one may lie, as the merged config does; its folders are replaced as a whole.
    within = Path.cwd().is_relative_to(root)
    deep = [p for p in named if not within and root in Path(os.path.realpath(p)).parent.parents]
    given = {f"--config ({shown(path)})": str(path) for path in deep}
    faults = overlap(config.results, config.data.make_source(config.seed).users_paths | given)
    if place := no_folder(config.results):
        faults.append(f"results: {shown(config.results)}: {shown(place)} is no folder")
    if within:
        faults.append(
            f"results: {shown(config.results)}: holds the folder that the command runs in"
        )
    if faults:
        raise UserError("\n".join(f"{where}: {fault}" for fault in faults))


def load_merged(path: Path) -> Config:
    """A whole config in one file, as a run leaves it.

    Raises:
        UserError: the file or a value is at fault.
    """
    return validate(_read(path), str(path))


def to_yaml(config: Config) -> str:
    """The whole config as a file that :func:`load` and :func:`load_merged` read."""
    return dumped(config.model_dump(mode="json"))


def _is_merged(path: Path) -> bool:
    """Whether a file is a config as a run leaves it, of today's keys or a former version's."""
    try:
        values = _read(path)
    except UserError:
        return False
    return values.keys() >= _WHOLE and dumped(values) == read_text(path)


def write_merged(config: Config, path: Path) -> None:
    """Leave the merged config for the phases of a run.

    Raises:
        UserError: another file lies there, such as an overlay that the user wrote.
    """
    if os.path.lexists(path) and not _is_merged(path):
        raise UserError(
            f"{shown(path)}: was not left by a run, which would replace it by its merged config: move it"
            " away, or choose another results folder"
        )
    write_if_new(path, to_yaml(config))
