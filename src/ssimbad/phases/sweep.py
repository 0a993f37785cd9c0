"""A row's quality against network calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssimbad.data.image_set import ImageSet
from ssimbad.devices import device_of
from ssimbad.evaluation.pairs import Networks
from ssimbad.evaluation.records import to_csv
from ssimbad.evaluation.sweep import sweep
from ssimbad.files import write_text
from ssimbad.phases.trained import read_trained

if TYPE_CHECKING:
    from ssimbad.layout import Results
    from ssimbad.phases.slices import PhaseConfig


def run(config: PhaseConfig, results: Results) -> None:
    """Measure the row with every sampler and number of steps."""
    run = config.run
    assert run is not None
    assert config.method is not None
    method, _ = read_trained(run, results, config.trained_by)
    test_set = ImageSet(results.data, "test", config.seed, config.data.warp)
    networks = Networks(config.weights, device_of(config.device))
    records = sweep(method, config.method, test_set, config.sweep, networks, f"sweep {run}")
    write_text(results.sweep / f"{run}.csv", to_csv(records, list(records[0])))
