"""What a training keeps so that a killed one goes on, in a folder of its own among its run's."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ssimbad.errors import UserError, shown
from ssimbad.files import read_json, write_json
from ssimbad.machine import try_lock

_PATIENCE = 60  # seconds to wait for another trainer to leave
_STATE, _IDENTITY = "last.ckpt", "identity.json"


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    """The keys whose values differ, at the depth where they do."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [name]
    keys = sorted(old.keys() | new.keys())
    prefix = f"{name}." if name else ""
    return [d for key in keys for d in _differences(old.get(key), new.get(key), f"{prefix}{key}")]


def _read_identity(path: Path) -> dict[str, Any] | None:
    """Another training's identity; None of a damaged one, which is no reason not to train."""
    try:
        identity = read_json(path)
    except UserError:
        return None
    return identity if isinstance(identity, dict) else None


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class SavedState:
    """The resumable state of one training; a training of another identity has another.

    Attributes:
        run: the run's folder, in which each identity has its own.
        identity: everything that determines the outcome, as JSON holds it.
    """

    run: Path
    identity: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where this training's files and logs lie."""
        text = json.dumps(self.identity, sort_keys=True)
        return self.run / hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def file(self) -> Path:
        """The whole state after some step."""
        return self.folder / _STATE

    def weights(self, step: int) -> Path:
        """The averaged weights after ``step`` steps."""
        return self.folder / f"best-{step:07d}.safetensors"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run's folder against a second trainer for as long as this process lives.

        A trainer whose Snakemake was killed needs a moment to save its state and leave.

        Raises:
            UserError: it does not leave.
        """
        self.run.mkdir(parents=True, exist_ok=True)
        with (self.run / "lock").open("w") as stream:
            deadline = time.monotonic() + _PATIENCE
            while not try_lock(stream, self.run):
                if time.monotonic() > deadline:
                    raise UserError(
                        f"{shown(self.run)}: another process is training here: wait until it has ended"
                    )
                time.sleep(0.1)
            yield

    def saved_step(self) -> int | None:
        """The step to go on from; None where there is no state, or, as a line tells, a damaged one.

        Raises:
            UserError: the system does not let it be read, which says nothing of its worth.
        """
        if not self.file.exists():
            return None
        try:
            return torch.load(self.file, map_location="cpu", weights_only=True)["global_step"]
        except OSError as error:
            raise UserError(f"{self.file}: not readable ({error.strerror}), and is kept") from None
        except Exception as error:  # torch raises many kinds for a damaged file
            _tell(f"{self.file}: not readable, starting over ({type(error).__name__})")
            return None

    def begin(self) -> None:
        """Note whose state is to come; a line tells of each other training's that is kept."""
        for other in sorted(self.run.glob(f"*/{_IDENTITY}")):
            if other.parent == self.folder or not other.with_name(_STATE).exists():
                continue
            identity = _read_identity(other)
            if identity is None:
                _tell(
                    f"{other.parent}: holds an unfinished training, and is kept: of what, its"
                    f" {_IDENTITY} does not say. This training starts at step 0"
                )
                continue
            changed = ", ".join(_differences(identity, self.identity))
            _tell(
                f"{other.parent}: holds an unfinished training of other {shown(changed)}, and is kept:"
                " undo that change to go on with it. This training starts at step 0"
            )
        write_json(self.folder / _IDENTITY, self.identity)

    def keep_weights(self, steps: Iterable[int]) -> None:
        """Remove the weights of all other steps."""
        kept = {self.weights(step) for step in steps}
        for path in self.folder.glob("best-*.safetensors"):
            if path not in kept:
                path.unlink()

    def discard(self) -> None:
        """Remove the state of a training whose checkpoint is written; its logs stay."""
        # The state first: one without its weights could not be gone on from.
        self.file.unlink(missing_ok=True)
        self.keep_weights([])
        (self.folder / _IDENTITY).unlink(missing_ok=True)
