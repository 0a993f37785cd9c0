# What all rules share: the validated config, the rows, and which code each phase runs.
import ast
import shlex
import sys
from functools import cache
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
        method = rows()[schema.row_of(wildcards.row)][0]
        return code(f"methods/{method}.py", *parts)

    return modules


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
