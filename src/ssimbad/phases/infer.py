"""A row's images of every setting."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from ssimbad.data.image_set import ImageSet
from ssimbad.devices import compile_in_place, device_of
from ssimbad.distributed import all_gather, process_group, world_of
from ssimbad.files import sha256_file, write_json
from ssimbad.inference import (
    colorized,
    count_parameters,
    counted_calls,
    flops_per_image,
    noise_spread,
    write_images,
)
from ssimbad.methods import model_of
from ssimbad.phases.code import code_of
from ssimbad.phases.trained import read_choice, read_trained
from ssimbad.provenance import code_version, machine
from ssimbad.settings import inferred

if TYPE_CHECKING:
    from torch import Tensor

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
        method, header = read_trained(config.trained, results, config.trained_by)
        record |= {"checkpoint": sha256_file(results.checkpoint(config.trained)), "header": header}
    sampling = config.method
    if config.sampled_by is not None:
        assert sampling is not None
        first = sha256_file(
            results.checkpoint(config.trained.row)
        )  # of the first seed, swept for all
        sampling, record["choice"] = read_choice(
            results.choice(run), type(sampling), config.sampled_by, first
        )
    record["sampling"] = None if sampling is None else sampling.model_dump(mode="json")
    if world.rank == 0:
        record["flops_per_image"] = flops_per_image(method, sampling, config.data.size)
    device = device_of(config.device, world)
    if config.compile and method.backbone is not None:
        compile_in_place(method.backbone, device)
    test_set, folder = (
        ImageSet(results.data, "test", config.seed, config.data.warp),
        results.images(run),
    )
    with process_group(world, device):
        method = method.to(device).eval()
        start = time.monotonic()
        with counted_calls(method) as calls:
            for setting in inferred():
                images_of = partial(colorized, method, sampling, test_set, setting, device)
                write_images(
                    images_of,
                    test_set.names,
                    config.infer.batch,
                    folder / setting,
                    f"infer {run} {setting}",
                    world,
                )
        seconds = time.monotonic() - start
        counts = all_gather(world, sum(calls))
    if world.rank == 0:

        def samples_of(names: list[str], sample: int) -> Tensor:
            return colorized(method, sampling, test_set, "same", device, names, sample)

        record |= {
            "seconds": round(seconds, 2),
            "noise_spread": noise_spread(samples_of, test_set.names, config.infer.batch),
            "network_calls": sum(counts) / (len(inferred()) * len(test_set.names)),
            "parameters": count_parameters(method),
            "machine": machine(device),
            "processes": world.size,
        }
        write_json(folder / "infer.json", record)
