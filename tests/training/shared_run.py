"""One of the two processes of test_ddp.py: ``python -m tests.training.shared_run DATA FOLDER JSON``."""

import json
import math
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from ssimbad.config.files import load
from ssimbad.config.schema import validate
from ssimbad.data.store import Split
from ssimbad.distributed import World, process_group, world_of
from ssimbad.errors import UserError
from ssimbad.files import write_json
from ssimbad.methods import Run
from ssimbad.methods.base import Batch
from ssimbad.methods.draws import Draws
from ssimbad.methods.ssimbad.model import SSIMBaD
from ssimbad.noise.transforms import RATIONAL, Phi
from ssimbad.phases.slices import PhaseConfig
from ssimbad.training import checkpoint
from ssimbad.training.loop import TrainingStage, fit
from ssimbad.training.state import SavedState

CPU = torch.device("cpu")
RUNS = {"train": "ssimbad", "refine": "ssimbad_refined", "scft": "scft"}


class Poisoned(SSIMBaD):
    """Its loss is not a number in the second process's third step."""

    rank = 0
    calls = 0

    def training_losses(self, batch: Batch, draws: Draws) -> dict[str, torch.Tensor]:
        losses = super().training_losses(batch, draws)
        self.calls += 1
        return {
            k: v * (math.nan if self.rank and self.calls == 3 else 1) for k, v in losses.items()
        }


def run(data: Path, folder: Path, what: str, world: World) -> None:
    """Train a stage and leave history, weights, and the gradients of its first step, unclipped."""
    row = RUNS.get(what, "ssimbad")
    stage = "refine" if what == "refine" else "train"
    values = load([Path("config/tiny.yaml")]).model_dump(mode="json")
    values["refine"]["strategy"] = {"mse": 1.0, "ssim": 0.1, "lpips-vgg": 0.0, "clip": 0.0}
    values["scft"] |= {"perceptual": 0.0, "style": 0.0}
    # Behind a zero the first gradients are tiny, and Muon blows the rounding of sums in them up.
    values["unet"]["zero_init"] = False
    for recipe in (values["train"], values["refine"], values["scft"]["recipe"]):
        recipe["clip"] = 1e9
    loaded = validate(values)
    phase = PhaseConfig(loaded, stage, Run(row))
    section: Any = getattr(phase, stage)
    name = "scft" if what == "scft" else "ssimbad"
    method = checkpoint.build(
        name, getattr(loaded, name), loaded.unet, Phi(RATIONAL, 0.1, 0.002, 80.0), 1
    )
    if what == "poisoned":
        method.__class__, method.rank = Poisoned, world.rank
    validation = Split(data, "test")
    validation.names = validation.names[:5]  # 4 and 1: a process without an image

    names = {id(p): k for k, p in method.named_parameters()}
    gradients: dict[str, torch.Tensor] = {}
    clip = torch.nn.utils.clip_grad_norm_

    def clip_and_keep(parameters: list[torch.Tensor], *rest: Any, **more: Any) -> torch.Tensor:
        for p in parameters:
            assert p.grad is not None
            gradients.setdefault(names[id(p)], p.grad.clone())
        return clip(parameters, *rest, **more)

    folder.mkdir(exist_ok=True)
    with patch("torch.nn.utils.clip_grad_norm_", clip_and_keep):
        history, summary = fit(
            method,
            TrainingStage(
                name=stage,
                schedule=section,
                refinement=phase.method if stage == "refine" else None,
                train=Split(data, "train"),
                validation=validation,
                warp=phase.data.warp,
                redrawn=phase.data.make_source(phase.seed).redrawn_share,
                seed=1,
                weights="index",
                device=CPU,
                world=world,
            ),
            SavedState(folder / what, {"what": what}),
            what,
        )
    torch.save(gradients, folder / f"{what}-gradients-{world.rank}.pt")
    write_json(
        folder / f"{what}-{world.rank}.json",
        {"history": history.to_dict("list"), "summary": summary},
    )
    if world.rank == 0:
        torch.save(method.state_dict(), folder / f"{what}.pt")


def main() -> None:
    """As one of two."""
    data, folder, what = sys.argv[1:]
    world = world_of(2, 1)
    try:
        with process_group(world, CPU):
            for each in json.loads(what):
                run(Path(data), Path(folder), each, world)
    except UserError as error:
        sys.exit(f"ssimbad: {error}")


if __name__ == "__main__":
    main()
