"""Ending in good order: at a SIGTERM, when whoever asked for the work is gone; and starting after a kill."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import IO, Any

from ssimbad.errors import UserError, shown
from ssimbad.machine import try_lock

ASKED_BY = "SSIMBAD_ASKED_BY"
"""Environment variable: the process (Snakemake) on whose behalf a command works."""

STOPPED = 128 + signal.SIGTERM
"""Exit status after a SIGTERM, as a shell would report it."""


class Stopped(UserError):
    """Work ended by a SIGTERM; what it says tells how it goes on."""


class NotedSigterm:
    """A handler of SIGTERM that ends nothing: who works looks at ``came`` where it can stop."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came = True


def exit_on_sigterm() -> None:
    """From now on a SIGTERM unwinds the stack, so that temporary files go.

    Raises:
        SystemExit: at once, where one came that the handler before had only noted.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        sys.exit(STOPPED)

    before = signal.signal(signal.SIGTERM, stop)
    if isinstance(before, NotedSigterm) and before.came:
        sys.exit(STOPPED)


def signal_when_gone(process: int, number: signal.Signals) -> None:
    """Send this process the signal once ``process`` has ended, however it ended.

    A killed Snakemake leaves its jobs running; without this they would write beside those of the next.
    Does nothing where the system cannot watch a process (Linux can).
    """
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        os.kill(os.getpid(), number)
        return
    except (AttributeError, OSError):
        return

    def wait() -> None:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll()
        os.kill(os.getpid(), number)

    threading.Thread(target=wait, daemon=True).start()


_held: list[IO[str]] = []


def hold(results: Path) -> None:
    """Keep other runs off ``results`` until this process ends.

    Raises:
        UserError: another run works there.
    """
    path = results / "work" / "owner"
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("w")
    if not try_lock(stream, results):
        stream.close()
        raise UserError(
            f"{shown(results)}: another run is at work here: wait until it has ended, or choose another"
            " results folder"
        )
    _held.append(stream)


def begin_run(results: Path) -> None:
    """What Snakemake does before its first job: hold ``results`` while it lives, and pass a SIGTERM on to
    the jobs that run.

    Raises:
        UserError: another run works in ``results``.
    """
    import psutil

    hold(results)
    snakemake = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        for child in psutil.Process().children(recursive=True):
            if any(Path(part).name == "ssimbad" for part in _command(child)[:2]):
                child.send_signal(signal.SIGTERM)
        if callable(snakemake):
            snakemake(number, frame)

    signal.signal(signal.SIGTERM, stop)


def leave_with_dvc() -> None:
    """Have a Snakemake that DVC started be killed once that is gone, as it may be already.

    DVC is the ancestor that holds DVC's lock on the stage, or is called ``dvc``. An orphan has none: whom it
    was left to (the init process, a container's or session's reaper) differs from machine to machine.
    """
    if "DVC_STAGE" not in os.environ:
        return
    import psutil

    writers = _dvc_writers(Path(os.environ["DVC_ROOT"]))
    for parent in psutil.Process().parents():
        if parent.pid in writers or any(Path(p).name == "dvc" for p in _command(parent)[:3]):
            signal_when_gone(parent.pid, signal.SIGKILL)
            return
    sys.exit("snakemake: the dvc that asked for this is gone")


def _dvc_writers(root: Path) -> set[int]:
    """The processes that DVC's lock file names as writers of outputs."""
    try:
        lock = json.loads((root / ".dvc" / "tmp" / "rwlock").read_text())
        return {info["pid"] for info in lock["write"].values()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return set()


def _command(process: Any) -> list[str]:
    import psutil

    try:
        return process.cmdline()
    except psutil.Error:
        return []
