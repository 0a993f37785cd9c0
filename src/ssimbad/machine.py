"""What the machine gives this process: processors, text in UTF-8, locks on files, a home folder."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import IO

from ssimbad.errors import shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_HELD = {errno.EWOULDBLOCK, errno.EACCES}  # all other errors are of file systems without locks
_told: set[Path] = set()


def processors() -> int:
    """How many processors this process may use: as OpenMP is told, else those that it may run on.

    ``OMP_NUM_THREADS`` may be a list, a number for each level of nested work; what is no number above 0
    counts as not said.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    given = int(first) if first.isdecimal() else 0
    if not hasattr(os, "sched_getaffinity"):  # macOS and Windows
        return given or os.cpu_count() or 1
    return given or len(os.sched_getaffinity(0))


def speak_utf8(folder: str = ".") -> None:
    """Start this process anew in Python's UTF-8 mode where the locale is of another encoding.

    Names, files and messages are Unicode's. Locales of ISO-8859-1, GBK or EUC-JP lack letters of theirs.

    Args:
        folder: where it was started.
    """
    if sys.getfilesystemencoding().lower() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        sys.stdout.flush()
        os.chdir(folder)
        os.environ["PYTHONUTF8"] = "1"
        # Its very bytes: not all that a locale lets in can be written in it again.
        command = Path("/proc/self/cmdline").read_bytes().split(b"\0")[:-1]
        os.execvp(command[0], command)
    for stream in (sys.stdout, sys.stderr):
        # PYTHONIOENCODING may ask for another one all the same.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def at_home(text: str) -> str:
    """A path whose ``~`` or ``~user`` is the home folder, as in a shell.

    Raises:
        ValueError: there is no such user, or no home folder.
    """
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise ValueError("no home folder is known for this; a folder of that name is ./~")
    return path


def lock(stream: IO[str]) -> bool | None:
    """Hold an open file against other processes until it is closed.

    Returns:
        Whether it is held now; None where the file system, or the system, has no such locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _HELD else None
    return True


def try_lock(stream: IO[str], place: Path) -> bool:
    """As :func:`lock`; where there are no locks (some clusters' and containers') a line says so, once.

    Args:
        stream: the open file.
        place: what is named in that line.
    """
    locked = lock(stream)
    if locked is None and place not in _told:
        _told.add(place)
        print(
            f"{shown(place)}: this file system has no locks: see that no other run works here",
            file=sys.stderr,
            flush=True,
        )
    return locked is not False
