"""What a number was made with: code, packages, machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ssimbad
from ssimbad.files import sha256_file

if TYPE_CHECKING:
    import grimp
    import torch

_FOLDER = Path(__file__).parent
_WORKFLOW = 'extra == "workflow"'  # marks the packages of that extra


@cache
def _imports() -> grimp.ImportGraph:
    import grimp

    graph = grimp.build_graph("ssimbad", exclude_type_checking_imports=True, cache_dir=None)
    # This package imports all that lies in it, by name, which no statement says.
    for source in graph.find_children("ssimbad.data.sources"):
        graph.add_import(importer="ssimbad.data.sources", imported=source)
    return graph


def modules_of(entries: Iterable[str]) -> dict[str, Path]:
    """The package's modules that these import, at their top or in a function, and they: name → file.

    A package whose module is imported runs too, and so is among them, with the files that lie with it.
    """
    found = set(entries)
    for entry in tuple(found):
        found |= _imports().find_upstream_modules(entry)
    for name in tuple(found):
        parents = name.split(".")
        found |= {".".join(parents[:k]) for k in range(1, len(parents))}
    files = {name: _file_of(name) for name in sorted(found)}
    for name, path in tuple(files.items()):
        if path.name == "__init__.py":
            files |= {f"{name}/{file}": path.parent / file for file in _data_of(path.parent)}
    return files


def _file_of(module: str) -> Path:
    path = _FOLDER.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _data_of(package: Path) -> list[str]:
    """The files beside a package's modules that these read, such as templates, seen from the package."""
    suffixes = {".jinja", ".css", ".js"}
    found = (p for p in package.glob("*/*") if p.suffix in suffixes)
    return sorted(p.relative_to(package).as_posix() for p in found)


def digests(modules: dict[str, Path]) -> dict[str, str]:
    """SHA-256 of each module's source."""
    return {name: sha256_file(path) for name, path in modules.items()}


def code_version(modules: dict[str, Path]) -> dict[str, Any]:
    """Package version, digests of the modules that ran, and commit and dirty flag of a git checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(_FOLDER), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    found: dict[str, Any] = {"version": ssimbad.__version__, "commit": None, "dirty": None}
    try:
        # An installed copy inside somebody else's repository is not that repository's code.
        git("ls-files", "--error-unmatch", __file__)
        found["commit"] = git("rev-parse", "HEAD")
        found["dirty"] = bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        pass
    return found | {"modules": digests(modules)}


def processor() -> str:
    """The CPU's model name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine(device: torch.device) -> dict[str, Any]:
    """Processor, threads and, where one is used, the GPU."""
    import torch

    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "python": platform.python_version(),
    }


def packages() -> dict[str, str]:
    """Versions of the packages that the project declares and that are there: not every machine has all."""
    found = {}
    for name in sorted(_declared()):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _declared() -> list[str]:
    try:
        declared = [t for t in requires("ssimbad") or [] if "extra ==" not in t or _WORKFLOW in t]
    except PackageNotFoundError:  # run from a checkout that is not installed
        return ["torch"]
    return [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in declared]
