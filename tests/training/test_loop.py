"""The training loop: schedules, best weights, refusal, and resuming after a real kill."""

import fcntl
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from ssimbad.data.schema import WarpConfig
from ssimbad.data.store import Split
from ssimbad.errors import UserError
from ssimbad.interruption import exit_on_sigterm
from ssimbad.layout import Results
from ssimbad.methods.base import RefinedMethod, TrainedMethod
from ssimbad.methods.denoising import DenoisingMethod
from ssimbad.methods.schema import RefinementConfig
from ssimbad.training import checkpoint
from ssimbad.training.loop import TrainingStage, fit
from ssimbad.training.losses import refinement_losses
from ssimbad.training.schema import RefineConfig, StageConfig, learning_rate
from ssimbad.training.state import SavedState
from tests.conftest import REPOSITORY, config_file, run_phase, saved_state, tiny_values

CONFIG = StageConfig(
    steps=20,
    epochs=0,
    images=0,
    batch=2,
    optimizer="adamw",
    lr=0.1,
    muon_lr=0.05,
    min_lr=0.001,
    warmup=4,
    schedule="cosine",
    weight_decay=0.0,
    clip=1.0,
    clip_scaled=False,
    ema=0.0,
    precision="32-true",
    checkpoint_every=5,
    keep=2,
    choose_by="validation",
)


class Scalar(TrainedMethod):
    """Fits one number to 3; its loss is what ``poison`` says from a step on."""

    def __init__(self, poison: float | None = None, start: float = 0.0) -> None:
        nn.Module.__init__(self)
        self.value = nn.Parameter(torch.tensor([start]))
        self.poison, self.calls = poison, 0

    def training_losses(self, batch, draws):
        self.calls += self.training
        loss = (self.value - 3).square().mean()
        if self.poison is not None and self.calls > 12:
            loss = loss * self.poison
        return {"square": loss}

    def colorize(self, sketch, reference, noise, sampling):
        raise NotImplementedError


IDENTITY = {"code": {"ssimbad.rng": "a"}, "config": {"lr": 0}}


def run(
    prepared: Results,
    folder: Path,
    method: TrainedMethod,
    config=CONFIG,
    identity=None,
    validation: Split | None = None,
    refinement: RefinementConfig | None = None,
):
    stage = TrainingStage(
        name="train" if refinement is None else "refine",
        schedule=config,
        refinement=refinement,
        train=Split(prepared.data, "train"),
        validation=Split(prepared.data, "validation") if validation is None else validation,
        warp=WarpConfig(redraw_folds=True, rotation=0.0),
        redrawn=0.0,
        seed=1,
        weights="auto",
        device=torch.device("cpu"),
    )
    return fit(method, stage, SavedState(folder, identity or IDENTITY), "test")


def test_history_and_best_weights(prepared: Results, tmp_path: Path) -> None:
    method = Scalar()
    history, summary = run(prepared, tmp_path, method)
    assert list(history["step"]) == [5, 10, 15, 20]
    best = history.loc[history["validation"].idxmin()]
    assert summary["step"] == best["step"]
    assert (method.value.item() - 3) ** 2 == pytest.approx(summary["validation"], rel=1e-4)
    kept = sorted(path.name for path in tmp_path.glob("*/best-*"))
    wanted = sorted(
        f"best-{int(s):07d}.safetensors" for s in history.nsmallest(2, "validation")["step"]
    )
    assert kept == wanted


class Noisy(Scalar):
    """Its loss on a training batch is the number of the batch, down and up again; it does not learn."""

    def training_losses(self, batch, draws):
        self.calls += self.training
        loss = abs(self.calls - 11.0) if self.training else float(self.calls)
        return {"count": 0 * self.value.sum() + loss}


@pytest.mark.parametrize(("choose_by", "step"), [("validation", 5), ("last_batch", 10)])
def test_what_chooses_among_checkpoints(
    prepared: Results, tmp_path: Path, choose_by: str, step: int
) -> None:
    config = CONFIG.model_copy(update={"choose_by": choose_by})
    history, summary = run(prepared, tmp_path, Noisy(), config)
    assert (summary["step"], summary[choose_by]) == (step, 5.0 if step == 5 else 1.0)
    assert list(history["validation"]) == [5, 10, 15, 20]


def test_training_without_validation_images(prepared: Results, tmp_path: Path) -> None:
    none = Split(prepared.data, "validation")
    none.names, none.images, none.sketches = [], none.images[:0], none.sketches[:0]
    config = CONFIG.model_copy(update={"choose_by": "last_batch", "ema": 0.9})
    method, other = Scalar(), Scalar()
    history, summary = run(prepared, tmp_path / "a", method, config, validation=none)
    assert "validation" not in history
    assert summary["step"] == 20
    with_images, _ = run(prepared, tmp_path / "b", other, config)
    assert torch.equal(method.value, other.value)
    pd.testing.assert_frame_equal(history, with_images.drop(columns="validation"))


class Unrolled(Scalar, RefinedMethod):
    """Notes how many sampler steps each of its trajectories has."""

    trajectory = DenoisingMethod.trajectory

    def rollout(self, batch, draws, refinement):
        if self.training:
            self.seen.append(refinement.steps)
        else:
            self.validated.add(refinement.steps)
        return self.value.expand_as(batch.target)


def test_single_steps_come_first_and_whole_trajectories_are_validated(
    prepared: Results, tmp_path: Path
) -> None:
    config = RefineConfig(**CONFIG.model_dump(), strategy={"mse": 1.0}, clamp=False)
    part = RefinementConfig(steps=3, single_step=0.35, last_call=False, checkpointing=False)
    method = Unrolled()
    method.seen, method.validated = [], set()
    run(prepared, tmp_path, method, config, refinement=part)
    assert method.seen == [1] * 7 + [3] * 13
    assert method.validated == {3}


def test_averaged_weights_lag_behind(prepared: Results, tmp_path: Path) -> None:
    plain, averaged = Scalar(), Scalar()
    run(prepared, tmp_path / "a", plain)
    run(prepared, tmp_path / "b", averaged, CONFIG.model_copy(update={"ema": 0.9}))
    assert 0 < averaged.value.item() < plain.value.item() < 3


def test_gradients_are_clipped_to_the_norm(prepared: Results, tmp_path: Path) -> None:
    seen = []
    method = Scalar(start=1e4)

    class Watch(torch.optim.AdamW):
        def step(self, closure=None):
            result = super().step(closure)
            seen.append(method.value.grad.norm().item())
            return result

    original = torch.optim.AdamW
    torch.optim.AdamW = Watch  # type: ignore[misc]
    try:
        run(prepared, tmp_path, method, CONFIG.model_copy(update={"steps": 5}))
    finally:
        torch.optim.AdamW = original  # type: ignore[misc]
    assert seen
    assert max(seen) <= 1.0 + 1e-4


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_its_step(
    prepared: Results, tmp_path: Path, poison: float
) -> None:
    with pytest.raises(UserError, match="at step 12"):
        run(prepared, tmp_path, Scalar(poison))
    state = torch.load(next(tmp_path.glob("*/last.ckpt")), weights_only=True)
    assert state["global_step"] == 10
    method = Scalar()
    history, summary = run(prepared, tmp_path, method)
    assert summary["resumed"]
    clean, _ = run(prepared, tmp_path / "clean", Scalar())
    pd.testing.assert_frame_equal(history, clean)


def told(capsys: pytest.CaptureFixture) -> list[str]:
    """Lines on stderr, without the progress bar's."""
    lines = re.split(r"[\r\n]+", capsys.readouterr().err)
    return [line for line in lines if line and "|" not in line]


def test_a_state_of_another_run_is_kept_and_a_damaged_one_is_not_resumed(
    prepared: Results, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    first, _ = run(prepared, tmp_path, Scalar())
    (state,) = tmp_path.glob("*/last.ckpt")
    whole = state.read_bytes()
    changed = {"code": {"ssimbad.rng": "b"}, "config": {"lr": 1}}
    _, summary = run(prepared, tmp_path, Scalar(), identity=IDENTITY | changed)
    assert not summary["resumed"]
    (line,) = told(capsys)
    assert line.startswith(f"{state.parent}: holds an unfinished training of other ")
    assert "code.ssimbad.rng, config.lr, and is kept" in line
    # With the change undone it goes on.
    _, summary = run(prepared, tmp_path, Scalar())
    assert summary["resumed"]
    state.write_bytes(whole[:500])
    again, summary = run(prepared, tmp_path, Scalar())
    assert not summary["resumed"]
    damaged, other = told(capsys)
    assert damaged.startswith(f"{state}: not readable, starting over")
    assert "holds an unfinished training" in other
    assert not other.startswith(str(state.parent))
    pd.testing.assert_frame_equal(first, again)


def test_a_training_whose_identity_is_damaged_is_not_said_to_be_of_another_config(
    prepared: Results, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run(prepared, tmp_path, Scalar())
    (state,) = tmp_path.glob("*/last.ckpt")
    state.with_name("identity.json").write_text("[1]")
    run(prepared, tmp_path, Scalar(), identity=IDENTITY | {"code": "other"})
    (line,) = told(capsys)
    assert line.startswith(f"{state.parent}: holds an unfinished training, and is kept: of what, ")
    assert "undo" not in line


def test_a_state_that_may_not_be_read_is_refused_and_kept(
    prepared: Results, tmp_path: Path
) -> None:
    run(prepared, tmp_path, Scalar())
    (state,) = tmp_path.glob("*/last.ckpt")
    kept = sorted(path.name for path in state.parent.iterdir())
    state.unlink()
    state.mkdir()  # as little readable as another owner's, for root too
    with pytest.raises(UserError, match=r"last.ckpt: not readable .*, and is kept$"):
        run(prepared, tmp_path, Scalar())
    assert sorted(path.name for path in state.parent.iterdir()) == kept


def test_only_a_training_with_a_saved_state_is_told_of(
    prepared: Results, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    saved = SavedState(tmp_path, {"config": "killed before its first state"})
    saved.begin()
    _, summary = run(prepared, tmp_path, Scalar())
    assert not summary["resumed"]
    finished = SavedState(tmp_path, IDENTITY)
    finished.discard()
    assert sorted(path.name for path in finished.folder.iterdir()) == ["tensorboard"]
    _, summary = run(prepared, tmp_path, Scalar(), identity=saved.identity)
    assert not summary["resumed"]
    assert told(capsys) == []
    finished.discard()
    assert saved.file.exists()


def test_a_finished_run_is_not_trained_again(prepared: Results, tmp_path: Path) -> None:
    first = Scalar()
    history, summary = run(prepared, tmp_path, first)
    again = Scalar()
    same, resumed = run(prepared, tmp_path, again)
    assert resumed["resumed"]
    assert again.calls == 0
    assert (same.to_dict(), resumed["step"]) == (history.to_dict(), summary["step"])
    assert torch.equal(again.value, first.value)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_trains(prepared: Results, tmp_path: Path, precision: str) -> None:
    method = Scalar()
    run(prepared, tmp_path, method, CONFIG.model_copy(update={"precision": precision}))
    assert 1 < method.value.item() < 4


def test_two_trainers_never_share_a_folder(
    prepared: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssimbad.training.state._PATIENCE", 0.2)
    with (tmp_path / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is training here"):
            run(prepared, tmp_path, Scalar())


def test_a_loss_of_sixteen_bit_images_has_the_gradient_of_the_same_images_in_float32() -> None:
    losses, _ = refinement_losses({"ssim": 1.0, "mse": 1.0}, False, "auto", torch.device("cpu"))
    target = torch.full((2, 3, 32, 32), 0.5)
    target[:, :, 10:] = -0.25
    images = (
        target + 0.04 * torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ).bfloat16()

    def gradient(dtype: torch.dtype) -> torch.Tensor:
        given = images.to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            torch.stack([loss(given, target) for loss in losses.values()]).sum().backward()
        assert given.grad is not None
        return given.grad.float()

    exact = gradient(torch.float32)
    assert (gradient(torch.bfloat16) - exact).norm() < 0.01 * exact.norm()


@pytest.mark.parametrize("strategy", ["mse", "ssim", "lpips-vgg"])
def test_refinement_losses_vanish_at_the_truth_and_have_gradients(strategy) -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1
    weights = dict.fromkeys(("mse", "ssim", "lpips-vgg", "clip"), 0.0) | {strategy: 1.0}
    losses, networks = refinement_losses(weights, False, "auto", torch.device("cpu"))
    ((name, loss),) = losses.items()
    assert name == strategy
    assert [n["network"] for n in networks] == (["vgg16"] if strategy == "lpips-vgg" else [])
    assert loss(truth, truth).item() == pytest.approx(0, abs=1e-6)
    far = (truth + 0.5 * torch.randn(truth.shape, generator=generator)).requires_grad_()
    value = loss(far, truth)
    assert value > 0.01
    (gradient,) = torch.autograd.grad(value, far)
    outside = far.abs() > 1
    assert (gradient[outside] != 0).float().mean() > 0.9
    clamped = refinement_losses(weights, True, "auto", torch.device("cpu"))[0][strategy]
    assert clamped(far, truth).item() == pytest.approx(loss(far.clamp(-1, 1), truth).item())
    (gradient,) = torch.autograd.grad(clamped(far, truth), far)
    assert (gradient[outside] == 0).all()
    assert (gradient[~outside] != 0).float().mean() > 0.9


def _command(results: Results, values: dict, stage: str, row: str) -> list[str]:
    command = [sys.executable, "-m", "ssimbad", stage, row]
    return [*command, "--config", config_file(values, results)]


def _stage(results: Results, values: dict, stage: str, row: str) -> None:
    """The same in this process, which saves its start; whoever is killed has one of its own."""
    run_phase(values, stage, results, row)


@pytest.mark.kill
def test_a_killed_run_resumes_to_the_same_numbers(prepared: Results, tmp_path: Path) -> None:
    values = tiny_values()
    values["refine"] |= {"steps": 10, "checkpoint_every": 2}
    values["scft"]["recipe"] |= {"steps": 16, "checkpoint_every": 4}
    runs = {}
    for name in ("whole", "killed"):
        runs[name] = Results(tmp_path / name)
        runs[name].root.mkdir()
        for part in ("data", "phi"):
            (runs[name].root / part).symlink_to(prepared.root / part)
    whole, killed = runs["whole"], runs["killed"]
    _stage(whole, values, "train", "ssimbad")
    shutil.copytree(whole.root / "checkpoints", killed.root / "checkpoints")
    for stage, row in (("refine", "ssimbad_refined"), ("train", "scft")):
        _stage(whole, values, stage, row)
        process = subprocess.Popen(
            _command(killed, values, stage, row),
            stderr=subprocess.DEVNULL,
            cwd=REPOSITORY,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while not saved_state(killed, row):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not killed.checkpoint(row).exists()
        _stage(killed, values, stage, row)
        assert json.loads(killed.history(row).with_suffix(".json").read_text())["resumed"]
        assert killed.checkpoint(row).read_bytes() == whole.checkpoint(row).read_bytes()
        assert killed.history(row).read_bytes() == whole.history(row).read_bytes()
        assert not saved_state(killed, row)
    header = checkpoint.read_header(runs["killed"].checkpoint("ssimbad_refined"))
    assert header["phi"].items() <= json.loads((prepared.phi / "phi.json").read_text()).items()


def _wait_for_steps(process: subprocess.Popen[bytes]) -> None:
    """Reads progress until it tells of a step of this process: the steps resumed from have no loss."""
    assert process.stderr is not None
    text = b""
    while not re.search(rb" [1-9]\d*/\d+ \[.*loss=", text.rpartition(b"\r")[2]):
        byte = process.stderr.read(1)
        assert byte, text
        text += byte


@pytest.mark.kill
@pytest.mark.parametrize(
    ("stage", "row", "steps", "times"),
    [("train", "ssimbad", 150, 2), ("refine", "ssimbad_refined", 60, 1)],
)
def test_a_sigterm_saves_the_running_step(
    prepared: Results, tmp_path: Path, stage: str, row: str, steps: int, times: int
) -> None:
    values = tiny_values()
    # One interval: whatever state there is, the signal saved it.
    values[stage] |= {"steps": steps, "checkpoint_every": steps}
    values["refine"]["strategy"]["lpips-vgg"] = 0.0  # slow, and there are many steps
    whole, stopped = Results(tmp_path / "whole"), Results(tmp_path / "stopped")
    for results in (whole, stopped):
        results.root.mkdir()
        for part in ("data", "phi"):
            (results.root / part).symlink_to(prepared.root / part)
    if stage == "refine":
        _stage(whole, values, "train", "ssimbad")
        shutil.copytree(whole.root / "checkpoints", stopped.root / "checkpoints")
    _stage(whole, values, stage, row)
    for _ in range(times):
        process = subprocess.Popen(_command(stopped, values, stage, row), stderr=subprocess.PIPE)
        _wait_for_steps(process)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 143
        stopped_at = rf"ssimbad: {stage} {row}: stopped by SIGTERM after step (\d+), which is saved"
        (step,) = re.findall(stopped_at, told.decode())
        state = torch.load(saved_state(stopped, row), weights_only=True)
        assert state["global_step"] == int(step)
        assert not stopped.checkpoint(row).exists()
    _stage(stopped, values, stage, row)
    assert stopped.checkpoint(row).read_bytes() == whole.checkpoint(row).read_bytes()
    assert stopped.history(row).read_bytes() == whole.history(row).read_bytes()


class StoppedAtTheEnd(Scalar):
    """A SIGTERM comes in its last step."""

    def training_losses(self, batch, draws):
        losses = super().training_losses(batch, draws)
        if self.training and self.calls == CONFIG.steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses


def test_a_sigterm_in_the_last_step_is_known_once_the_training_is_whole(
    prepared: Results, tmp_path: Path
) -> None:
    kept = signal.getsignal(signal.SIGTERM)
    try:
        history, _ = run(prepared, tmp_path, StoppedAtTheEnd())
        assert history["step"].iloc[-1] == CONFIG.steps
        with pytest.raises(SystemExit):
            exit_on_sigterm()
        exit_on_sigterm()  # known once
    finally:
        signal.signal(signal.SIGTERM, kept)


class TwoPlayers(Scalar):
    """Two numbers with optimizer groups of their own, and a counter among the buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Parameter(torch.tensor([0.0]))
        self.register_buffer("count", torch.tensor(0))

    def optimizer_groups(self, lr):
        return [{"params": [self.value], "lr": lr}, {"params": [self.other], "lr": lr / 4}]

    def training_losses(self, batch, draws):
        self.count += self.training
        # Gradients of a thousand each, far above the clip.
        return {"sum": 1000 * (-self.value - self.other).sum()}


def test_groups_have_their_own_rates_and_are_clipped_apart(
    prepared: Results, tmp_path: Path
) -> None:
    method = TwoPlayers()
    history, _ = run(prepared, tmp_path, method, CONFIG.model_copy(update={"keep": 1}))
    rates = [learning_rate(CONFIG, step) for step in range(CONFIG.steps)]
    # Adam's steps are as long as the rate where the gradient is constant.
    assert method.value.item() == pytest.approx(sum(rates), rel=1e-3)
    assert method.other.item() == pytest.approx(sum(rates) / 4, rel=1e-3)
    assert method.count.item() == CONFIG.steps
    assert list(history["step"]) == [5, 10, 15, 20]


@pytest.mark.parametrize("damage", ["truncated", "foreign", "missing"])
def test_bad_checkpoints_are_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.safetensors"
    if damage == "truncated":
        path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    elif damage == "foreign":
        from safetensors.torch import save_file

        save_file({"w": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=str(path)):
        checkpoint.load(path)
