# What all rules share: the validated config, the rows, and which code each phase runs.
import shlex
import sys
from pathlib import Path

from ssimbad import config as schema
from ssimbad.data.images import is_image_name
from ssimbad.errors import UserError
from ssimbad.methods import rows
from ssimbad.phases import pretrained_row

# Rules call the `ssimbad` of the environment that snakemake itself runs in, activated or not.
shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")

try:
    CONFIG = schema.validate(config)
except UserError as error:
    print(
        "\n".join(f"snakemake: {line}" for line in str(error).splitlines()),
        file=sys.stderr,
    )
    sys.exit(1)

RESULTS = CONFIG.results
SETTINGS = ["same", "cross"]
RUNS = schema.runs(CONFIG)


def stage_of(run):
    """Which stage's checkpoint a run's images come from: none, train or refine."""
    return rows()[schema.row_of(run)][1]


TRAINED = [run for run in RUNS if stage_of(run) != "none"]


def runs_of(*stages):
    """Regular expression of the runs (rows, or row@seed) that end with one of these stages."""
    known = "|".join(row for row, (_, stage) in rows().items() if stage in stages)
    return rf"(?:{known})(?:@\d+)?"


wildcard_constraints:
    row=runs_of("none", "train", "refine"),


def phase(name):
    """All that a phase reads of the config, for its params: a change to it reruns the phase."""

    def text(wildcards):
        return schema.phase_json(CONFIG, name, getattr(wildcards, "row", None))

    return text


def results_folder(wildcards):
    """The results folder, for the commands' --results."""
    return RESULTS


def code(*parts):
    """The package's modules a phase depends on, as inputs; shell commands are not tracked otherwise."""
    package = Path(workflow.basedir) / "src" / "ssimbad"
    paths = [package / part for part in ("phases.py", *parts)]
    modules = [
        m for p in paths for m in (sorted(p.glob("*.py")) if p.is_dir() else [p])
    ]
    return [str(module.relative_to(workflow.basedir)) for module in modules]


def users_images():
    """The files of the user's folder, as inputs: added and replaced images are noticed."""
    if CONFIG.data.source != "folder":
        return []
    return sorted(
        str(p) for p in Path(CONFIG.data.folder.path).rglob("*") if is_image_name(p)
    )


DATA = [
    f"{RESULTS}/data/{name}"
    for name in (
        "manifest.json",
        "pairs.csv",
        "ATTRIBUTION.txt",
        *(
            f"{s}_{k}.npy"
            for s in ("train", "validation", "test")
            for k in ("images", "sketches")
        ),
    )
]
MODEL_CODE = code(
    "data/store.py",
    "data/warp.py",
    "diffusion",
    "methods",
    "networks",
    "training/settings.py",
    "noise/transforms.py",
    "rng.py",
    "similarity.py",
)
