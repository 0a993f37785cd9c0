"""Results that DVC brought: Snakemake, which knows them by their times only, is told which are current."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML

from ssimbad.files import sha256_file, write_text

_CHILD = "SSIMBAD_TOUCHING"


def _differs_beyond_config(changes: list[Any]) -> bool:
    """Whether DVC finds more of a stage changed than values in config.yaml."""
    for change in changes:
        if not isinstance(change, dict) or set(change) != {"changed deps"}:
            return True
        if set(change["changed deps"]) != {"config.yaml"}:
            return True
    return False


def _params(stage: dict[str, Any]) -> dict[str, Any]:
    return stage.get("params", {}).get("config.yaml", {})


def _dirty(stages: dict[str, Any], status: dict[str, Any], config: dict[str, Any]) -> set[str]:
    """The stages that are not what ``config`` and today's code made, and all that build on them."""
    dirty = {
        name
        for name, stage in stages.items()
        if _differs_beyond_config(status.get(name, []))
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


def _tell(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether a command went well; if not, its last words are told."""
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["failed"]
        print(f"{done.args[2]}: {words[-1]}", file=sys.stderr)
    return done.returncode == 0


def _make_old(path: Path) -> None:
    for each in (path, *path.rglob("*")):
        os.utime(each, (1, 1))  # not 0, which Snakemake takes for no time at all


def adopt(snakemake: Path) -> None:
    """Have Snakemake take the results that DVC vouches for as its own.

    A ``dvc pull`` or ``dvc checkout`` leaves files in no order of time and without Snakemake's records. After
    ``dvc.lock`` has changed, DVC is asked which stages are as locked, values in config.yaml aside. Those are
    touched in order under the locked config, so that Snakemake itself notices what has been edited
    since. Results of stages whose code has changed are made older than everything. Nothing happens
    without DVC's files, nor within ``dvc repro``.

    Args:
        snakemake: Snakemake's own folder, ``.snakemake``.
    """
    lock, stamp = Path("dvc.lock"), snakemake / "dvc.lock.sha256"
    if not lock.is_file() or not Path(".dvc").is_dir() or {"DVC_STAGE", _CHILD} & set(os.environ):
        return
    digest = sha256_file(lock)
    if stamp.is_file() and stamp.read_text() == digest:
        return
    told = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"], capture_output=True, text=True
    )
    if not _tell(told):
        return
    status = json.loads(told.stdout)
    # YAML 1.2, as DVC writes it: to PyYAML a number like 1e-06 is text.
    stages = YAML(typ="safe").load(lock)["stages"]
    # The later stages' params are the whole config.
    config = max((_params(stage) for stage in stages.values()), key=len)
    dirty = _dirty(stages, status, config)
    commands = [stage["cmd"] for name, stage in stages.items() if name not in dirty]
    if commands:
        locked = snakemake / "dvc.lock.config.yaml"
        write_text(locked, yaml.safe_dump(config))
        touch = ["--touch", "--forceall", "--nolock", "--cores", "1", "--quiet", "all"]
        targets = [(c if isinstance(c, str) else c[-1]).split()[-1] for c in commands]
        touched = subprocess.run(
            [sys.executable, "-m", "snakemake", *targets, *touch, "--configfile", str(locked)],
            env=os.environ | {_CHILD: "1"},
            capture_output=True,
            text=True,
        )
        _tell(touched)
    for name in dirty:
        if not any("changed outs" in c for c in status.get(name, []) if isinstance(c, dict)):
            for out in stages[name].get("outs", []):
                if Path(out["path"]).exists():
                    _make_old(Path(out["path"]))
    write_text(stamp, digest)
