"""What a number was made with: code, packages, machine."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import ssimbad
from ssimbad.files import sha256_file

_PACKAGES = [
    "torch",
    "torchvision",
    "pytorch-lightning",
    "numpy",
    "opencv-python-headless",
    "scipy",
    "scikit-image",
    "lpips",
    "pytorch-fid",
    "dicebear-core",
    "dicebear-styles",
    "resvg-py",
    "pillow",
]


def code_version() -> dict[str, Any]:
    """Package version, and commit and dirty flag where the code runs from a git checkout."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    found: dict[str, Any] = {"version": ssimbad.__version__, "commit": None, "dirty": None}
    try:
        # An installed copy inside somebody else's repository is not that repository's code.
        git("ls-files", "--error-unmatch", __file__)
        found["commit"] = git("rev-parse", "HEAD")
        found["dirty"] = bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        pass
    return found


def package_digest() -> str:
    """SHA-256 of the package's own source files."""
    folder = Path(__file__).parent
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        total.update(f"{path.relative_to(folder)} {sha256_file(path)}\n".encode())
    return total.hexdigest()


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
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "python": platform.python_version(),
    }


def packages() -> dict[str, str]:
    """Versions of the packages that numbers depend on."""
    return {name: version(name) for name in _PACKAGES}
