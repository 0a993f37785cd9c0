"""What other phases left, read as this run's own: φ*, and a run's checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssimbad.errors import UserError
from ssimbad.files import read_json, sha256_file
from ssimbad.noise.transforms import Phi
from ssimbad.training import checkpoint

if TYPE_CHECKING:
    from ssimbad.layout import Results
    from ssimbad.methods import Run
    from ssimbad.methods.base import NetworkMethod


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
    """A run's model and header, from a checkpoint that is this run's own.

    Raises:
        UserError: the checkpoint is missing, damaged, or of another row, data, φ or config.
    """
    path = results.checkpoint(run)
    method, header = checkpoint.load(path)
    expected = {
        "row": run.trained,
        "data": sha256_file(results.data / "manifest.json"),
        "phi": read_phi(results).to_dict(),
        "config": trained_by or header.get("config"),
    }
    for key, value in expected.items():
        if header.get(key) != value:
            raise UserError(f"{path}: is of another {key} than this run's")
    return method, header
