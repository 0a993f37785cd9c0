"""The Lightning loop: trains any method's stage, survives a kill, ends with one checkpoint.

A Lightning "epoch" here is one checkpoint interval. At its end the validation loss is taken with the
averaged weights, the best k of them are kept (the published choice, by the last batch's loss, is a
switch), and the whole state replaces the saved one. A SIGTERM saves the state after the running step, or
after the running validation, and ends the process. A batch, its noise and its warps depend on the step's
number alone, so a resumed run is the same run.

Where several processes share the batches, all know the same losses, history and choice of weights, and stop
after the same step; the first alone writes.
"""

from __future__ import annotations

import copy
import logging
import math
import signal
import time
import warnings
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from ssimbad.devices import training_layout
from ssimbad.distributed import SINGLE, World, broadcast, rank_zero_first
from ssimbad.errors import UserError
from ssimbad.files import whole_file
from ssimbad.interruption import NotedSigterm, Stopped
from ssimbad.methods.draws import Draws
from ssimbad.rng import torch_generator
from ssimbad.training.batches import EvaluationBatches, Prefetched, TrainingBatches
from ssimbad.training.lightning import (
    Callback,
    Checkpoint,
    DDPStrategy,
    LightningEnvironment,
    LightningModule,
    TensorBoardLogger,
    Trainer,
    WeightAveraging,
)
from ssimbad.training.objective import objectives
from ssimbad.training.optimizer import build, clip_gradients
from ssimbad.training.schema import Schedule, learning_rate

if TYPE_CHECKING:
    from ssimbad.data.schema import WarpConfig
    from ssimbad.data.store import Split
    from ssimbad.methods.base import Batch, NetworkMethod
    from ssimbad.methods.declaration import Stage
    from ssimbad.schema import Section
    from ssimbad.training.objective import ByProgress, Objective
    from ssimbad.training.state import SavedState

_LOG_EVERY = 10  # steps


@dataclass(frozen=True)
class TrainingStage:
    """How a stage of a method is trained; with the weights it starts from, all that decides the outcome.

    Attributes:
        name: ``train`` or ``refine``, by which randomness is drawn.
        schedule: how to optimise, counted in steps; a ``RefineConfig`` where it is on the images that the
            method makes.
        refinement: the part of that name of the method's section, where the stage is the refinement.
        train, validation: the splits; the latter may be empty where it does not choose.
        warp: how references are warped.
        redrawn: the share of training references that are another drawing in the image's colours.
        seed: the run's seed.
        weights: where loss networks' weights may come from.
        device: where to train.
        world: the processes that share the batches, in one process group.
    """

    name: Stage
    schedule: Schedule
    refinement: Section | None
    train: Split
    validation: Split
    warp: WarpConfig
    redrawn: float
    seed: int
    weights: str
    device: torch.device
    world: World = SINGLE

    def draws(self, address: str, number: int, images: int) -> Draws:
        """The randomness of batch ``number``, of so many images in all, for training or validation."""
        generator = torch_generator(self.seed, self.name, address, number)
        return Draws(generator, images, self.world)


class _Module(LightningModule):
    """One stage of one method, as Lightning wants it."""

    def __init__(
        self,
        method: NetworkMethod,
        stage: TrainingStage,
        objective_at: ByProgress,
        validation_objective: Objective,
    ) -> None:
        super().__init__()
        self.method, self.stage, self.config = method, stage, stage.schedule
        self.objective_at, self.validation_objective = objective_at, validation_objective
        self.batches = TrainingBatches(
            stage.train,
            stage.warp,
            stage.seed,
            self.config.batch,
            stage.name,
            stage.world,
            stage.redrawn,
        )
        self.validation_batches = EvaluationBatches(
            stage.validation, stage.warp, stage.seed, self.config.batch, stage.world
        )
        # On the training device, where reading them would make the host wait for it.
        self.training_sum: dict[str, Tensor | float] = {}
        self.last_loss = torch.tensor(math.nan)
        self.first_bad = torch.tensor(-1)  # step whose loss was not finite
        self.validation_sum = 0.0
        self.validation_count = 0
        self.sigterm = NotedSigterm()  # of this process
        self.all_asked_to_stop = False  # one of all processes was, as each of them knows

    @property
    def stopping(self) -> bool:
        """Whether all processes are to stop here."""
        return self.sigterm.came if self.trainer.world_size == 1 else self.all_asked_to_stop

    def together(self, values: Tensor, how: str) -> Tensor:
        """Sum or mean of each value over all processes; notes whether one was asked to stop."""
        if self.trainer.world_size == 1:
            return values
        asked = torch.tensor([float(self.sigterm.came)], device=self.device).to(values)
        reduced = self.trainer.strategy.reduce(torch.cat([values, asked]), reduce_op=how)
        assert isinstance(reduced, Tensor)
        self.all_asked_to_stop = bool(reduced[-1] > 0)
        return reduced[:-1]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, index: int) -> Any:
        return batch and batch.to(device)

    def train_dataloader(self) -> Iterable[Batch]:
        start, interval = self.trainer.global_step, self.config.checkpoint_every
        stop = min((start // interval + 1) * interval, self.config.steps)
        if self.device.type == "cuda":
            return Prefetched(self.batches, range(start, stop), self.device)
        return DataLoader(self.batches, batch_size=None, sampler=range(start, stop))

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.validation_batches, batch_size=None)

    def training_step(self, batch: Batch, number: int) -> Tensor:
        step = self.trainer.global_step
        draws = self.stage.draws("noise", step, self.config.batch)
        losses = self.objective_at(step / self.config.steps)(batch, draws)
        values = torch.stack(list(losses.values()))
        means = self.together(values.detach().float(), "mean")
        for name, value in zip(losses, means, strict=True):
            self.training_sum[name] = self.training_sum.get(name, 0.0) + value
        self.last_loss = means.sum()
        good = torch.isfinite(self.last_loss) | (self.first_bad.to(means.device) >= 0)
        self.first_bad = torch.where(good, self.first_bad.to(means.device), step)
        if step % _LOG_EVERY == 0:
            self.check_finite()
            self.trainer.loggers[0].log_metrics({"train/loss": self.last_loss.item()}, step)
        return values.sum()

    def check_finite(self) -> None:
        """Stop where a loss since the last check was not finite, before what it spoilt is kept."""
        if (step := int(self.first_bad)) >= 0:
            raise UserError(
                f"{self.stage.name}: the loss is not finite at step {step}; the last good state is kept"
            )

    def validation_step(self, batch: Batch | None, number: int) -> None:
        if batch is None:
            return
        draws = self.stage.draws("validation", number, self.validation_batches.size(number))
        total = sum(v.item() for v in self.validation_objective(batch, draws).values())
        self.validation_sum += total * len(batch.names)
        self.validation_count += len(batch.names)

    def validation_loss(self) -> float | None:
        """Mean over the validation images of all processes since the last call; None if there are none."""
        sums = torch.tensor(
            [self.validation_sum, self.validation_count], dtype=torch.float64, device=self.device
        )
        total, count = self.together(sums, "sum").tolist()
        self.validation_sum, self.validation_count = 0.0, 0
        return total / count if count else None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["training_sum"] = {k: float(v) for k, v in self.training_sum.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.training_sum = checkpoint["training_sum"]

    def configure_optimizers(self) -> Any:
        config = self.config
        optimizer = build(self.method.optimizer_groups(config.lr), config)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate(config, step) / config.lr
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        clip_gradients(optimizer, self.config, scaler)


class _Average(WeightAveraging):
    """Moving average whose decay warms up as (1 + n)/(10 + n)."""

    def __init__(self, decay: float) -> None:
        def update(averages: list[Tensor], current: list[Tensor], count: Tensor) -> None:
            if not averages[0].is_floating_point():  # counters among the buffers
                torch._foreach_copy_(averages, current)
                return
            assert self._average_model is not None
            n = float(self._average_model.n_averaged)
            torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + n) / (10 + n)))

        super().__init__(multi_avg_fn=update)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        assert self._average_model is not None
        # Its count is asked for in every step, and a GPU's would make the host wait for the step.
        self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights of the method."""
        assert self._average_model is not None
        module = self._average_model.module
        assert isinstance(module, _Module)
        return {k: v.cpu().contiguous() for k, v in module.method.state_dict().items()}


class _Keeper(Checkpoint):
    """Keeps history, best weights and the resumable state, each file whole or not at all."""

    def __init__(self, saved: SavedState, average: _Average, keep: int, label: str) -> None:
        self.saved, self.average, self.keep, self.label = saved, average, keep, label
        self.history: list[dict[str, float]] = []
        self.best: list[tuple[float, int]] = []
        self.loops: dict[str, Any] = {}  # Lightning's counters before any step

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = state["history"]
        self.best = [(loss, step) for loss, step in state["best"]]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, _Module)
        # In place of Lightning's handler, which ends a validation half done and saves nothing.
        signal.signal(signal.SIGTERM, pl_module.sigterm)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Of Lightning's counters keep the steps alone: resuming begins an interval of the remaining ones."""
        now = checkpoint["loops"]["fit_loop"]
        kept = ("epoch_loop.automatic_optimization.optim_progress", "epoch_loop.state_dict")
        checkpoint["loops"]["fit_loop"] = self.loops | {name: now[name] for name in kept}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, _Module)
        ends_interval = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if pl_module.stopping and not ends_interval:
            self._save(trainer)
            self._stop(trainer)

    def _save(self, trainer: Trainer) -> None:
        assert isinstance(trainer.lightning_module, _Module)
        trainer.lightning_module.check_finite()
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.saved.file)  # writes nothing, but waits for who does
            return
        with whole_file(self.saved.file) as part:
            trainer.save_checkpoint(part)

    def _stop(self, trainer: Trainer) -> None:
        raise Stopped(
            f"{self.label}: stopped by SIGTERM after step {trainer.global_step}, which is saved:"
            " the same command goes on from there"
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, _Module)
        pl_module.check_finite()
        step = trainer.global_step
        count = step - (self.history[-1]["step"] if self.history else 0)
        record = {"step": step, "lr": learning_rate(pl_module.config, step - 1)}
        record |= {f"train_{k}": float(v) / count for k, v in pl_module.training_sum.items()}
        losses = {"last_batch": pl_module.last_loss.item()}
        validation = pl_module.validation_loss()
        if validation is not None:
            losses["validation"] = record["validation"] = validation
            trainer.loggers[0].log_metrics({"validation/loss": validation}, step)
        self.history.append(record)
        pl_module.training_sum = {}
        loss = losses[pl_module.config.choose_by]
        self.best = sorted([*self.best, (loss, step)])[: self.keep]
        if (loss, step) in self.best and trainer.is_global_zero:
            with whole_file(self.saved.weights(step)) as part:
                save_file(self.average.weights(), part)
        self._save(trainer)
        if trainer.is_global_zero:
            self.saved.keep_weights(step for _, step in self.best)
        if pl_module.stopping and step < pl_module.config.steps:
            self._stop(trainer)


class _Progress(Callback):
    """One bar over all steps of the stage, with throughput and time left."""

    def __init__(self, label: str) -> None:
        self.label = label

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, _Module)
        self.bar = tqdm(
            desc=self.label,
            total=pl_module.config.steps,
            initial=trainer.global_step,
            unit=" steps",
            mininterval=2,
            disable=not trainer.is_global_zero,
        )

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, _Module)
        if trainer.global_step % _LOG_EVERY == 0:
            self.bar.set_postfix(loss=f"{pl_module.last_loss.item():.4f}", refresh=False)
        self.bar.update(trainer.global_step - self.bar.n)

    def on_train_end(self, *_: Any) -> None:
        self.bar.close()

    def on_exception(self, *_: Any) -> None:
        # What went wrong shall stand on a line of its own.
        if hasattr(self, "bar"):
            self.bar.close()


def _hardware(device: torch.device, world: World) -> dict[str, Any]:
    on_cpu = device.type == "cpu"
    if world.size == 1:
        return {
            "accelerator": "cpu" if on_cpu else "gpu",
            "devices": 1 if on_cpu else [device.index or 0],
            # Not what a scheduler's variables say, which are of the job around this process.
            "plugins": [LightningEnvironment()],
        }
    return {
        "accelerator": "cpu" if on_cpu else "gpu",
        "devices": world.devices,
        "num_nodes": world.nodes,
        "strategy": DDPStrategy(process_group_backend="gloo" if on_cpu else "nccl"),
        "plugins": [LightningEnvironment()],
        "use_distributed_sampler": False,  # a step's number says what each process reads
        "sync_batchnorm": not on_cpu,  # torch has it for GPUs only
    }


def fit(
    method: NetworkMethod, stage: TrainingStage, saved: SavedState, label: str
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train a stage of ``method``, which ends with the best validated weights.

    Args:
        method: the method, with the weights to start from.
        stage: how.
        saved: the state to go on from and to keep, of an identity that says what decides the outcome.
        label: what progress bar and messages call it.

    Returns:
        The history (a row per checkpoint interval) and a summary: best step, its loss by the name of
        the schedule's ``choose_by``, seconds of this process's training, whether it resumed, and its loss
        networks. In the first process ``method`` has the best weights then.

    Raises:
        UserError: the loss is not finite, another process trains in the run's folder, the disk is full, or
            a SIGTERM came (:class:`~ssimbad.interruption.Stopped`).
    """
    config, world, device = stage.schedule, stage.world, stage.device
    with rank_zero_first(world):
        objective_at, validation_objective, networks = objectives(
            method, config, stage.refinement, stage.weights, device
        )
    with ExitStack() as stack:
        step = None
        if world.rank == 0:
            stack.enter_context(saved.locked())
            step = saved.saved_step()
            if step is None:
                saved.begin()
        resumed_at = broadcast(world, step)
        average = _Average(config.ema)
        keeper = _Keeper(saved, average, config.keep, label)
        module = _Module(
            method.to(memory_format=training_layout(method, device)),  # type: ignore[call-overload]
            stage,
            objective_at,
            validation_objective,
        )
        for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = Trainer(
                **_hardware(device, world),
                precision=config.precision,
                max_epochs=math.ceil(config.steps / config.checkpoint_every)
                - (resumed_at or 0) // config.checkpoint_every,
                reload_dataloaders_every_n_epochs=1,
                num_sanity_val_steps=0,
                limit_val_batches=1.0 if len(stage.validation) else 0,
                callbacks=[average, keeper, _Progress(label)],
                logger=TensorBoardLogger(saved.folder, name="", version="tensorboard"),
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            keeper.loops = copy.deepcopy(trainer.fit_loop.state_dict())
            start = time.monotonic()
            state = None if resumed_at is None else saved.file
            trainer.fit(module, ckpt_path=state, weights_only=True)
            if module.sigterm.came:  # in the last step
                # Lightning has put the handler of before back, which does not know of it.
                signal.signal(signal.SIGTERM, module.sigterm)
        loss, best = keeper.best[0]
        if world.rank == 0:
            method.load_state_dict(load_file(saved.weights(best)))
    summary = {
        "step": best,
        config.choose_by: loss,
        "seconds": round(time.monotonic() - start, 1),
        "resumed": resumed_at is not None,
        "loss_networks": networks,
    }
    return pd.DataFrame(keeper.history), summary
