"""What pretraining and refinement share: fit a model, and leave its checkpoint, history and summary."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ssimbad.data.store import Split
from ssimbad.devices import compile_in_place, device_of
from ssimbad.distributed import process_group, world_of
from ssimbad.files import sha256_file, write_json, write_text
from ssimbad.phases.code import code_of
from ssimbad.provenance import code_version, machine, packages
from ssimbad.training import checkpoint
from ssimbad.training.loop import TrainingStage, fit
from ssimbad.training.passes import passes
from ssimbad.training.state import SavedState

if TYPE_CHECKING:
    from ssimbad.layout import Results
    from ssimbad.methods.base import NetworkMethod
    from ssimbad.methods.schema import Unrolled
    from ssimbad.phases.slices import PhaseConfig


def fit_and_save(
    method: NetworkMethod,
    header: dict[str, Any],
    config: PhaseConfig,
    results: Results,
    refinement: Unrolled | None = None,
) -> None:
    """Fit a stage of a model, then write its checkpoint, history and summary.

    Args:
        method: the model, with the weights to start from.
        header: of the checkpoint, what the stage knows of it.
        config: the phase's.
        results: where everything lies.
        refinement: the part of that name of the method's section; None where no trajectory is unrolled.
    """
    run, stage, world = config.run, header["stage"], world_of(config.devices, config.nodes)
    assert run is not None
    device = device_of(config.device, world)
    if config.compile and method.backbone is not None:
        compile_in_place(method.backbone, device)
    train = Split(results.data, "train")
    schedule = config.schedule(len(train))
    header = header | {
        "seed": config.seed,
        "size": config.data.size,
        "warp": config.data.warp.model_dump(mode="json"),
        "data": sha256_file(results.data / "manifest.json"),
        "config": [*header.get("config", []), config.digest],
        "stages": [
            *header.get("stages", []),
            {"stage": stage, "network_passes": passes(schedule, refinement)}
            | schedule.model_dump(mode="json"),
        ],
    }
    code = code_version(code_of(stage, run))
    identity = {
        "config": config.values,
        "header": {k: v for k, v in header.items() if k not in ("config", "stages")},
        "code": code["modules"],
        "torch": version("torch"),
    }
    saved = SavedState(results.work(run), identity)
    training = TrainingStage(
        name=stage,
        schedule=schedule,
        refinement=refinement,
        train=train,
        validation=Split(results.data, "validation"),
        warp=config.data.warp,
        redrawn=config.data.make_source(config.seed).redrawn_share,
        seed=config.seed,
        weights=config.weights,
        device=device,
        world=world,
    )
    with process_group(world, device):
        history, summary = fit(method, training, saved, f"{stage} {run}")
    if world.rank:
        return
    lines = history.to_csv(index=False, lineterminator="\n", float_format="%.8g")
    write_text(results.history(run), lines)
    best = {key: summary[key] for key in ("step", schedule.choose_by)}
    networks = [*header.get("loss_networks", []), *summary["loss_networks"]]
    header |= {"best": best, "loss_networks": networks}
    checkpoint.save(results.checkpoint(run), method, header)
    write_json(
        results.history(run).with_suffix(".json"),
        summary
        | {
            "parameters": sum(p.numel() for p in method.parameters()),
            "checkpoint": sha256_file(results.checkpoint(run)),
            "packages": packages(),
            "code": code,
            "machine": machine(device),
            "processes": world.size,
        },
    )
    saved.discard()
