"""The Lightning loop: trains any method's stage, survives a kill, ends with one checkpoint.

A Lightning "epoch" here is one checkpoint interval. At its end the validation loss is taken with the
averaged weights, the best k of them are kept, and the whole state replaces ``work/<row>/last.ckpt``. A
SIGTERM saves the state after the running step, or after the running validation, and ends the process. A
batch, its noise and its warps depend on the step's number alone, so a resumed run is the same run.
"""

from __future__ import annotations

import copy
import fcntl
import hashlib
import json
import logging
import math
import shutil
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, WeightAveraging
from pytorch_lightning.loggers import TensorBoardLogger
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from ssimbad.data.store import Split
from ssimbad.data.warp import WarpConfig
from ssimbad.errors import UserError
from ssimbad.files import whole_file
from ssimbad.interruption import Stopped
from ssimbad.methods.base import Batch, TrainedMethod
from ssimbad.rng import torch_generator
from ssimbad.section import Section
from ssimbad.training.batches import EvaluationBatches, TrainingBatches
from ssimbad.training.objective import Objective, objectives
from ssimbad.training.optimizer import build
from ssimbad.training.settings import RefineConfig, Schedule, learning_rate

_PATIENCE = 60  # seconds to wait for another trainer to leave


class _Stage(pl.LightningModule):
    """One stage of one method, as Lightning wants it."""

    def __init__(
        self,
        method: TrainedMethod,
        objective: Objective,
        validation_objective: Objective,
        config: Schedule,
        stage: str,
        seed: int,
        train: TrainingBatches,
        validation: EvaluationBatches,
    ) -> None:
        super().__init__()
        self.method = method
        self.objective, self.validation_objective = objective, validation_objective
        self.config, self.stage, self.seed = config, stage, seed
        self.batches, self.validation_batches = train, validation
        self.training_sum: dict[str, float] = {}
        self.validation_sum = 0.0
        self.validation_count = 0

    def transfer_batch_to_device(self, batch: Any, device: torch.device, index: int) -> Any:
        return batch.to(device)

    def train_dataloader(self) -> DataLoader:
        start, interval = self.trainer.global_step, self.config.checkpoint_every
        stop = min((start // interval + 1) * interval, self.config.steps)
        return DataLoader(self.batches, batch_size=None, sampler=range(start, stop))

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.validation_batches, batch_size=None)

    def training_step(self, batch: Batch, number: int) -> Tensor:
        step = self.trainer.global_step
        losses = self.objective(batch, torch_generator(self.seed, self.stage, "noise", step))
        for name, value in losses.items():
            self.training_sum[name] = self.training_sum.get(name, 0.0) + value.item()
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise UserError(
                f"{self.stage}: the loss is {total.item()} at step {step}; the last good state is kept"
            )
        self.log("train/loss", total)
        return total

    def validation_step(self, batch: Batch, number: int) -> None:
        generator = torch_generator(self.seed, self.stage, "validation", number)
        total = sum(v.item() for v in self.validation_objective(batch, generator).values())
        self.validation_sum += total * len(batch.names)
        self.validation_count += len(batch.names)

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
        for group in optimizer.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], self.config.clip)


class _Average(WeightAveraging):
    """Moving average whose decay warms up as (1 + n)/(10 + n); keeps the validated weights at hand."""

    def __init__(self, decay: float) -> None:
        def update(average: Tensor, current: Tensor, count: Tensor) -> Tensor:
            if not average.is_floating_point():  # a counter among the buffers
                return current
            n = float(count)
            return torch.lerp(current, average, min(decay, (1 + n) / (10 + n)))

        super().__init__(avg_fn=update)
        self.validated: dict[str, Tensor] = {}

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, _Stage)
        self.validated = {
            key: value.detach().cpu().contiguous().clone()
            for key, value in pl_module.method.state_dict().items()
        }
        super().on_validation_epoch_end(trainer, pl_module)


class _Keeper(Checkpoint):
    """Keeps history, best weights and the resumable state, each file whole or not at all."""

    def __init__(self, folder: Path, average: _Average, keep: int, fingerprint: str) -> None:
        self.folder, self.average, self.keep = folder, average, keep
        self.fingerprint = fingerprint
        self.history: list[dict[str, float]] = []
        self.best: list[tuple[float, int]] = []
        self.loops: dict[str, Any] = {}
        self.asked_to_stop = False

    def weights(self, step: int) -> Path:
        """File of the averaged weights after ``step`` steps."""
        return self.folder / f"best-{step:07d}.safetensors"

    def state_dict(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint, "history": self.history, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = state["history"]
        self.best = [(loss, step) for loss, step in state["best"]]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # In place of Lightning's handler, which ends a validation half done and saves nothing.
        signal.signal(signal.SIGTERM, self._ask_to_stop)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self.asked_to_stop = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.loops = copy.deepcopy(trainer.fit_loop.state_dict())

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Within an interval, have Lightning begin it anew on resuming: its remaining steps are one."""
        loops = checkpoint["loops"]["fit_loop"]
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            steps = "epoch_loop.automatic_optimization.optim_progress"
            checkpoint["loops"]["fit_loop"] = self.loops | {steps: loops[steps]}

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        ends_interval = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if self.asked_to_stop and not ends_interval:
            self._save(trainer)
            self._stop(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        with whole_file(self.folder / "last.ckpt") as part:
            trainer.save_checkpoint(part)

    def _stop(self, trainer: pl.Trainer) -> None:
        raise Stopped(
            f"stopped by SIGTERM after step {trainer.global_step}, which is saved:"
            " the same command goes on from there"
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, _Stage)
        step = trainer.global_step
        count = step - (self.history[-1]["step"] if self.history else 0)
        validation = pl_module.validation_sum / pl_module.validation_count
        record = {"step": step, "lr": learning_rate(pl_module.config, step - 1)}
        record |= {f"train_{k}": v / count for k, v in pl_module.training_sum.items()}
        self.history.append(record | {"validation": validation})
        pl_module.training_sum = {}
        pl_module.validation_sum, pl_module.validation_count = 0.0, 0
        trainer.loggers[0].log_metrics({"validation/loss": validation}, step)
        self.best = sorted([*self.best, (validation, step)])[: self.keep]
        if (validation, step) in self.best:
            with whole_file(self.weights(step)) as part:
                save_file(self.average.validated, part)
        self._save(trainer)
        kept = {self.weights(step) for _, step in self.best}
        for path in self.folder.glob("best-*.safetensors"):
            if path not in kept:
                path.unlink()
        if self.asked_to_stop and step < pl_module.config.steps:
            self._stop(trainer)


class _Progress(pl.Callback):
    """One bar over all steps of the stage, with throughput and time left."""

    def __init__(self, label: str) -> None:
        self.label = label

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, _Stage)
        done, steps = trainer.global_step, pl_module.config.steps
        self.bar = tqdm(desc=self.label, total=steps, initial=done, unit=" steps", mininterval=2)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step % 10 == 0:
            loss = float(trainer.callback_metrics["train/loss"])
            self.bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
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


def _resumable(folder: Path, fingerprint: str) -> Path | None:
    """The saved state, if it is of this very run; otherwise the folder is emptied."""
    state = folder / "last.ckpt"
    if state.exists():
        try:
            saved = torch.load(state, map_location="cpu", weights_only=True)
            if saved["callbacks"]["_Keeper"]["fingerprint"] == fingerprint:
                return state
        except Exception as error:  # torch raises many kinds for a damaged file
            print(f"{state}: not readable, starting over ({type(error).__name__})", flush=True)
    discard_state(folder)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    return None


def discard_state(folder: Path) -> None:
    """Remove the resumable state of a stage whose checkpoint is written; its logs stay."""
    for path in [folder / "last.ckpt", *folder.glob("best-*.safetensors")]:
        path.unlink(missing_ok=True)


def _accelerator(device: torch.device) -> dict[str, Any]:
    if device.type == "cpu":
        return {"accelerator": "cpu", "devices": 1}
    return {"accelerator": "gpu", "devices": [device.index or 0]}


def fit(
    method: TrainedMethod,
    config: Schedule,
    refinement: Section | None,
    *,
    label: str,
    train: Split,
    validation: Split,
    warp: WarpConfig,
    seed: int,
    weights: str,
    device: torch.device,
    folder: Path,
    identity: dict[str, Any],
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train a stage of ``method``, which ends with the best validated weights.

    Args:
        method: the method, with the weights to start from.
        config: how to optimise; a :class:`RefineConfig` for the refinement stage.
        refinement: that stage's part of the method's section, None for the first stage.
        label: what the progress bar says.
        train, validation: the splits.
        warp: how references are warped.
        seed: the run's seed.
        weights: where loss networks' weights may come from.
        device: where to train.
        folder: resumable state and logs.
        identity: everything that determines the outcome; a saved state of another is discarded.

    Returns:
        The history (a row per checkpoint interval) and a summary: best step, its validation loss,
        seconds of this process's training, whether it resumed, and its loss networks.

    Raises:
        UserError: the loss is not finite, another process trains in ``folder``, the disk is full, or
            a SIGTERM came (:class:`~ssimbad.interruption.Stopped`).
    """
    stage = "refine" if isinstance(config, RefineConfig) else "train"
    objective, validation_objective, networks = objectives(
        method, config, refinement, weights, device
    )
    text = json.dumps(identity, sort_keys=True)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    with _locked(folder):
        state = _resumable(folder, fingerprint)
        average = _Average(config.ema)
        keeper = _Keeper(folder, average, config.keep, fingerprint)
        module = _Stage(
            method.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            objective,
            validation_objective,
            config,
            stage,
            seed,
            TrainingBatches(train, warp, seed, config.batch, stage),
            EvaluationBatches(validation, warp, seed, config.batch),
        )
        for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = pl.Trainer(
                **_accelerator(device),
                precision=config.precision,
                max_epochs=math.ceil(config.steps / config.checkpoint_every),
                reload_dataloaders_every_n_epochs=1,
                num_sanity_val_steps=0,
                callbacks=[average, keeper, _Progress(label)],
                logger=TensorBoardLogger(folder, name="", version="tensorboard"),
                enable_progress_bar=False,
                enable_model_summary=False,
                log_every_n_steps=10,
            )
            start = time.monotonic()
            trainer.fit(module, ckpt_path=state, weights_only=True)
        loss, step = keeper.best[0]
        method.load_state_dict(load_file(keeper.weights(step)))
    summary = {
        "step": step,
        "validation": loss,
        "seconds": round(time.monotonic() - start, 1),
        "resumed": state is not None,
        "loss_networks": networks,
    }
    return pd.DataFrame(keeper.history), summary
