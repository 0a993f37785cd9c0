"""The command line: one command per phase, and help with the config.

Heavy imports wait until a command runs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
from importlib import import_module
from pathlib import Path

from ssimbad import __version__
from ssimbad.distributed import is_launcher, launch
from ssimbad.errors import UserError, shown
from ssimbad.files import is_full, refusal
from ssimbad.interruption import ASKED_BY, STOPPED, Stopped, exit_on_sigterm, signal_when_gone
from ssimbad.machine import at_home, speak_utf8
from ssimbad.methods import RUN, Run
from ssimbad.phases import PHASES
from ssimbad.plan.gpus import GPUS

_STATUS = """exit status:
  0    done
  1    a mistake in files or values, each told in a line; nothing is half-written
  2    wrong arguments
  143  ended by SIGTERM
"""


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    *examples: str,
) -> argparse.ArgumentParser:
    lines = "".join(f"  ssimbad {name} {example}".rstrip() + "\n" for example in examples)
    return commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=f"examples:\n{lines}\n{_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _path(text: str) -> Path:
    try:
        return Path(at_home(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{shown(text)}: {error}") from None


def _add_config(
    command: argparse.ArgumentParser,
    text: str = "overlay on the default config; may be repeated, the last one wins",
) -> None:
    command.add_argument(
        "--config", action="append", default=[], type=_path, metavar="FILE", help=text
    )


def _add_colorize(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _add(
        commands,
        "colorize",
        "colorize your own sketches with the shipped model or a trained row",
        "--sketch a.png --reference b.png --out c.png",
        "--sketch page.png --crop 40,80,320,320 --reference b.png --out c.png --layers",
    )
    command.add_argument(
        "--checkpoint",
        dest="checkpoint_path",
        type=_path,
        metavar="FILE",
        help="a trained row's .safetensors (default: the shipped model)",
    )
    command.add_argument(
        "--sketch", help="a line sketch, or a folder of them", type=_path, metavar="PATH"
    )
    command.add_argument(
        "--image",
        help="instead: a drawing in colours whose lines are taken, or a folder",
        type=_path,
        metavar="PATH",
    )
    command.add_argument(
        "--reference",
        dest="references",
        required=True,
        action="extend",
        nargs="+",
        help="whose colours to take: images or folders of them",
        type=_path,
        metavar="PATH",
    )
    command.add_argument(
        "--out",
        required=True,
        help="a .png file; a folder where several images are made",
        type=_path,
        metavar="PATH",
    )
    command.add_argument(
        "--layers",
        action="store_true",
        help="write colours and lines beside it too: two PNGs, and .ora for painting programs",
    )
    command.add_argument(
        "--crop", metavar="x,y,w,h", help="colorize this part alone, in pixels; the rest stays"
    )
    command.add_argument("--steps", type=int, metavar="N", help="network calls")
    command.add_argument(
        "--guidance", type=float, metavar="SCALE", help="classifier-free guidance; 1: none"
    )
    command.add_argument("--seed", type=int, default=42, help="of the noise (default: 42)")
    command.add_argument(
        "--device", dest="device_name", default="auto", help="auto, cpu, mps, cuda or cuda:N"
    )
    command.add_argument("--quiet", action="store_true", help="show no progress")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ssimbad",
        description=__doc__.splitlines()[0],
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for phase in PHASES.values():
        # Named here: the list of rows would load every method.
        row = ("ssimbad " if phase.name == "train" else "ssimbad_refined ") if phase.suits else ""
        command = _add(commands, phase.name, phase.help, row, f"{row}--config config/tiny.yaml")
        if phase.suits:
            command.add_argument(
                "row", help="id of a table row, such as ssimbad; row@seed, row+variant"
            )
        _add_config(command)
    _add_colorize(commands)
    command = _add(
        commands,
        "run",
        "every phase up to the test set's images in this process, without Snakemake",
        "--config config/gpu.yaml",
        "--config config/gpu.yaml --minutes 25",
    )
    _add_config(command)
    command.add_argument(
        "--minutes",
        type=float,
        metavar="N",
        help="stop after so many; the same command goes on from there",
    )
    command = _add(
        commands,
        "tune",
        "try the same factors on every row's learning rates, judged on validation images",
        "",
        "--config config/gpu.yaml --factors 0.25 0.5 1 2 --share 0.5",
    )
    _add_config(command)
    command.add_argument(
        "--factors",
        type=float,
        nargs="+",
        default=[0.5, 1.0, 2.0],
        metavar="X",
        help="on the config's learning rates (default: 0.5 1 2)",
    )
    command.add_argument(
        "--share",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="of every stage's budget (default: 0.25)",
    )
    command = _add(
        commands,
        "measure",
        "measure generated images against the real ones of the same names",
        "real/ generated/",
        "real/ generated/ --out measured/ --device cpu",
    )
    command.add_argument("real", type=_path, metavar="REAL", help="a folder of images")
    command.add_argument("generated", type=_path, metavar="GENERATED", help="another")
    command.add_argument(
        "--out", type=_path, metavar="FOLDER", help="for measured.csv and measured.json"
    )
    command.add_argument(
        "--device", dest="device_name", default="auto", help="auto, cpu, cuda or cuda:N"
    )
    command = _add(
        commands,
        "config",
        "check a config and show it merged",
        "--config mine.yaml",
        "--describe",
    )
    _add_config(command)
    instead = command.add_mutually_exclusive_group()
    instead.add_argument("--describe", action="store_true", help="explain every key instead")
    instead.add_argument(
        "--schema", action="store_true", help="the JSON schema of config files instead, for editors"
    )
    command = _add(
        commands,
        "adopt",
        "have Snakemake take over the results that `dvc pull`, `dvc checkout` or `ssimbad run` left",
        "",
        "--config config/gpu.yaml",
    )
    _add_config(command, "of a `ssimbad run`; without it, what DVC brought is taken over")
    command = _add(
        commands,
        "verify",
        "check a finished run against its digests and images",
        "results",
        "results-gpu",
    )
    command.add_argument("results", type=_path, help="the results folder")
    command = _add(
        commands,
        "plan",
        "what a config will cost: operations, memory, disk, hours on GPUs",
        "--config config/paper.yaml --gpu A100 --gpus 4",
        "--config mine.yaml --images 5000 500",
    )
    _add_config(command)
    command.add_argument(
        "--gpu",
        action="append",
        default=[],
        metavar="NAME",
        help=f"{', '.join(GPUS)}; all where none is named",
    )
    command.add_argument(
        "--gpus", type=int, metavar="N", help="how many share the work (devices × nodes)"
    )
    command.add_argument(
        "--utilisation", type=float, default=0.3, metavar="SHARE", help="of the peak (0.3)"
    )
    command.add_argument(
        "--images",
        type=int,
        nargs="+",
        default=[],
        metavar="N",
        help="for images that are not there yet: how many in all, or for training and for testing",
    )
    return parser


def _run_phase(arguments: argparse.Namespace) -> None:
    from ssimbad.config.files import load
    from ssimbad.layout import Results
    from ssimbad.phases.slices import PhaseConfig

    phase, row = PHASES[arguments.command], getattr(arguments, "row", None)
    run = None if row is None else Run(row)
    if run is not None and not re.fullmatch(f"(?:{'|'.join(phase.rows)}){RUN}", run):
        raise UserError(f"{phase.name}: no row {row!r}: rows are {', '.join(phase.rows)}")
    config = load(arguments.config)
    if run is not None and run.variant not in (None, *config.variants):
        known = ", ".join(config.variants) or "none"
        raise UserError(f"{phase.name}: no variant {run.variant!r}: variants are {known}")
    if phase.gpu == "shared" and is_launcher(config.devices, config.nodes):
        launch([sys.executable, "-m", "ssimbad", *sys.argv[1:]], config.devices, config.nodes)
        return
    import_module(f"ssimbad.phases.{phase.name}").run(
        PhaseConfig(config, phase.name, run), Results(config.results)
    )


def _adopt(overlays: list[Path]) -> None:
    if not overlays:
        from ssimbad.dvc_adoption import adopt

        adopt()
        return
    from ssimbad.conduct import adopt as adopt_conducted
    from ssimbad.config.files import load
    from ssimbad.layout import Results

    config = load(overlays)
    print(adopt_conducted(config, overlays, Results(config.results)))


def _run(arguments: argparse.Namespace) -> None:
    if arguments.command in PHASES:
        _run_phase(arguments)
    elif arguments.command == "run":
        from ssimbad.conduct import conduct
        from ssimbad.config.files import load
        from ssimbad.layout import Results

        config = load(arguments.config)
        conduct(config, Results(config.results), arguments.minutes)
    elif arguments.command == "tune":
        from ssimbad.config.files import load
        from ssimbad.layout import Results
        from ssimbad.tune import tune

        config = load(arguments.config)
        tune(config, Results(config.results), arguments.factors, arguments.share)
    elif arguments.command == "config":
        from ssimbad.config.files import load, to_yaml
        from ssimbad.config.schema import describe, json_schema

        if arguments.schema:
            print(json.dumps(json_schema(), indent=1))
        elif arguments.describe:
            print(describe())
        else:
            print(to_yaml(load(arguments.config)).rstrip())
    elif arguments.command == "verify":
        from ssimbad.layout import Results
        from ssimbad.verify import verify

        print(verify(Results(arguments.results)))
    elif arguments.command == "adopt":
        _adopt(arguments.config)
    elif arguments.command == "colorize":
        from ssimbad.colorize import colorize

        colorize(**{k: v for k, v in vars(arguments).items() if k != "command"})
    elif arguments.command == "measure":
        from ssimbad.evaluation.folders import measure_folders

        print(measure_folders(**{k: v for k, v in vars(arguments).items() if k != "command"}))
    elif arguments.command == "plan":
        from ssimbad.config.files import load
        from ssimbad.plan.run import plan

        asked, whole = arguments, load(arguments.config)
        count = whole.devices * whole.nodes if asked.gpus is None else asked.gpus
        print(plan(whole, asked.images, asked.gpu, count, asked.utilisation))


def main() -> None:
    """Run a command; a user's mistake is a line on stderr and exit status 1, a SIGTERM is status 143."""
    speak_utf8()
    arguments = _parser().parse_args()
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "5")
    exit_on_sigterm()
    if (asked_by := os.environ.get(ASKED_BY, "")).isdecimal():
        signal_when_gone(int(asked_by), signal.SIGTERM)
    try:
        _run(arguments)
    except UserError as error:
        for line in str(error).splitlines():
            print(f"ssimbad: {line}", file=sys.stderr)
        sys.exit(STOPPED if isinstance(error, Stopped) else 1)
    except ModuleNotFoundError as error:
        package = (error.name or "ssimbad").partition(".")[0]
        if package == "ssimbad":
            raise
        if package in sys.stdlib_module_names:
            lack = f"needs Python's module {package}, which this system has not"
        else:
            lack = f"needs {package}, which is not installed: pip install 'ssimbad[workflow]'"
        print(f"ssimbad: {arguments.command}: {lack}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        full = f"{error.filename or 'disk'}: no space left on the disk"
        told = full if is_full(error) else refusal(error)
        if told is None:
            raise
        print(f"ssimbad: {told}", file=sys.stderr)
        sys.exit(1)
