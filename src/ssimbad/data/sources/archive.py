"""The user's images in one file: a .tar, packed or not, or a .zip that holds what the folder would.

Bytes of regular files with an image's name are unpacked, and nothing else: no links, devices, owners or
modes, and no path that leads out of the folder.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os.path import isdir
from pathlib import Path, PurePosixPath
from typing import Any

from ssimbad.data.images import is_image_name, name_fault
from ssimbad.errors import UserError, shown
from ssimbad.files import is_full

_TAPES: dict[str, Callable[[Path], Any]] = {
    ".tar": lambda path: path.open("rb"),
    **dict.fromkeys((".tar.gz", ".tgz"), gzip.open),
    **dict.fromkeys((".tar.bz2", ".tbz2", ".tbz"), bz2.open),
    **dict.fromkeys((".tar.xz", ".txz"), lzma.open),
}
"""How to read a tar, by its file's ending."""
SUFFIXES = (*_TAPES, ".zip")

# Older programs write names in their own system's encoding, and do not say in which.
_ENCODINGS = ("utf-8", "cp932", "gbk", "cp949", "big5", "cp437")
_UTF_8 = 0x800  # flag of a zip's member

# Images are compressed already: what unpacks to far more than its size is made to fill the disk.
_RATIO = 20
_SLACK = 1 << 28  # bytes, for archives of a few flat sketches

_Member = tuple[str, str, Any]
"""Name, what is wrong with its kind ("" for a regular file), and its handle."""


def is_archive(path: Path) -> bool:
    """Whether a path, there or not, is an archive's by its name."""
    return path.name.lower().endswith(SUFFIXES) and not isdir(path)


class _Budget:
    """How many bytes may still be read, of all streams together."""

    def __init__(self, archive: Path) -> None:
        self.limit = self.left = _RATIO * archive.stat().st_size + _SLACK

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise UserError(f"unpacks to more than {self.limit >> 20} MiB")


class _Bounded:
    """A stream that is read at the expense of a budget."""

    def __init__(self, stream: Any, budget: _Budget) -> None:
        self.stream, self.budget = stream, budget

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.budget.spend(len(data))
        return data


def _decoded(names: list[bytes]) -> dict[bytes, str]:
    """Names as text, in the first encoding in which all of them are, and have no backslash if possible."""
    readings = []
    for encoding in _ENCODINGS:
        with suppress(UnicodeDecodeError):
            readings.append({name: name.decode(encoding) for name in names})
    # The second byte of a character may be a backslash's: one that is left tells of another encoding.
    return min(readings, key=lambda reading: any("\\" in name for name in reading.values()))


def _raw(info: zipfile.ZipInfo) -> bytes:
    # Where the flag is not set, zipfile takes names for cp437, which has a character for every byte.
    return info.orig_filename.encode("utf-8" if info.flag_bits & _UTF_8 else "cp437")


def _in_zip(packed: zipfile.ZipFile) -> Iterator[_Member]:
    infos = [info for info in packed.infolist() if not info.is_dir()]
    names = _decoded([_raw(info) for info in infos])
    for info in infos:
        yield names[_raw(info)], _kind_in_zip(info), info


def _in_tar(tape: tarfile.TarFile) -> Iterator[_Member]:
    for member in tape:
        if not member.isdir():
            name = member.name.encode("utf-8", "surrogateescape")
            yield _decoded([name])[name], _kind_in_tar(member), member


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[Iterator[_Member], Any]]:
    """An archive's members in their order, and how to open the one at hand."""
    budget = _Budget(archive)
    lower = archive.name.lower()
    if lower.endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            yield _in_zip(packed), lambda info: _Bounded(packed.open(info), budget)
        return
    opened = next(opened for suffix, opened in _TAPES.items() if lower.endswith(suffix))
    with (
        opened(archive) as stream,
        # As a stream, so that headers are bounded too.
        tarfile.open(fileobj=_Bounded(stream, budget), mode="r|") as tape,  # type: ignore[call-overload]
    ):
        yield _in_tar(tape), tape.extractfile


def _kind_in_zip(info: zipfile.ZipInfo) -> str:
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        return "is a link"
    return "" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "is no regular file"


def _kind_in_tar(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return "is a link"
    return "" if member.isreg() and not member.issparse() else "is no regular file"


def _fault(name: str, kind: str) -> str:
    """What is wrong with a member by its name and kind; nothing if it may be unpacked."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        return "leads out of the archive"
    return name_fault(name) or kind


def _write(stream: Any, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        shutil.copyfileobj(stream, out)


def unpack(archive: Path, folder: Path) -> list[str]:
    """Write the images of ``archive`` below ``folder``.

    Returns:
        A line for every member that is refused, without the archive's name.

    Raises:
        UserError: it is missing, damaged, encrypted, or unpacks to far more than its size.
    """
    faults = []
    try:
        with _opened(archive) as (members, open_member):
            for name, kind, member in members:
                if fault := _fault(name, kind):
                    faults.append(f"{shown(name)}: {fault}")
                elif is_image_name(target := folder / name):
                    try:
                        _write(open_member(member), target)
                    except FileExistsError:
                        faults.append(f"{shown(name)}: stands in it twice")
    except FileNotFoundError:
        raise UserError(f"data.folder.path: {shown(archive)}: no such file") from None
    except UserError as error:
        raise UserError(f"{shown(archive)}: {error}") from None
    except Exception as error:  # the decoders raise many kinds for damaged files
        if is_full(error):
            raise
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"{shown(archive)}: not readable as an archive ({shown(reason)})") from None
    return faults


def innermost(folder: Path, layout: set[str]) -> Path:
    """The folder below ``folder`` where its layout begins: many archives hold one folder with everything.

    Args:
        folder: of the unpacked archive.
        layout: names of folders that a layout begins with.
    """
    inside = list(folder.iterdir())
    if len(inside) == 1 and inside[0].is_dir() and inside[0].name not in layout:
        return innermost(inside[0], layout)
    return folder
