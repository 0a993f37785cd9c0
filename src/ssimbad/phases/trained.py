"""What other phases left, read as this run's own: φ*, a run's checkpoint, and how it is to sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ssimbad.errors import UserError
from ssimbad.files import read_json, sha256_file
from ssimbad.noise.transforms import Phi
from ssimbad.training import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from ssimbad.layout import Results
    from ssimbad.methods import Run
    from ssimbad.methods.base import NetworkMethod
    from ssimbad.schema import Section


def read_phi(results: Results) -> Phi:
    """The φ that the phi phase chose.

    Raises:
        UserError: its file is missing, or holds none.
    """
    stored = read_json(results.phi / "phi.json")
    try:
        return Phi(**{key: stored[key] for key in ("name", "c", "sigma_min", "sigma_max")})
    except (KeyError, TypeError):
        raise UserError(f"{results.phi / 'phi.json'}: not a φ") from None


def read_trained(
    run: Run, results: Results, trained_by: list[str] | None = None
) -> tuple[NetworkMethod, dict[str, Any]]:
    """A trained run's model and header, from the checkpoint that is its own.

    Args:
        run: the run that was trained.
        results: where everything lies.
        trained_by: the digests that its training stages must have had; None: any.

    Raises:
        UserError: the checkpoint is missing, damaged, or of another row, data, φ or config.
    """
    path = results.checkpoint(run)
    method, header = checkpoint.load(path)
    expected = {
        "row": run,
        "data": sha256_file(results.data / "manifest.json"),
        "phi": read_phi(results).to_dict(),
        "config": trained_by or header.get("config"),
    }
    for key, value in expected.items():
        if header.get(key) != value:
            raise UserError(f"{path}: is of another {key} than this run's")
    return method, header


def read_choice(
    path: Path, kind: type[Section], config: str | None = None, checkpoint: str | None = None
) -> tuple[Section, dict[str, Any]]:
    """What the sweep chose: the section that says how to sample, and the whole record.

    Args:
        path: the sweep's file.
        kind: the schema of the section.
        config: the digest of what the sweep must have read of the config; None: any.
        checkpoint: SHA-256 of the weights that it must have measured; None: any.

    Raises:
        UserError: the file is missing, holds no choice, or one of another config or checkpoint.
    """
    choice = read_json(path)
    try:
        sampling = kind.model_validate(choice["sampling"])
    except (ValidationError, KeyError, TypeError):
        raise UserError(f"{path}: not a choice of sampling") from None
    for key, expected in {"config": config, "checkpoint": checkpoint}.items():
        if expected is not None and choice.get(key) != expected:
            raise UserError(f"{path}: is of another {key} than this run's")
    return sampling, choice
