# What all rules share: the validated config, the rows, and which code each phase runs.
import ast
import os
import shlex
import sys
from functools import cache
from os.path import isfile
from pathlib import Path

import torch

from ssimbad import config as schema
from ssimbad.data.archive import is_archive
from ssimbad.data.images import is_image_name
from ssimbad.devices import KEPT_PAGES
from ssimbad.errors import UserError
from ssimbad.interruption import ASKED_BY, begin_run, clear_stale_locks, leave_with_dvc
from ssimbad.layout import Results
from ssimbad.methods import method_of, pretrained_run, rows, stage_of
from ssimbad.pulled import adopt

# Rules call the `ssimbad` of the environment that snakemake itself runs in, activated or not. It is told
# who asked, so that it leaves when that one is killed; and a SIGTERM to all of them is its to answer: the
# shell and `tee` stay until it has.
shell.prefix(
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH {ASKED_BY}=$PPID;"
    " trap '' TERM; "
)

os.environ.setdefault("GLIBC_TUNABLES", KEPT_PAGES)


def refuse(error):
    """End with the lines of a user's error."""
    for line in str(error).splitlines():
        print(f"snakemake: {line}", file=sys.stderr)
    sys.exit(1)


try:
    # What --configfile and --config say; the files are read again, as the default is, for their faults.
    CONFIG = schema.load([Path(p) for p in workflow.overwrite_configfiles], config)
except UserError as error:
    refuse(error)

RESULTS = str(Path(CONFIG.results))
if workflow.is_main_process:
    leave_with_dvc()
    clear_stale_locks(Path(RESULTS), Path(".snakemake"))
    adopt(Path(".snakemake"))


onstart:
    try:
        begin_run(Path(RESULTS))
    except UserError as error:
        refuse(error)


SETTINGS = ["same", "cross"]
RUNS = schema.runs(CONFIG)


TRAINED = schema.trained_runs(CONFIG)
REFINED = [run for run in TRAINED if stage_of(run) == "refine"]
PRETRAINED = sorted({pretrained_run(run) for run in TRAINED})


def runs_of(*stages):
    """Regular expression of the runs (rows, or row@seed) that end with one of these stages."""
    known = "|".join(row for row, (_, stage) in rows().items() if stage in stages)
    return rf"(?:{known})(?:@\d+)?"


wildcard_constraints:
    row=runs_of("none", "train", "refine"),


# Memory (MB), time (minutes) and GPUs that rules ask for suit config/paper.yaml; they bind where a scheduler or a
# --resources limit reads them, and a profile may set others. Time is a slice of a training, not all of it:
# what is stopped goes on. Without a scheduler the jobs that use a GPU run one after the other.
CORES = (
    workflow.resource_settings.cores or 1
)  # a scheduler's profile sets each rule's threads instead
GPUS = 0 if CONFIG.device == "cpu" else 1
SHARED_GPUS = GPUS * CONFIG.devices  # of the phases that several processes may share
ON_GPU = GPUS and torch.cuda.is_available()
GPU_THREADS = CORES if ON_GPU else 1
# Of a small network's step much is no parallel arithmetic: on processors two trainings side by side take less
# time than one after the other, each with half of them.
SIDE_BY_SIDE = 1 if ON_GPU else min(2, len(PRETRAINED) or 1)
TRAINING_THREADS = max(1, CORES // SIDE_BY_SIDE)


def phase(name):
    """All that a phase reads of the config, for its params: a change to it reruns the phase."""

    def text(wildcards):
        return schema.phase_json(CONFIG, name, getattr(wildcards, "row", None))

    return text


def results_folder(wildcards):
    """The results folder, for the commands' --results."""
    return RESULTS


def checkpoint_of(run):
    """The file of a run's weights."""
    return str(Results(RESULTS).checkpoint(run))


def history_of(run):
    """The file of a run's losses by step."""
    return str(Results(RESULTS).history(run))


PACKAGE = Path(workflow.basedir) / "src" / "ssimbad"


@cache
def imported(source):
    """The package's modules that one of them imports, anywhere in its text."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "ssimbad"
        ):
            for name in (
                node.module,
                *(f"{node.module}.{alias.name}" for alias in node.names),
            ):
                path = PACKAGE.joinpath(*name.split(".")[1:])
                found |= {path.with_suffix(".py"), path / "__init__.py"}
    return {path for path in found if path.is_file()}


def code(*parts):
    """The package's modules a phase runs, as inputs; shell commands are not tracked otherwise.

    Given the modules it enters by, follows their imports; the config comes to it as params.
    """
    todo, seen = [PACKAGE / part for part in parts], {PACKAGE / "phases.py"}
    while todo:
        source = todo.pop()
        if source not in seen and source.name != "config.py":
            seen.add(source)
            todo += imported(source)
    return sorted(str(source.relative_to(workflow.basedir)) for source in seen)


def method_code(*parts):
    """As code(), with the module of the wildcard row's method: other methods' edits change nothing."""

    def modules(wildcards):
        method = method_of(wildcards.row)
        return code(f"methods/{method}.py", *parts)

    return modules


def users_images():
    """The files of the user's folder that are there, as inputs: added and replaced images are noticed."""
    if CONFIG.data.source != "folder":
        return []
    root = Path(CONFIG.data.folder.path)
    found = [root] if is_archive(root) else filter(is_image_name, root.rglob("*"))
    # Braces in a name are no wildcards.
    names = sorted(str(p) for p in found if isfile(p))
    return [name.replace("{", "{{").replace("}", "}}") for name in names]


DATA = [
    f"{RESULTS}/data/{name}"
    for name in (
        "manifest.json",
        "pairs.csv",
        "ATTRIBUTION.txt",
        "report.json",
        "train_redrawn.npy",
        *(
            f"{s}_{k}.npy"
            for s in ("train", "validation", "test")
            for k in ("images", "sketches")
        ),
    )
]
