"""A row's images of both settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssimbad.devices import compile_in_place, device_of
from ssimbad.distributed import process_group, world_of
from ssimbad.files import sha256_file
from ssimbad.inference import infer
from ssimbad.methods import model_of
from ssimbad.phases.code import code_of
from ssimbad.phases.trained import read_trained
from ssimbad.provenance import code_version

if TYPE_CHECKING:
    from ssimbad.layout import Results
    from ssimbad.methods.base import Method
    from ssimbad.phases.slices import PhaseConfig


def run(config: PhaseConfig, results: Results) -> None:
    """Colorize the test set."""
    run, world = config.run, world_of(config.devices, config.nodes)
    assert run is not None
    record: dict[str, Any] = {
        "row": run,
        "method": run.method,
        "stage": run.stage,
        "config": config.values,
        "code": code_version(code_of("infer", run)),
    }
    if run.stage == "none":
        method: Method = model_of(run.method)()
    else:
        method, header = read_trained(run, results, config.trained_by)
        record |= {"checkpoint": sha256_file(results.checkpoint(run)), "header": header}
    device = device_of(config.device, world)
    if config.compile and method.backbone is not None:
        compile_in_place(method.backbone, device)
    with process_group(world, device):
        infer(
            method,
            config.method,
            results.data,
            config.data.warp,
            config.seed,
            config.infer,
            device,
            results.images(run),
            record,
            world,
        )
