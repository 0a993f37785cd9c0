"""A run's work up to the test set's images in one process: for a machine that has no Snakemake.

What it did is noted, so that it goes on where it was stopped, and so that Snakemake can finish the run on
another machine without making anything anew.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssimbad.data.schema import STORE
from ssimbad.dvc_adoption import known, touch
from ssimbad.errors import UserError, shown
from ssimbad.files import read_json, sha256_file, write_json, write_text
from ssimbad.interruption import Stopped, exit_on_sigterm, hold
from ssimbad.methods import Run
from ssimbad.phases import jobs
from ssimbad.phases.code import code_of
from ssimbad.phases.slices import PhaseConfig, digest, phase_json
from ssimbad.provenance import digests
from ssimbad.settings import inferred

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ssimbad.config.schema import Config
    from ssimbad.layout import Results

    Job = tuple[str, Run | None]

_CONDUCTED = ("data", "phi", "train", "refine", "sweep", "infer")


def needed_by(job: Job, config: Config) -> list[Job]:
    """The jobs whose results a job reads."""
    phase, run = job
    if phase == "data":
        return []
    needed: list[Job] = [("data", None)]
    if phase in ("train", "refine"):
        needed.append(("phi", None))
    if run is None or phase == "train":
        return needed
    if phase == "refine":
        return [*needed, ("train", config.pretraining_of(run))]
    if run.stage != "none":
        needed.append((run.stage, config.training_of(run)))
    if phase == "infer" and Run(run.row) in config.chosen_rows:
        needed.append(("sweep", Run(run.row)))
    return needed


def in_order(config: Config) -> list[Job]:
    """The jobs, row after row as the table has them, so that what there is time for can be used."""
    known = [job for job in jobs(config) if job[0] in _CONDUCTED]
    order: dict[Job, None] = {}

    def add(job: Job) -> None:
        for needed in needed_by(job, config):
            add(needed)
        order.setdefault(job)

    for run in config.runs:
        add(("infer", run))
    for job in known:
        add(job)
    return list(order)


def keys_of(config: Config) -> dict[Job, str]:
    """Of each job a digest of all that decides what it makes: config, code, and the jobs it builds on."""
    keys: dict[Job, str] = {}
    for job in in_order(config):
        phase, run = job
        code = sorted(digests(code_of(phase, run)).items())
        parts = [phase_json(config, phase, run), code, [keys[n] for n in needed_by(job, config)]]
        keys[job] = digest(repr(parts))
    return keys


def _name(job: Job) -> str:
    phase, run = job
    return phase if run is None else f"{phase} {run}"


def _left_by(job: Job, results: Results) -> list[Path]:
    """The files and folders that a job leaves, as its rule names them; first the file that tells it apart."""
    phase, run = job
    if phase == "data":
        return [results.data / name for name in STORE]
    if run is None:
        names = ("phi.json", "ranking.csv", "curves.csv", "noisy.npz")
        return [results.phi / name for name in names]
    if phase == "sweep":
        return [results.choice(run), results.choice(run).with_suffix(".csv")]
    if phase == "infer":
        return [results.images(run) / name for name in ("infer.json", *inferred())]
    history = results.history(run)
    return [results.checkpoint(run), history, history.with_suffix(".json")]


def _records(results: Results) -> dict[str, Any]:
    if not results.conducted.exists():
        return {}
    records = read_json(results.conducted)
    if not isinstance(records, dict) or not all(isinstance(r, dict) for r in records.values()):
        raise UserError(f"{results.conducted}: not a record of jobs")
    return records


def done(config: Config, results: Results) -> dict[Job, bool]:
    """Of each job whether its results are there, made by this config and code from results that are, too.

    Raises:
        UserError: the record of jobs is not readable.
    """
    records, keys = _records(results), keys_of(config)
    found: dict[Job, bool] = {}
    for job, key in keys.items():
        record, paths = records.get(_name(job), {}), _left_by(job, results)
        found[job] = (
            all(found[needed] for needed in needed_by(job, config))
            and record.get("key") == key
            and all(path.exists() for path in paths)
            and record.get("sha256") == sha256_file(paths[0])
        )
    return found


def _check_own(known: Iterable[Job], results: Results) -> None:
    """Refuse to train anew over checkpoints that something else made."""
    if results.conducted.exists():
        return
    for job in known:
        path = _left_by(job, results)[0]
        if job[0] in ("train", "refine") and path.exists():
            raise UserError(
                f"{shown(path)}: was not made by `ssimbad run`, which would train it anew: choose another"
                " results folder, or go on with snakemake"
            )


def _note_time(path: Path, seconds: float) -> None:
    """As Snakemake notes a job's time and memory, of which this process knows the most of all its jobs."""
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    write_text(path, f"s\tmax_rss\n{seconds:.4f}\t{rss:.2f}\n")


def _told(failed: dict[Job, str], *more: str) -> str:
    """A line for each fault, and what else there is to say."""
    return "\n".join(line for line in (*failed.values(), *more) if line)


def conduct(config: Config, results: Results, minutes: float | None = None) -> None:
    """Run each job that is not done yet.

    Args:
        config: the config.
        results: where everything lies.
        minutes: stop after so many, as at a SIGTERM: a training saves its state; None: run to the end.

    Raises:
        UserError: the config or the time makes no sense here; another run is at work there; checkpoints there
            are of no such run; jobs failed, told once all that do not need them are done; or a SIGTERM came
            or the time is up (:class:`~ssimbad.interruption.Stopped`).
    """
    count = config.devices * config.nodes
    if count > 1:
        raise UserError(
            f"devices × nodes is {count}: `ssimbad run` is one process: set both to 1, or use snakemake"
        )
    if minutes is not None and not 0 < minutes < math.inf:
        raise UserError(f"--minutes: {minutes:g}: must be above 0")
    hold(results.root)
    keys, finished = keys_of(config), done(config, results)
    _check_own(keys, results)
    # Imported before the time runs: a signal within an import may end in another language's panic.
    phases = {phase: import_module(f"ssimbad.phases.{phase}") for phase, _ in keys}
    failed: dict[Job, str] = {}
    if minutes is not None:
        allowed = min(60 * minutes, threading.TIMEOUT_MAX)
        timer = threading.Timer(allowed, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()
    for number, job in enumerate(keys, 1):
        phase, run = job
        told = f"{number}/{len(keys)} {_name(job)}"
        if finished[job]:
            print(f"{told}: is there", flush=True)
            continue
        if any(needed in failed for needed in needed_by(job, config)):
            failed[job] = ""
            continue
        try:
            exit_on_sigterm()  # a training has noted one that came after its last step
        except SystemExit:
            before = f"stopped before {_name(job)}: the same command goes on from there"
            raise Stopped(_told(failed, before)) from None
        start = time.monotonic()
        try:
            phases[phase].run(PhaseConfig(config, phase, run), results)
        except (Stopped, SystemExit) as stop:
            anew = f"stopped in the middle of {_name(job)}: the same command begins that anew"
            raise Stopped(_told(failed, str(stop) if isinstance(stop, Stopped) else anew)) from None
        except UserError as error:
            failed[job] = f"{_name(job)}: {error}"
            continue
        seconds = time.monotonic() - start
        print(f"{told}: {seconds:.1f} s", flush=True)
        _note_time(results.benchmark(phase, run), seconds)
        told_apart = sha256_file(_left_by(job, results)[0])
        record = {"key": keys[job], "sha256": told_apart, "seconds": round(seconds, 1)}
        write_json(results.conducted, _records(results) | {_name(job): record})
    if failed:
        raise UserError(_told(failed))


def adopt(config: Config, overlays: list[Path], results: Results) -> str:
    """Have Snakemake take what :func:`conduct` made, here or on another machine, as its own.

    The store may be made here anew: what else there is counts where the store's manifest is the same.

    Args:
        config: the config, merged.
        overlays: its files, as Snakemake is to read them.
        results: where everything lies.

    Returns:
        A sentence on how much was taken.

    Raises:
        UserError: nothing was conducted here, or Snakemake fails.
    """
    if not results.conducted.exists():
        raise UserError(f"{results.conducted}: no such file: `ssimbad run` has made nothing here")
    finished = done(config, results)
    targets = [str(_left_by(job, results)[0]) for job, there in finished.items() if there]
    # What is made from those that it knows shall not seem older than they are.
    if new := sorted(set(targets) - known(targets, overlays)):
        touch(new, overlays)
    return f"{len(targets)} of {len(finished)} jobs adopted"
