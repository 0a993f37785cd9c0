"""Each phase on a GPU as this project runs it against the plain published protocol on the same GPU."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import phi_search
from benchmarks.batches import make_store, plain_item, unturned
from benchmarks.case import Case, Measured
from benchmarks.faces import write_faces
from benchmarks.train_step import PAPER, make_batch, make_method
from ssimbad.config.files import load
from ssimbad.data.warp import draw_controls
from ssimbad.devices import compile_in_place, training_layout
from ssimbad.methods.draws import Draws
from ssimbad.methods.schema import RefinementConfig, SamplingConfig
from ssimbad.pretrained.networks import Inception, lpips_network
from ssimbad.rng import torch_generator
from ssimbad.training.batches import Prefetched, TrainingBatches
from ssimbad.training.optimizer import build

if TYPE_CHECKING:
    from ssimbad.methods.ssimbad.model import SSIMBaD
    from ssimbad.networks.schema import UNetConfig

SEED = 0


@dataclass(frozen=True)
class Scale:
    """How large everything is; the paper's sizes, and as many rounds as ten minutes are thought to hold.

    Attributes:
        unet: the network.
        size: side of the images in pixels.
        batch: images of a training step, and at once in inference, loading and evaluation.
        refined, refined_together: images of a refinement step, as published and as memory allows.
        unrolled: Euler steps of it; the published 50 take 50 / unrolled times as long.
        sampled: noise levels of the inference that the published 500 are extrapolated from.
        phi_size, phi_points: of the search, on one image.
        evaluated: images that the metric networks measure.
        rounds: how often both sides of a case are measured, in turns.
    """

    unet: UNetConfig = PAPER
    size: int = 256
    batch: int = 32
    refined: int = 1
    refined_together: int = 8
    unrolled: int = 8
    sampled: int = 8
    phi_size: int = 128
    phi_points: int = 50
    evaluated: int = 64
    rounds: int = 5


Timer = Callable[[Callable[[], Any]], Measured]


class Bench:
    """The cases, on one device.

    Args:
        device: where.
        scale: how large.
        folder: for files, which nobody else has.
    """

    def __init__(self, device: torch.device, scale: Scale, folder: Path) -> None:
        self.device, self.scale, self.folder = device, scale, folder
        self.half = "16-mixed" if device.type == "cuda" else "bf16-mixed"
        self.cases: dict[str, Callable[[], Case]] = {
            "phi_search": self.phi_search,
            "train_step": self.train_step,
            "train_step_compiled": lambda: self.train_step(compiled=True),
            "refine_step": lambda: self.refine_step(scale.refined),
            "refine_step_together": lambda: self.refine_step(scale.refined_together),
            "inference": self.inference,
            "inference_compiled": lambda: self.inference(compiled=True),
            "batches": self.batches,
            "inception": lambda: self.metric_network("inception"),
            "lpips": lambda: self.metric_network("lpips"),
            # Last: its translation takes the longest.
            "refine_step_compiled": lambda: self.refine_step(scale.refined, compiled=True),
        }

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def timer(self, notes: dict[str, Any], side: str) -> Timer:
        """Seconds until the device is done; its most memory of all rounds goes into ``notes``, in MiB."""
        key = f"{side}_peak_mib"
        notes[key] = 0.0 if self.device.type == "cuda" else None

        def timed(work: Callable[[], Any]) -> Measured:
            self._wait()
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
            start = time.perf_counter()
            result = work()
            self._wait()
            took = time.perf_counter() - start
            if self.device.type == "cuda":
                peak = torch.cuda.max_memory_allocated(self.device) / 2**20
                notes[key] = max(notes[key], peak)
            return took, result

        return timed

    def _autocast(self) -> torch.autocast:
        dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        return torch.autocast(self.device.type, dtype)

    def _methods(self) -> tuple[SSIMBaD, SSIMBaD]:
        plain = make_method(self.scale.unet).to(self.device)
        layout = training_layout(plain, self.device)
        ours = copy.deepcopy(plain).to(memory_format=layout)  # type: ignore[call-overload]
        return plain, ours

    def _case(
        self,
        name: str,
        images: int,
        precision: str,
        sides: tuple[Callable[[int], Any], Callable[[int], Any]],
        difference: Callable[[Any, Any], float],
        compared: str,
        flops: float | None = None,
        rounds: int | None = None,
        **notes: Any,
    ) -> Case:
        notes |= {"images": images, "precision": precision}
        plain, ours = (self.timer(notes, side) for side in ("plain", "our"))
        sides[0](0), sides[1](0)  # libraries loaded, kernels chosen and compiled
        return Case(
            name,
            f"s for {images} images",
            lambda number: plain(lambda: sides[0](number)),
            lambda number: ours(lambda: sides[1](number)),
            difference,
            compared,
            rounds or self.scale.rounds,
            target=1.0,
            flops=flops,
            notes=notes,
        )

    def phi_search(self) -> Case:
        """All candidates on one image; plain: scikit-image on the CPU."""
        scale = self.scale
        changes = {"images": 1, "size": scale.phi_size, "points": scale.phi_points}
        section = phi_search.CONFIG.model_copy(update=changes)
        search = phi_search.make_search(SEED, section, self.device)
        return self._case(
            "phi_search",
            1,
            "32-true",
            (lambda _: phi_search.plain(search), lambda _: phi_search.ours(search)),
            lambda a, b: float(np.abs(np.subtract(a, b)).max()),
            "largest difference of R²",
            rounds=1,
        )

    def train_step(self, compiled: bool = False) -> Case:
        """16-mixed; plain: torch's default layout and optimizer."""
        batch = make_batch(self.scale.batch, self.scale.size).to(self.device)
        plain, ours = self._methods()
        schedule = load([]).train.model_copy(
            update={"optimizer": "adamw", "lr": 1e-4, "precision": self.half}
        )

        def stepper(method: SSIMBaD, optimizer: torch.optim.Optimizer) -> Callable[[int], float]:
            scaler = torch.amp.GradScaler(self.device.type, enabled=self.device.type == "cuda")

            def step(number: int) -> float:
                optimizer.zero_grad()
                with self._autocast():
                    draws = Draws(torch_generator(SEED, number), self.scale.batch)
                    losses = method.training_losses(batch, draws)
                    loss = torch.stack([v.float() for v in losses.values()]).sum()
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(method.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                return loss.item()

            return step

        sides = (
            stepper(plain, torch.optim.AdamW(plain.parameters(), lr=1e-4, weight_decay=0.01)),
            stepper(ours, build(ours.optimizer_groups(schedule.lr), schedule)),
        )
        with FlopCounterMode(display=False) as counter:
            sides[0](0)
        sides[1](0)  # as many steps as the plain side
        if compiled:
            compile_in_place(ours.network, self.device)
        return self._case(
            "train_step_compiled" if compiled else "train_step",
            self.scale.batch,
            self.half,
            sides,
            lambda a, b: abs(a - b) / abs(a),
            "relative difference of the losses, step by step",
            counter.get_total_flops(),
        )

    def refine_step(self, images: int, compiled: bool = False) -> Case:
        """Forward and backward, 16-mixed; plain: every activation kept."""
        scale = self.scale
        batch = make_batch(images, scale.size).to(self.device)

        def side(method: SSIMBaD, checkpointing: bool) -> Callable[[int], float]:
            part = RefinementConfig(
                steps=scale.unrolled, single_step=0.0, last_call=True, checkpointing=checkpointing
            )

            def step(number: int) -> float:
                method.zero_grad()
                with self._autocast():
                    sampled = method.rollout(
                        batch, Draws(torch_generator(SEED, number), images), part
                    )
                    loss = ((sampled - batch.target) ** 2).mean()
                loss.backward()
                return loss.item()

            return step

        plain, ours = self._methods()
        sides = side(plain, False), side(ours, True)
        with FlopCounterMode(display=False) as counter:
            sides[1](0)
        if compiled:
            compile_in_place(ours.network, self.device)
        name = "refine_step_together" if images > scale.refined else "refine_step"
        return self._case(
            "refine_step_compiled" if compiled else name,
            images,
            self.half,
            sides,
            lambda a, b: abs(a - b) / abs(a),
            "relative difference of the losses",
            counter.get_total_flops(),
            unrolled_steps=scale.unrolled,
        )

    def inference(self, compiled: bool = False) -> Case:
        """Heun, as published, through few noise levels; a note extrapolates to its 500."""
        scale = self.scale
        batch = make_batch(scale.batch, scale.size).to(self.device)
        noise = Draws(torch_generator(SEED), scale.batch).noise(batch.target)
        sampling = SamplingConfig(
            sampler="heun",
            steps=scale.sampled,
            last_call=True,
            spacing="own",
            sigma_max=0.0,
            guidance=1.0,
        )

        def side(method: SSIMBaD) -> Callable[[int], Tensor]:
            @torch.inference_mode()
            def colorize(number: int) -> Tensor:
                return method.colorize(batch.sketch, batch.reference, lambda _: noise, sampling)

            return colorize

        plain, ours = self._methods()
        sides = side(plain.eval()), side(ours.eval())
        with FlopCounterMode(display=False) as counter:
            sides[1](0)
        if compiled:
            compile_in_place(ours.network, self.device)
        calls = 2 * scale.sampled - 1
        return self._case(
            "inference_compiled" if compiled else "inference",
            scale.batch,
            "32-true",
            sides,
            lambda a, b: float((a - b).abs().mean() / 2),
            "mean absolute difference of pixels in [0, 1]",
            counter.get_total_flops(),
            network_calls=calls,
            published_over_measured_calls=999 / calls,
        )

    def batches(self) -> Case:
        """Made on the device; plain: an image at a time on the CPU, then moved."""
        scale, warp = self.scale, unturned()
        files = write_faces(self.folder / "faces", max(2 * scale.batch, 40), scale.size)
        split = make_store(files, self.folder / "store")
        made = TrainingBatches(split, warp, SEED, scale.batch, "train")
        sketches = {name: self.folder / f"{name}.sketch.png" for name in split.names}
        for name, pixels in zip(split.names, split.sketches, strict=True):
            Image.fromarray(pixels).save(sketches[name])
        images = {path.stem: path for path in files}

        def plain(number: int) -> Tensor:
            names = made.raw(number).names
            addresses = [(n, number * scale.batch // len(split)) for n in names]
            source, target, _ = (v.numpy() for v in draw_controls(warp, SEED, addresses))
            items = [
                plain_item(images[n], sketches[n], s, t)
                for n, s, t in zip(names, source, target, strict=True)
            ]
            stacks = [torch.from_numpy(np.stack(side)) for side in zip(*items, strict=True)]
            return [t.to(self.device) for t in stacks][2]

        def ours(number: int) -> Tensor:
            (batch,) = Prefetched(made, range(number, number + 1), self.device)
            return batch.target.permute(0, 2, 3, 1)

        return self._case(
            "batches",
            scale.batch,
            "32-true",
            (plain, ours),
            lambda a, b: float((a - b).abs().mean() / 2),
            "mean absolute difference of the truth's pixels in [0, 1]",
        )

    def metric_network(self, name: str) -> Case:
        """Inception or LPIPS's AlexNet; plain: an image at a time."""
        scale, weights = self.scale, load([]).weights
        network: nn.Module = (
            Inception(weights) if name == "inception" else lpips_network("alex", weights)
        ).to(self.device)
        truth = make_batch(scale.evaluated, scale.size).to(self.device)
        given = [t / 2 + 0.5 for t in (truth.target, truth.reference)][: 1 + (name == "lpips")]

        def side(batch: int) -> Callable[[int], Tensor]:
            @torch.inference_mode()
            def measure(number: int) -> Tensor:
                parts = zip(*(t.split(batch) for t in given), strict=True)
                return torch.cat([network(*part).flatten(1) for part in parts]).cpu()

            return measure

        with FlopCounterMode(display=False) as counter:
            side(scale.batch)(0)
        return self._case(
            name,
            scale.evaluated,
            "32-true",
            (side(1), side(scale.batch)),
            lambda a, b: float((a - b).abs().max() / a.abs().max()),
            "largest difference, of the largest value",
            counter.get_total_flops(),
        )
