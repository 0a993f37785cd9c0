"""Ways of sampling a row, measured on validation images, and the choice among them.

Every training seed of the row samples as is chosen for the first one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssimbad.data.image_set import ImageSet
from ssimbad.devices import device_of
from ssimbad.evaluation.pairs import Networks
from ssimbad.evaluation.records import to_csv
from ssimbad.evaluation.sweep import choose, records_of, sweep
from ssimbad.files import sha256_file, write_json, write_text
from ssimbad.phases.trained import read_trained

if TYPE_CHECKING:
    from ssimbad.layout import Results
    from ssimbad.phases.slices import PhaseConfig


def run(config: PhaseConfig, results: Results) -> None:
    """Measure ways of sampling, and write them and the one that is best."""
    run = config.run
    assert run is not None
    assert config.method is not None
    method, _ = read_trained(config.trained, results, config.trained_by)
    images = ImageSet(results.data, "validation", config.seed, config.data.warp)
    networks = Networks(config.weights, device_of(config.device))
    trials = sweep(
        method, config.method, images, config.sweep, config.infer.batch, networks, f"sweep {run}"
    )
    count = min(config.sweep.images, len(images.names))
    metric = config.sweep.objective
    chosen = choose(trials, metric, config.sweep.tolerance)
    records = records_of(trials, chosen, count)
    choice = {
        "row": run,
        "config": config.digest,
        "checkpoint": sha256_file(results.checkpoint(config.trained)),
        "sampling": chosen.sampling.model_dump(mode="json"),
        "metric": metric,
        "value": chosen.value(metric),
        "settings": list(chosen.measured),
        "network_calls": chosen.calls,
        "candidates": len(trials),
        "split": "validation",
        "images": count,
    }
    write_text(results.sweep / f"{run}.csv", to_csv(records, list(records[0])))
    write_json(results.choice(run), choice)
