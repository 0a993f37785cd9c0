"""The same small search of the learning rate for every trained row, judged on validation images.

A trial is a training like any other, of a config with another factor on the row's rates and a share of all
budgets. It leaves what a training leaves, in a folder of its own, and so survives a kill; one that has ended
is not run again.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ssimbad.config.yaml import dumped
from ssimbad.data.store import Split
from ssimbad.errors import UserError
from ssimbad.evaluation.records import read_csv
from ssimbad.files import sha256_file, write_json, write_text
from ssimbad.interruption import exit_on_sigterm, hold
from ssimbad.layout import Results
from ssimbad.methods import Run, methods
from ssimbad.phases.code import code_of
from ssimbad.phases.slices import PhaseConfig, digest
from ssimbad.phases.trained import read_phi
from ssimbad.provenance import digests
from ssimbad.training.schema import UNITS

if TYPE_CHECKING:
    from ssimbad.config.schema import Config
    from ssimbad.training.schema import Schedule

_COLUMNS = ("row", "stage", "factor", "lr", "muon_lr", "steps", "validation", "chosen")


class _TrialResults(Results):
    """Where a trial's training reads and writes: images and φ are the run's, all else is its own.

    Args:
        root: its folder.
        results: the run's.
        start: the checkpoint that a refinement starts from; None: the trial is of pretraining.
    """

    def __init__(self, root: Path, results: Results, start: Path | None) -> None:
        super().__init__(root)
        self.data, self.phi, self.start = results.data, results.phi, start

    def checkpoint(self, row: str) -> Path:
        """The row's weights; of a refinement's pretrained row what it starts from."""
        if self.start is not None and Run(row).stage == "train":
            return self.start
        return super().checkpoint(row)


@dataclass
class _Trial:
    """A trial that has ended.

    Attributes:
        record: its line of the table.
        checkpoint: the weights that it left, where its losses were finite.
    """

    record: dict[str, Any]
    checkpoint: Path

    @property
    def loss(self) -> float:
        """The validation loss after its last step; infinite where one of its losses was not finite."""
        loss = self.record["validation"]
        return math.inf if loss is None else loss


def _shortened(schedule: Schedule, share: float) -> Schedule:
    """The schedule with a share of its length; what is above 0 stays so."""
    lengths = {key: getattr(schedule, key) for key in (*UNITS, "warmup", "checkpoint_every")}
    update = {key: max(min(1, n), round(share * n)) for key, n in lengths.items()}
    return schedule.model_copy(update=update)


def _tried(config: Config, share: float, run: Run, factor: float) -> Config:
    """The config of a trial. All budgets are shortened: a row may take as many passes as another."""
    update: dict[str, Any] = {
        "train": _shortened(config.train, share),
        "refine": _shortened(config.refine, share),
        "lr_factors": _with_factor(config.lr_factors, run, factor),
    }
    for name, method in methods().items():
        if method.own_recipe:
            section = config.section(name)
            recipe = _shortened(section.recipe, share)
            update[name] = section.model_copy(update={"recipe": recipe})
    return config.model_copy(update=update)


def _with_factor(factors: dict[str, float], run: Run, factor: float) -> dict[str, float]:
    return factors | {run.row: factors.get(run.row, 1.0) * factor}


class _Search:
    """The trials of a config, and what they say.

    Args:
        config: the config.
        results: its results, which hold images and φ.
        factors: to try, rising.
        share: of the budgets.
    """

    def __init__(
        self, config: Config, results: Results, factors: list[float], share: float
    ) -> None:
        self.config, self.results, self.factors, self.share = config, results, factors, share
        self.images = {split: len(Split(results.data, split)) for split in ("train", "validation")}
        manifest = sha256_file(results.data / "manifest.json")
        self.made_of = [manifest, read_phi(results).to_dict(), version("torch")]
        self.records: list[dict[str, Any]] = []
        self.chosen: dict[Run, _Trial] = {}

    def trial(self, run: Run, factor: float) -> _Trial:
        """A trial, whose training is run where it has not ended yet."""
        phase = PhaseConfig(_tried(self.config, self.share, run, factor), run.stage, run)
        start = self.chosen[run.pretrained].checkpoint if run.stage == "refine" else None
        started = None if start is None else sha256_file(start)
        decides = [phase.values, digests(code_of(run.stage, run)), self.made_of, started]
        key = digest(json.dumps(decides, sort_keys=True))[:16]
        folder = f"trials/{run}/{factor}-{key}"
        results = _TrialResults(self.results.tune / folder, self.results, start)
        schedule = phase.schedule(self.images["train"])
        uses_muon = getattr(schedule, "optimizer", None) == "muon"
        record = {
            "row": run,
            "stage": run.stage,
            "factor": factor,
            "lr": schedule.lr,
            "muon_lr": getattr(schedule, "muon_lr", None) if uses_muon else None,
            "steps": schedule.steps,
            "validation": None,
            "chosen": 0,
            "folder": folder,
        }
        trial = _Trial(record, results.checkpoint(run))
        # The summary is what a training writes last.
        if not results.history(run).with_suffix(".json").exists():
            exit_on_sigterm()  # a training has put its own handler in the place of this one
            try:
                import_module(f"ssimbad.phases.{run.stage}").run(phase, results)
            except UserError as error:
                # Too high a rate is an outcome; any other fault says nothing of the rate.
                if "the loss is not finite" not in str(error):
                    raise
                return trial
        loss = float(read_csv(results.history(run), "validation")["validation"].iloc[-1])
        record["validation"] = loss if math.isfinite(loss) else None
        return trial

    def choose(self, run: Run, told: str) -> float:
        """Try all factors on a run's rates.

        Args:
            run: the run.
            told: what begins the lines that tell of it.

        Returns:
            The factor whose trial's validation loss is lowest at its end; of equals the lowest.

        Raises:
            UserError: no loss is finite, or a training fails otherwise.
        """
        trials: list[_Trial] = []
        for factor in self.factors:
            print(f"{told} × {factor:g}", flush=True)
            trials.append(self.trial(run, factor))
        best = min(trials, key=lambda trial: trial.loss)
        if best.loss == math.inf:
            raise UserError(f"{told}: no loss is finite, whatever the factor: try lower --factors")
        best.record["chosen"] = 1
        self.chosen[run] = best
        self.records += [trial.record for trial in trials]
        return best.record["factor"]

    def write(self) -> None:
        """Leave what is known so far: the table, what it was made with, and the overlay."""
        frame = pd.DataFrame(self.records, columns=list(_COLUMNS))
        lines = frame.to_csv(index=False, lineterminator="\n", float_format="%.8g")
        write_text(self.results.tune / "rates.csv", lines)
        write_json(
            self.results.tune / "rates.json",
            {
                "factors": self.factors,
                "share": self.share,
                "config": self.config.model_dump(mode="json"),
                "split": "validation",
                "images": self.images["validation"],
                "trials": self.records,
            },
        )
        write_text(self.results.tune / "rates.yaml", self.overlay)

    @property
    def overlay(self) -> str:
        """The lines that have a config train with what was chosen."""
        factors: dict[str, float] = {}
        for run, trial in self.chosen.items():
            tuned = _with_factor(self.config.lr_factors, run, trial.record["factor"])
            factors[str(run)] = tuned[run]
        return dumped({"lr_factors": factors})


def tune(config: Config, results: Results, factors: list[float], share: float) -> None:
    """Search every trained row's learning rates; table and overlay lie in ``results.tune``, row after row.

    A refinement starts from its row's chosen pretraining trial. Of several training seeds the first is tried;
    a variant takes its own row's factor.

    Args:
        config: the config; its ``lr_factors`` are what ``factors`` vary.
        results: where its images and φ lie, which are read; nothing in it is written.
        factors: on the learning rates.
        share: of every stage's budget that a trial is given.

    Raises:
        UserError: an argument or the config makes no sense here, images or φ are missing, another run is at
            work in the results, a training fails, or a SIGTERM came
            (:class:`~ssimbad.interruption.Stopped`).
    """
    factors = sorted(set(factors))
    if not all(0 < factor < math.inf for factor in factors):
        raise UserError(f"--factors: {' '.join(f'{f:g}' for f in factors)}: must be above 0")
    if not 0 < share <= 1:
        raise UserError(f"--share: {share:g}: must be above 0 and at most 1")
    if (count := config.devices * config.nodes) > 1:
        raise UserError(f"devices × nodes is {count}: `ssimbad tune` is one process: set both to 1")
    if unvalidated := config.data.make_source(config.seed).unvalidated:
        raise UserError(f"{unvalidated} leaves no images to judge learning rates by")
    first = [r.plain.trained for r in config.runs if r.stage != "none" and r.seed is None]
    # A row's refinement follows its pretraining, so that what there is time for can be used.
    runs = list(dict.fromkeys(each for run in first for each in (run.pretrained, run)))
    if not runs:
        raise UserError("rows: none of them is trained")
    search = _Search(config, results, factors, share)
    hold(results.root)
    ends = {factors[0], factors[-1]} if len(factors) > 1 else set()
    for number, run in enumerate(runs, 1):
        told = f"{number}/{len(runs)} {run.stage} {run}"
        best = search.choose(run, told)
        search.write()
        more = ", at the end of what was tried: a better one may lie beyond" if best in ends else ""
        print(f"{told}: × {best:g} is best{more}", flush=True)
    print(f"{results.tune / 'rates.yaml'}:\n{search.overlay}", end="", flush=True)
