"""A row's quality when the ground truth steers its sampling.

Its noise levels are those of the row's section: the sweep chooses for sampling that the truth does not steer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssimbad.data.image_set import ImageSet
from ssimbad.devices import device_of
from ssimbad.evaluation.oracle import oracle
from ssimbad.evaluation.pairs import Networks
from ssimbad.evaluation.records import to_csv
from ssimbad.files import write_text
from ssimbad.methods.denoising import DenoisingMethod
from ssimbad.methods.schema import SamplingConfig
from ssimbad.phases.trained import read_trained

if TYPE_CHECKING:
    from ssimbad.layout import Results
    from ssimbad.phases.slices import PhaseConfig


def run(config: PhaseConfig, results: Results) -> None:
    """Measure the row under oracle guidance."""
    run = config.run
    assert run is not None
    assert isinstance(config.method, SamplingConfig)
    method, _ = read_trained(config.trained, results, config.trained_by)
    assert isinstance(method, DenoisingMethod)
    records = oracle(
        method,
        config.method,
        ImageSet(results.data, "test", config.seed, config.data.warp),
        config.oracle,
        config.evaluate.resamples,
        Networks(config.weights, device_of(config.device)),
        f"oracle {run}",
    )
    records = [{"method": run} | record for record in records]
    write_text(results.oracle / f"{run}.csv", to_csv(records, list(records[0])))
