"""Results that DVC brought: Snakemake, which knows them by their times only, is told which are current."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ssimbad.config.yaml import dumped, parse
from ssimbad.errors import UserError, shown

CHILD = "SSIMBAD_TOUCHING"
_LOCK = Path("dvc.lock")
_OLD = 1  # second since the epoch; not 0, which Snakemake takes for no time at all


_CONDUCT = {"config.yaml", "Snakefile", "workflow"}
"""What decides which jobs run, and not what they make: values are compared by themselves."""


def _differs_beyond_conduct(changes: list[Any]) -> bool:
    """Whether DVC finds more of a stage changed than rules, and values in config.yaml."""
    for change in changes:
        if not isinstance(change, dict) or set(change) != {"changed deps"}:
            return True
        if not set(change["changed deps"]) <= _CONDUCT:
            return True
    return False


def _params(stage: dict[str, Any]) -> dict[str, Any]:
    return stage.get("params", {}).get("config.yaml", {})


def _dirty(stages: dict[str, Any], status: dict[str, Any], config: dict[str, Any]) -> set[str]:
    """The stages that are not what ``config`` and today's code made, and all that build on them."""
    dirty = {
        name
        for name, stage in stages.items()
        if _differs_beyond_conduct(status.get(name, []))
        or any(config.get(key) != value for key, value in _params(stage).items())
    }
    while True:
        outs = [out["path"] for name in dirty for out in stages[name].get("outs", [])]
        more = {
            name
            for name, stage in stages.items()
            if any(dep["path"] == out for dep in stage.get("deps", []) for out in outs)
        }
        if more <= dirty:
            return dirty
        dirty |= more


def output_of(tool: str, *arguments: str) -> str:
    """What a command of this environment prints.

    Raises:
        UserError: it failed; its last words are told.
    """
    command = [sys.executable, "-m", tool, *arguments]
    done = subprocess.run(command, env=os.environ | {CHILD: "1"}, capture_output=True, text=True)
    if done.returncode:
        words = [line.strip() for line in done.stderr.strip().splitlines()] or ["failed"]
        # Snakemake's errors run over several lines, and some stand twice.
        errors = (k for k, word in enumerate(words) if re.match(r"\w*(Error|Exception)\b", word))
        raise UserError(f"{tool}: {shown(' '.join(dict.fromkeys(words[next(errors, -1) :])))}")
    return done.stdout


def _snakemake(targets: list[str], overlays: list[Path], *arguments: str) -> str:
    # Asked to be quieter it would keep its errors to itself, too.
    command = [*arguments, "--cores", "1", "--quiet", "rules", "progress"]
    files = ["--configfile", *map(str, overlays)] if overlays else []
    return output_of("snakemake", *targets, *command, *files)


def touch(targets: list[str], overlays: list[Path]) -> None:
    """Have Snakemake take files, and all that they are made from, as made just now.

    Args:
        targets: the files, or rules.
        overlays: the config.

    Raises:
        UserError: Snakemake fails.
    """
    _snakemake(targets, overlays, "--touch", "--forceall")


def known(targets: list[str], overlays: list[Path]) -> set[str]:
    """The files among ``targets`` that Snakemake has made or taken over, and would not make anew.

    Args:
        targets: the files; none is none known.
        overlays: the config.

    Raises:
        UserError: Snakemake fails.
    """
    lines = _snakemake(targets, overlays, "--summary").splitlines() if targets else []
    # File, date, rule, logs (none of a file without a record), status, plan.
    rows = [line.split("\t") for line in lines]
    current = {row[0] for row in rows if row[3:] and row[3] != "-" and row[-1] == "no update"}
    return current & set(targets)


def _make_old(path: Path) -> None:
    for each in (path, *path.rglob("*")):
        os.utime(each, (_OLD, _OLD))


def _is_project() -> bool:
    """Whether DVC has locked results here, and neither it nor adoption is what runs this."""
    ours = {"DVC_STAGE", CHILD} & set(os.environ)
    return _LOCK.is_file() and Path(".dvc").is_dir() and not ours


def _stages() -> dict[str, Any]:
    try:
        lock = parse(_LOCK.read_text(encoding="utf-8"))
    except ValueError:  # no text, or no YAML
        lock = None
    stages = lock.get("stages") if isinstance(lock, dict) else None
    if not isinstance(stages, dict) or not all(isinstance(s, dict) for s in stages.values()):
        raise UserError(f"{_LOCK}: not readable as DVC's lock of its stages")
    return stages


def check_within(results: str) -> None:
    """Refuse a results folder that DVC cannot keep, before its first stage does any work.

    Raises:
        UserError: DVC runs this, and the folder is not one below the project's.
    """
    if "DVC_STAGE" not in os.environ:
        return
    if Path(results).is_absolute() or ".." in Path(results).parts:
        raise UserError(
            f"results: {shown(results)}: must be a folder below that of dvc.yaml, as `results` is, for DVC to"
            " keep it; snakemake alone writes anywhere"
        )


def check_adopted(results: Path, is_known: Callable[[str], bool]) -> None:
    """Stop before results that DVC brought are made anew.

    Args:
        results: the results folder.
        is_known: whether Snakemake has a record of the job that made a file.

    Raises:
        UserError: DVC has locked results here, and Snakemake does not know a file of them; or ``dvc.lock``
            is not readable.
    """
    stages = _stages() if _is_project() else {}
    outs = [out["path"] for stage in stages.values() for out in stage.get("outs", [])]
    if not any(Path(out).is_relative_to(results) for out in outs):
        return
    dear = (results / "data/manifest.json", *sorted(results.glob("checkpoints/*/*.safetensors")))
    for path in filter(Path.exists, dear):
        if path.stat().st_mtime > _OLD and not is_known(str(path)):
            raise UserError(
                f"{shown(path)}: was brought by DVC: `ssimbad adopt` has Snakemake take over what DVC"
                " brought, then run this again; or remove the results to make them anew"
            )


def adopt() -> None:
    """Have Snakemake take the results that DVC vouches for as its own.

    A ``dvc pull`` or ``dvc checkout`` leaves files in no order of time and without Snakemake's records. DVC
    is asked which stages are as locked, values in config.yaml aside. Those are touched in order under the
    locked config, so that Snakemake itself notices what has been edited since. Results of stages whose code
    has changed are made older than everything.

    Raises:
        UserError: there is no ``dvc.lock`` here, or DVC or Snakemake fails.
    """
    if not _is_project():
        raise UserError(f"{_LOCK}: no such file beside a .dvc folder: there is nothing to adopt")
    stages = _stages()
    status = json.loads(output_of("dvc", "status", "--json"))
    # The later stages' params are the whole config.
    config = max((_params(stage) for stage in stages.values()), key=len, default={})
    dirty = _dirty(stages, status, config)
    commands = [stage["cmd"] for name, stage in stages.items() if name not in dirty]
    if commands:
        with tempfile.TemporaryDirectory() as folder:
            locked = Path(folder) / "config.yaml"
            locked.write_text(dumped(config), encoding="utf-8")
            targets = [(c if isinstance(c, str) else c[-1]).split()[-1] for c in commands]
            touch(targets, [locked])
    for name in dirty:
        if not any("changed outs" in c for c in status.get(name, []) if isinstance(c, dict)):
            for out in stages[name].get("outs", []):
                if Path(out["path"]).exists():
                    _make_old(Path(out["path"]))
    print(f"{len(commands)} of {len(stages)} stages adopted")
