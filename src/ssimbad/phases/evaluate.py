"""A row's metrics in every setting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ssimbad.data.image_set import ImageSet
from ssimbad.devices import device_of
from ssimbad.evaluation.measure import Measurer, write_measurements
from ssimbad.evaluation.pairs import Networks
from ssimbad.files import read_json
from ssimbad.phases.code import code_of
from ssimbad.provenance import code_version

if TYPE_CHECKING:
    from ssimbad.layout import Results
    from ssimbad.phases.slices import PhaseConfig


def measurer_of(config: PhaseConfig, results: Results, features: Path | None = None) -> Measurer:
    """What measures a run's images, as the config of this phase says.

    Args:
        config: the config.
        results: the run's results.
        features: where Inception features are kept; None: in the results.
    """
    return Measurer(
        ImageSet(results.data, "test", config.seed),
        config.evaluate,
        Networks(config.weights, device_of(config.device)),
        features or results.features,
    )


def run(config: PhaseConfig, results: Results) -> None:
    """Measure the images."""
    run = config.run
    assert run is not None
    measurer = measurer_of(config, results)
    record = {
        "infer": read_json(results.images(run) / "infer.json"),
        "config": config.values,
        "code": code_version(code_of("evaluate", run)),
    }
    write_measurements(measurer, run, record, results)
