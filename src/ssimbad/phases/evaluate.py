"""A row's metrics in both settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssimbad.data.store import read_pairs
from ssimbad.devices import device_of
from ssimbad.evaluation.measure import Measurer, measure_row
from ssimbad.files import read_json
from ssimbad.phases.code import code_of
from ssimbad.provenance import code_version

if TYPE_CHECKING:
    from ssimbad.layout import Results
    from ssimbad.phases.slices import PhaseConfig


def run(config: PhaseConfig, results: Results) -> None:
    """Measure the images."""
    run = config.run
    assert run is not None
    partners = read_pairs(results.data)
    folder = results.images(run)
    measurer = Measurer(
        results.data,
        config.evaluate,
        config.seed,
        config.weights,
        device_of(config.device),
        results.features,
    )
    measure_row(
        measurer,
        run,
        {
            "same": (folder / "same", {name: name for name in partners}),
            "cross": (folder / "cross", partners),
        },
        data=results.data,
        record={
            "infer": read_json(folder / "infer.json"),
            "config": config.values,
            "code": code_version(code_of("evaluate", run)),
        },
        of_set=run.stage != "none",
        output=results.metrics(run),
    )
