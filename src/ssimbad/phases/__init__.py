"""The list of the phases: what each is called, reads, runs for and asks of a machine.

A phase is a module here with a function ``run(config, results)``. The command line, the rules, ``ssimbad
plan`` and the report's times follow from this table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ssimbad.methods import Run, methods, rows

if TYPE_CHECKING:
    from ssimbad.config.schema import Config
    from ssimbad.methods.declaration import Declaration, Row


def _any_row(method: Declaration, row: Row) -> bool:
    return True


def _has_steps(method: Declaration, row: Row) -> bool:
    return method.sampling is not None and "steps" in method.sampling.model_fields


@dataclass(frozen=True)
class Phase:
    """A phase of the workflow.

    Attributes:
        name: of its command, rule and module.
        help: what it does, in a line.
        keys: top-level keys of the config that it reads; None: all.
        suits: whether it can be run for a method's row; None: it is not of a row.
        runs: what it is run for in a config's run; of a phase that is not of a row, nothing.
        model: whether it runs the method's model.
        checkpoint: whether it reads the run's own checkpoint, which must be of the config's training.
        gpu: how many GPUs it uses where there are any: none, one, or as many as ``devices`` × ``nodes`` say.
        threads: processors it can use: one, all, a training's share of them, or all where there is a GPU.
        memory: MB of main memory that the paper's protocol asks for.
        minutes: time it may take there at a stretch; a training that is stopped goes on later.
    """

    name: str
    help: str
    keys: tuple[str, ...] | None
    suits: Callable[[Declaration, Row], bool] | None = None
    runs: Callable[[Config], list[Run]] = lambda config: []
    model: bool = False
    checkpoint: bool = False
    gpu: Literal["none", "one", "shared"] = "none"
    threads: Literal["one", "all", "training", "with a GPU"] = "one"
    memory: int = 16000
    minutes: int = 240

    @property
    def rows(self) -> list[str]:
        """The rows it can be run for."""
        return [
            name
            for name, row in rows().items()
            if self.suits and self.suits(methods()[Run(name).method], row)
        ]


_SHARED = ("device", "compile", "devices", "nodes")

PHASES = {
    phase.name: phase
    for phase in (
        Phase(
            "data",
            "prepare images, sketches and test pairs",
            ("seed", "data"),
            threads="all",
        ),
        Phase(
            "phi",
            "search for φ*",
            ("seed", "device", "phi"),
            gpu="one",
            threads="all",
            memory=8000,
            minutes=120,
        ),
        Phase(
            "train",
            "pretrain a row",
            ("seed", *_SHARED, "weights", "data", "unet", "train"),
            suits=lambda method, row: row.stage == "train" and row.of is None,
            runs=lambda config: config.pretrained_runs,
            model=True,
            gpu="shared",
            threads="training",
            memory=32000,
            minutes=1440,
        ),
        Phase(
            "refine",
            "refine a row's pretrained checkpoint",
            ("seed", *_SHARED, "weights", "data", "refine"),
            suits=lambda method, row: row.stage == "refine" and row.of is None,
            runs=lambda config: [run for run in config.trained_runs if run.stage == "refine"],
            model=True,
            gpu="shared",
            threads="training",
            memory=32000,
            minutes=1440,
        ),
        Phase(
            "sweep",
            "measure ways of sampling a row on validation images, and choose one",
            ("seed", "device", "weights", "data", "infer", "sweep"),
            suits=_has_steps,
            runs=lambda config: config.swept_rows,
            model=True,
            checkpoint=True,
            gpu="one",
            threads="with a GPU",
            memory=32000,
            minutes=480,
        ),
        Phase(
            "infer",
            "colorize the test set with a row",
            ("seed", *_SHARED, "data", "infer"),
            suits=_any_row,
            runs=lambda config: config.runs,
            model=True,
            checkpoint=True,
            gpu="shared",
            threads="with a GPU",
            minutes=1440,
        ),
        Phase(
            "evaluate",
            "measure a row's images",
            ("seed", "device", "weights", "evaluate"),
            suits=_any_row,
            runs=lambda config: config.runs,
            gpu="one",
            threads="with a GPU",
        ),
        Phase(
            "oracle",
            "measure a row whose sampling the ground truth steers",
            ("seed", "device", "weights", "data", "evaluate", "oracle"),
            suits=lambda method, row: method.denoiser,
            runs=lambda config: config.guided_rows,
            model=True,
            checkpoint=True,
            gpu="one",
            threads="with a GPU",
            memory=32000,
            minutes=480,
        ),
        Phase("report", "write tables and figures", None, memory=8000, minutes=60),
    )
}
"""By name, in the order in which they run."""


def jobs(config: Config) -> list[tuple[str, Run | None]]:
    """Every job of a config's run but the report: phase, and run where it is of one."""
    return [
        (phase.name, run)
        for phase in PHASES.values()
        if phase.name != "report"
        for run in (phase.runs(config) if phase.suits else [None])
    ]
