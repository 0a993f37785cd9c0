"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssimbad.errors import UserError, shown
from ssimbad.machine import lock

_LOCK = "lock"  # a file in each temporary folder
_NOTHING = 1 << 16  # bytes; a disk with less than that free is full


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or the user's share of it, is full."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # safetensors passes the system's number on in its text only.
    return f"os error {errno.ENOSPC}" in str(error)


def refusal(error: OSError) -> str | None:
    """A line on a file that the system does not let be written or read where it is; None of other errors."""
    kinds = (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)
    if not isinstance(error, kinds) and error.errno not in (errno.EROFS, errno.ENAMETOOLONG):
        return None
    # Of a rename the second is what it was to become.
    name = error.filename2 or error.filename
    hint = ""
    if isinstance(error, PermissionError):
        hint = ": who owns it must allow that"
    return f"{shown(name)}: {error.strerror}{hint}" if name else None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_left_behind(part: Path) -> bool:
    """Whether nobody writes to a temporary folder any more, on whatever machine."""
    try:
        with (part / _LOCK).open("r+") as stream:
            return lock(stream) is True
    except FileNotFoundError:
        return True
    except OSError:  # no folder, as of earlier versions; or not ours
        return not part.is_dir()


def _remove_left_behind(path: Path) -> None:
    """Remove what killed processes left of their work on ``path``; where there are no locks, nothing."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[\w.-]+\.part")
    for other in list(path.parent.iterdir()):
        if pattern.fullmatch(other.name) and _is_left_behind(other):
            _remove(other)


@contextmanager
def _held_part(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path``, with a file that is locked for as long as it is there."""
    while True:
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        part.mkdir()
        # Before it is locked it may be taken for a dead writer's.
        try:
            stream = (part / _LOCK).open("x")
        except FileNotFoundError:
            continue
        try:
            with stream:
                if lock(stream) is not False and part.exists():
                    yield part
                    return
        finally:
            # Once its file is closed: Windows removes no open one.
            _remove(part)


@contextmanager
def _part(path: Path) -> Iterator[Path]:
    """A path, near ``path`` and of its name, that is gone in the end; what killed processes left goes too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_behind(path)
    with _held_part(path) as part:
        try:
            yield part / path.name
        except Exception as error:
            # torch says no more than that a write failed.
            if is_full(error) or shutil.disk_usage(path.parent).free < _NOTHING:
                raise UserError(
                    f"{path}: not written: no space left on the disk; what stood there before still does"
                ) from error
            raise


def _mode_of_new(path: Path) -> int:
    """The mode of a new file at ``path``, read off one: only who sets the umask is told what it was."""
    path.touch()
    try:
        return path.stat().st_mode
    finally:
        path.unlink()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path near ``path``, of its name; on success it replaces ``path``, on failure it goes.

    Who may read it is for the umask to say, whatever the library that writes it does.

    Raises:
        UserError: the disk is full.
    """
    with _part(path) as part:
        mode = _mode_of_new(part)
        yield part
        if part.stat().st_mode != mode:
            part.chmod(mode)
        os.replace(part, path)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; on success it replaces ``path``.

    Of a link, such as one to another disk, that is the folder which it leads to.

    Raises:
        UserError: the disk is full.
    """
    path = Path(os.path.realpath(path))
    with _part(path) as part:
        part.mkdir()
        yield part
        shutil.rmtree(path, ignore_errors=True)
        os.replace(part, path)


@contextmanager
def whole_files(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; on success its files move into ``folder``, which may hold others.

    Raises:
        UserError: the disk is full.
    """
    # Beside what it becomes, or inside what it fills: never on another disk.
    with _part(folder / "files" if folder.is_dir() else folder) as part:
        part.mkdir()
        yield part
        folder.mkdir(exist_ok=True)
        for path in sorted(part.iterdir()):
            os.replace(path, folder / path.name)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to ``path``, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_if_new(path: Path, text: str) -> None:
    """Write UTF-8 text to ``path`` unless it stands there already."""
    if not path.is_file() or read_text(path) != text:
        write_text(path, text)


def read_text(path: Path) -> str:
    """Read UTF-8 text; a missing or unreadable file is a :class:`UserError` that names it."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except PermissionError as error:
        raise UserError(refusal(error) or str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable ({error})") from None


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path``, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a missing or damaged file is a :class:`UserError` that names it."""
    text = read_text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from None


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
