"""The Lightning loop: trains any method's stage, survives a kill, ends with one checkpoint.

A Lightning "epoch" here is one checkpoint interval. At its end the validation loss is taken with the
averaged weights, the best k of them are kept (the published choice, by the last batch's loss, is a
switch), and the whole state replaces ``work/<row>/last.ckpt``. A
SIGTERM saves the state after the running step, or after the running validation, and ends the process. A
batch, its noise and its warps depend on the step's number alone, so a resumed run is the same run.

Where several processes share the batches, all know the same losses, history and choice of weights, and stop
after the same step; the first alone writes.
"""

from __future__ import annotations

import copy
import fcntl
import hashlib
import json
import logging
import math
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from ssimbad.devices import training_layout
from ssimbad.errors import UserError, shown
from ssimbad.files import read_json, whole_file, write_json
from ssimbad.interruption import Stopped
from ssimbad.processes import ALONE, Place, first_ahead, from_first
from ssimbad.rng import torch_generator
from ssimbad.training.batches import Ahead, EvaluationBatches, TrainingBatches
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
from ssimbad.training.objective import ByProgress, Objective, objectives
from ssimbad.training.optimizer import build, clip_gradients
from ssimbad.training.schema import RefineConfig, Schedule, learning_rate

if TYPE_CHECKING:
    from ssimbad.data.schema import WarpConfig
    from ssimbad.data.store import Split
    from ssimbad.methods.base import Batch, TrainedMethod
    from ssimbad.schema import Section

_PATIENCE = 60  # seconds to wait for another trainer to leave
_LOG_EVERY = 10  # steps
_IDENTITY = "identity.json"


class _Stage(LightningModule):
    """One stage of one method, as Lightning wants it."""

    def __init__(
        self,
        method: TrainedMethod,
        objective_at: ByProgress,
        validation_objective: Objective,
        config: Schedule,
        stage: str,
        seed: int,
        train: TrainingBatches,
        validation: EvaluationBatches,
    ) -> None:
        super().__init__()
        self.method = method
        self.objective_at, self.validation_objective = objective_at, validation_objective
        self.config, self.stage, self.seed = config, stage, seed
        self.batches, self.validation_batches = train, validation
        self.training_sum: dict[str, float] = {}
        self.last_loss = math.nan
        self.validation_sum = 0.0
        self.validation_count = 0
        self.asked_to_stop = False  # this process was
        self.all_asked_to_stop = False  # one of all processes was, as each of them knows

    @property
    def stopping(self) -> bool:
        """Whether all processes are to stop here."""
        return self.asked_to_stop if self.trainer.world_size == 1 else self.all_asked_to_stop

    def together(self, values: Tensor, how: str) -> Tensor:
        """Sum or mean of each value over all processes; notes whether one was asked to stop."""
        if self.trainer.world_size == 1:
            return values
        asked = torch.tensor([float(self.asked_to_stop)], device=self.device).to(values)
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
            return Ahead(self.batches, range(start, stop), self.device)
        return DataLoader(self.batches, batch_size=None, sampler=range(start, stop))

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.validation_batches, batch_size=None)

    def training_step(self, batch: Batch, number: int) -> Tensor:
        step = self.trainer.global_step
        generator = torch_generator(self.seed, self.stage, "noise", step)
        losses = self.objective_at(step / self.config.steps)(batch, generator)
        values = torch.stack(list(losses.values()))
        means = self.together(values.detach().float(), "mean")
        for name, value in zip(losses, means.tolist(), strict=True):
            self.training_sum[name] = self.training_sum.get(name, 0.0) + value
        total = means.sum()
        if not torch.isfinite(total):
            raise UserError(
                f"{self.stage}: the loss is {total.item()} at step {step}; the last good state is kept"
            )
        self.last_loss = total.item()
        if step % _LOG_EVERY == 0:
            self.trainer.loggers[0].log_metrics({"train/loss": self.last_loss}, step)
        return values.sum()

    def validation_step(self, batch: Batch | None, number: int) -> None:
        if batch is None:
            return
        generator = torch_generator(self.seed, self.stage, "validation", number)
        total = sum(v.item() for v in self.validation_objective(batch, generator).values())
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
        checkpoint["training_sum"] = self.training_sum

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
        def update(average: Tensor, current: Tensor, count: Tensor) -> Tensor:
            if not average.is_floating_point():  # a counter among the buffers
                return current
            n = float(count)
            return torch.lerp(current, average, min(decay, (1 + n) / (10 + n)))

        super().__init__(avg_fn=update)

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights of the method."""
        assert self._average_model is not None
        stage = self._average_model.module
        assert isinstance(stage, _Stage)
        return {k: v.cpu().contiguous() for k, v in stage.method.state_dict().items()}


class _Keeper(Checkpoint):
    """Keeps history, best weights and the resumable state, each file whole or not at all."""

    def __init__(self, folder: Path, average: _Average, keep: int) -> None:
        self.folder, self.average, self.keep = folder, average, keep
        self.history: list[dict[str, float]] = []
        self.best: list[tuple[float, int]] = []
        self.loops: dict[str, Any] = {}  # Lightning's counters before any step

    def weights(self, step: int) -> Path:
        """File of the averaged weights after ``step`` steps."""
        return self.folder / f"best-{step:07d}.safetensors"

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = state["history"]
        self.best = [(loss, step) for loss, step in state["best"]]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, _Stage)
        stage = pl_module

        def ask_to_stop(number: int, frame: FrameType | None) -> None:
            stage.asked_to_stop = True

        # In place of Lightning's handler, which ends a validation half done and saves nothing.
        signal.signal(signal.SIGTERM, ask_to_stop)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Of Lightning's counters keep the steps alone: resuming begins an interval of the remaining ones."""
        now = checkpoint["loops"]["fit_loop"]
        kept = ("epoch_loop.automatic_optimization.optim_progress", "epoch_loop.state_dict")
        checkpoint["loops"]["fit_loop"] = self.loops | {name: now[name] for name in kept}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, _Stage)
        ends_interval = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if pl_module.stopping and not ends_interval:
            self._save(trainer)
            self._stop(trainer)

    def _save(self, trainer: Trainer) -> None:
        state = self.folder / "last.ckpt"
        if not trainer.is_global_zero:
            trainer.save_checkpoint(state)  # writes nothing, but waits for the process that does
            return
        with whole_file(state) as part:
            trainer.save_checkpoint(part)

    def _stop(self, trainer: Trainer) -> None:
        raise Stopped(
            f"stopped by SIGTERM after step {trainer.global_step}, which is saved:"
            " the same command goes on from there"
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, _Stage)
        step = trainer.global_step
        count = step - (self.history[-1]["step"] if self.history else 0)
        record = {"step": step, "lr": learning_rate(pl_module.config, step - 1)}
        record |= {f"train_{k}": v / count for k, v in pl_module.training_sum.items()}
        losses = {"last_batch": pl_module.last_loss}
        validation = pl_module.validation_loss()
        if validation is not None:
            losses["validation"] = record["validation"] = validation
            trainer.loggers[0].log_metrics({"validation/loss": validation}, step)
        self.history.append(record)
        pl_module.training_sum = {}
        loss = losses[pl_module.config.choose_by]
        self.best = sorted([*self.best, (loss, step)])[: self.keep]
        if (loss, step) in self.best and trainer.is_global_zero:
            with whole_file(self.weights(step)) as part:
                save_file(self.average.weights(), part)
        self._save(trainer)
        if trainer.is_global_zero:
            self._discard_others()
        if pl_module.stopping and step < pl_module.config.steps:
            self._stop(trainer)

    def _discard_others(self) -> None:
        kept = {self.weights(step) for _, step in self.best}
        for path in self.folder.glob("best-*.safetensors"):
            if path not in kept:
                path.unlink()


class _Progress(Callback):
    """One bar over all steps of the stage, with throughput and time left."""

    def __init__(self, label: str) -> None:
        self.label = label

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, _Stage)
        self.bar = tqdm(
            desc=self.label,
            total=pl_module.config.steps,
            initial=trainer.global_step,
            unit=" steps",
            mininterval=2,
            disable=not trainer.is_global_zero,
        )

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, _Stage)
        if trainer.global_step % _LOG_EVERY == 0:
            self.bar.set_postfix(loss=f"{pl_module.last_loss:.4f}", refresh=False)
        self.bar.update(trainer.global_step - self.bar.n)

    def on_train_end(self, *_: Any) -> None:
        self.bar.close()

    def on_exception(self, *_: Any) -> None:
        # What went wrong shall stand on a line of its own.
        if hasattr(self, "bar"):
            self.bar.close()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` against a second trainer for as long as this process lives.

    A trainer whose Snakemake was killed needs a moment to save its state and leave.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as stream:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise UserError(f"{folder}: another process is training here") from None
                time.sleep(0.1)
        yield


def state_folder(folder: Path, identity: dict[str, Any]) -> Path:
    """Where in a run's folder the training of this identity keeps its state: each has a folder of its own."""
    text = json.dumps(identity, sort_keys=True)
    return folder / hashlib.sha256(text.encode()).hexdigest()[:16]


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    """The keys whose values differ, at the depth where they do."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [name]
    keys = sorted(old.keys() | new.keys())
    prefix = f"{name}." if name else ""
    return [d for key in keys for d in _differences(old.get(key), new.get(key), f"{prefix}{key}")]


def _resumable(own: Path, identity: dict[str, Any]) -> tuple[Path | None, int]:
    """The saved state of this very training and its step; of others' states a line each is told."""
    state = own / "last.ckpt"
    if state.exists():
        try:
            return state, torch.load(state, map_location="cpu", weights_only=True)["global_step"]
        except Exception as error:  # torch raises many kinds for a damaged file
            print(
                f"{state}: not readable, starting over ({type(error).__name__})",
                file=sys.stderr,
                flush=True,
            )
            return None, 0
    for other in sorted(own.parent.glob(f"*/{_IDENTITY}")):
        if (other.parent / "last.ckpt").exists():
            changed = ", ".join(_differences(read_json(other), identity))
            print(
                f"{other.parent}: holds an unfinished training of other {shown(changed)}, and is kept:"
                " undo that change to go on with it. This training starts at step 0",
                file=sys.stderr,
                flush=True,
            )
    write_json(own / _IDENTITY, identity)
    return None, 0


def discard_state(folder: Path, identity: dict[str, Any]) -> None:
    """Remove the state of a training whose checkpoint is written; its logs stay."""
    own = state_folder(folder, identity)
    for path in [own / "last.ckpt", own / _IDENTITY, *own.glob("best-*.safetensors")]:
        path.unlink(missing_ok=True)


def _hardware(device: torch.device, place: Place) -> dict[str, Any]:
    on_cpu = device.type == "cpu"
    if place.count == 1:
        return {
            "accelerator": "cpu" if on_cpu else "gpu",
            "devices": 1 if on_cpu else [device.index or 0],
        }
    return {
        "accelerator": "cpu" if on_cpu else "gpu",
        "devices": place.devices,
        "num_nodes": place.nodes,
        "strategy": DDPStrategy(process_group_backend="gloo" if on_cpu else "nccl"),
        "plugins": [LightningEnvironment()],
        "use_distributed_sampler": False,  # a step's number says what each process reads
        "sync_batchnorm": not on_cpu,  # torch has it for GPUs only
    }


def fit(
    method: TrainedMethod,
    config: Schedule,
    refinement: Section | None,
    *,
    label: str,
    train: Split,
    validation: Split,
    warp: WarpConfig,
    redrawn: float,
    seed: int,
    weights: str,
    device: torch.device,
    folder: Path,
    identity: dict[str, Any],
    place: Place = ALONE,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train a stage of ``method``, which ends with the best validated weights.

    Args:
        method: the method, with the weights to start from.
        config: how to optimise, counted in steps; a :class:`RefineConfig` for the refinement stage.
        refinement: that stage's part of the method's section, None for the first stage.
        label: what the progress bar says.
        train, validation: the splits; the latter may be empty where it does not choose.
        warp: how references are warped.
        redrawn: the share of training references that are another drawing in the image's colours.
        seed: the run's seed.
        weights: where loss networks' weights may come from.
        device: where to train.
        folder: the run's, in which each identity has a folder for its resumable state and logs.
        identity: everything that determines the outcome, as JSON holds it; a state of another one is kept.
        place: this process's among those that share the batches, which are joined.

    Returns:
        The history (a row per checkpoint interval) and a summary: best step, its loss by the name of
        ``config.choose_by``, seconds of this process's training, whether it resumed, and its loss networks.
        In the first process ``method`` has the best weights then.

    Raises:
        UserError: the loss is not finite, another process trains in ``folder``, the disk is full, or
            a SIGTERM came (:class:`~ssimbad.interruption.Stopped`).
    """
    stage = "refine" if isinstance(config, RefineConfig) else "train"
    with first_ahead(place):
        objective_at, validation_objective, networks = objectives(
            method, config, refinement, weights, device
        )
    own = state_folder(folder, identity)
    with ExitStack() as stack:
        found: tuple[Path | None, int] = None, 0
        if place.rank == 0:
            stack.enter_context(_locked(folder))
            found = _resumable(own, identity)
        state, done = from_first(place, found)
        average = _Average(config.ema)
        keeper = _Keeper(own, average, config.keep)
        module = _Stage(
            method.to(memory_format=training_layout(method, device)),  # type: ignore[call-overload]
            objective_at,
            validation_objective,
            config,
            stage,
            seed,
            TrainingBatches(train, warp, seed, config.batch, stage, place, redrawn),
            EvaluationBatches(validation, warp, seed, config.batch, place),
        )
        for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = Trainer(
                **_hardware(device, place),
                precision=config.precision,
                max_epochs=math.ceil(config.steps / config.checkpoint_every)
                - done // config.checkpoint_every,
                reload_dataloaders_every_n_epochs=1,
                num_sanity_val_steps=0,
                limit_val_batches=1.0 if len(validation) else 0,
                callbacks=[average, keeper, _Progress(label)],
                logger=TensorBoardLogger(own, name="", version="tensorboard"),
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            keeper.loops = copy.deepcopy(trainer.fit_loop.state_dict())
            start = time.monotonic()
            trainer.fit(module, ckpt_path=state, weights_only=True)
        loss, step = keeper.best[0]
        if place.rank == 0:
            method.load_state_dict(load_file(keeper.weights(step)))
    summary = {
        "step": step,
        config.choose_by: loss,
        "seconds": round(time.monotonic() - start, 1),
        "resumed": state is not None,
        "loss_networks": networks,
    }
    return pd.DataFrame(keeper.history), summary
