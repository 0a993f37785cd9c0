"""The plan command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssimbad.errors import UserError
from ssimbad.plan.disk import disk
from ssimbad.plan.gpus import gpus_of
from ssimbad.plan.table import table
from ssimbad.plan.workload import Workload

if TYPE_CHECKING:
    from ssimbad.config.schema import Config


def plan(
    config: Config, images: list[int], gpu_names: list[str], gpus: int, utilisation: float
) -> str:
    """The plan of a config as text.

    Args:
        config: the config.
        images: as :meth:`~ssimbad.data.sources.base.Source.counts` takes them.
        gpu_names: GPUs to give hours for; empty: all that are known.
        gpus: how many share the work.
        utilisation: share of their peak that is reached, in (0, 1].

    Raises:
        UserError: an argument is out of range, a GPU is not known, or the images cannot be counted.
    """
    if not 0 < utilisation <= 1:
        raise UserError(f"--utilisation {utilisation:g}: must be above 0 and at most 1")
    if gpus < 1:
        raise UserError(f"--gpus {gpus}: must be at least 1")
    known = gpus_of(gpu_names)
    counts = config.data.make_source(config.seed).counts(images)
    lines = list(Workload(config, counts, gpus).lines())
    return table(lines, disk(config, counts, lines), known, gpus, utilisation)
