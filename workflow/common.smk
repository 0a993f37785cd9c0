# What all rules share: the validated config, the files of a run, and what a job is granted.
import os
import shlex
import sys
from pathlib import Path

from snakemake.io import IOFile
from snakemake.settings.types import DeploymentMethod

from ssimbad.config.files import load, values_of, write_merged
from ssimbad.data.schema import STORE
from ssimbad.dvc_adoption import check_adopted, check_within
from ssimbad.errors import UserError
from ssimbad.files import refusal, write_if_new
from ssimbad.interruption import ASKED_BY, begin_run, leave_with_dvc
from ssimbad.layout import Results
from ssimbad.machine import speak_utf8
from ssimbad.methods import RUN, Run
from ssimbad.phases import PHASES
from ssimbad.phases.code import code_of
from ssimbad.phases.resources import KEPT_PAGES, gpus_of, threads_of
from ssimbad.phases.slices import phase_json
from ssimbad.settings import inferred

# Snakemake is in --directory by now, and its arguments are seen from where it was started.
has_moved = any(a.startswith(("-d", "--directory")) for a in sys.orig_argv)
speak_utf8(os.environ.get("PWD", ".") if has_moved else ".")

# Rules call the `ssimbad` of the environment that snakemake itself runs in, activated or not, or of the one that
# --sdm conda makes. It is told who asked, so that it leaves when that one is killed; and a SIGTERM to all of
# them is its to answer: the shell and `tee` stay until it has.
IN_CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
OWN = "" if IN_CONDA else f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
shell.prefix(f"export {OWN} {ASKED_BY}=$PPID; trap '' TERM; ")

ENVIRONMENT = "../../environment.yml"  # as the files of rules see it
if IN_CONDA and workflow.is_main_process and workflow.modifier.is_main_snakefile():
    # Snakemake copies the file elsewhere, from where the files that it names are not seen.
    ROOT = Path(workflow.basedir).resolve()
    text = (ROOT / "environment.yml").read_text()
    text = text.replace("requirements.lock", str(ROOT / "requirements.lock"))
    ENVIRONMENT = str(Path(".snakemake/environment.yml").resolve())
    write_if_new(Path(ENVIRONMENT), text.replace("-e .", f"-e {ROOT}"))

os.environ.setdefault("GLIBC_TUNABLES", KEPT_PAGES)


def refuse(error):
    """End with the lines of a user's error."""
    for line in str(error).splitlines():
        print(f"snakemake: {line}", file=sys.stderr)
    sys.exit(1)


# The default config is this workflow's own, also where another folder is worked in, or another workflow has it as
# a module.
if workflow.modifier.is_main_snakefile():
    BASE = Path(os.path.relpath(Path(workflow.basedir) / "config.yaml"))
else:
    BASE = Path(workflow.source_path("../config.yaml"))
try:
    # What --configfile and --config say is read by us: Snakemake reads YAML 1.1, to which 1e-4 is text. What
    # another workflow gives its module are values already.
    given = workflow.config_settings.config_args or []
    CONFIG = load(
        [Path(p) for p in workflow.overwrite_configfiles],
        values_of(given) if workflow.modifier.is_main_snakefile() else config,
        BASE,
    )
    check_within(CONFIG.results)
except UserError as error:
    refuse(error)

FILES = Results(CONFIG.results)
RESULTS = str(FILES.root)
if workflow.is_main_process:
    leave_with_dvc()
if not workflow.modifier.is_main_snakefile():  # a module has no onstart of its own
    try:
        write_merged(CONFIG, FILES.config)
    except UserError as error:
        refuse(error)


def is_known(path):
    """Whether Snakemake has a record of the job that made a file."""
    return workflow.persistence.metadata(IOFile(path, None)) is not None


onstart:
    try:
        begin_run(FILES.root)
        check_adopted(FILES.root, is_known)
        write_merged(CONFIG, FILES.config)
    except UserError as error:
        refuse(error)
    except OSError as error:
        refuse(refusal(error) or error)


RUNS = CONFIG.runs
# A scheduler's profile sets threads instead of cores.
CORES = workflow.resource_settings.cores or 1


def runs_of(phase):
    """Regular expression of the runs (row, row+variant, row@seed) that a phase can be run for."""
    return f"(?:{'|'.join(PHASES[phase].rows)}){RUN}"


wildcard_constraints:
    row=runs_of("infer"),


def read_by(phase):
    """All that a phase reads of the config, for its params: a change to it reruns the phase."""

    def text(wildcards):
        return phase_json(
            CONFIG, phase, Run(wildcards.row) if PHASES[phase].suits else None
        )

    return text


def code(phase):
    """The package's modules that a phase runs, as inputs; shell commands are not tracked otherwise."""

    def modules(wildcards):
        run = Run(wildcards.row) if PHASES[phase].suits else None
        return [os.path.relpath(path) for path in code_of(phase, run).values()]

    return modules


def command(phase):
    """What a phase's job runs, and what a person may type."""
    row = " {wildcards.row}" if PHASES[phase].suits else ""
    config = shlex.quote(str(FILES.config))
    return f"ssimbad {phase}{row} --config {config} 2> >(tee {{log:q}} >&2)"


def log_of(phase):
    """Where a phase's messages go."""
    return str(FILES.log(phase, "{row}" if PHASES[phase].suits else None))


def benchmark_of(phase):
    """Where time and memory of a phase's job are noted."""
    return str(FILES.benchmark(phase, "{row}" if PHASES[phase].suits else None))


def granted(phase):
    """Memory (MB), time (minutes) and GPUs that a job asks for, as suits config/paper.yaml.

    They bind where a scheduler or a --resources limit reads them, and a profile may set others. Without a
    scheduler the jobs that use a GPU run one after the other.
    """
    gpus = gpus_of(phase, CONFIG)
    asked = {"mem_mb": PHASES[phase].memory, "runtime": PHASES[phase].minutes}
    return asked | ({"gpu": gpus} if PHASES[phase].gpu != "none" else {})


def users_images():
    """The user's image files that are there, as inputs: added and replaced images are noticed."""
    # Braces in a name are no wildcards.
    names = sorted(str(path) for path in CONFIG.data.make_source(CONFIG.seed).files())
    return [name.replace("{", "{{").replace("}", "}}") for name in names]


DATA = [str(FILES.data / name) for name in STORE]
PHI = str(FILES.phi / "phi.json")


SWEPT = [
    str(FILES.sweep / f"{row}.{ending}")
    for row in CONFIG.swept_rows
    for ending in ("csv", "json")
]


def own_checkpoint(wildcards):
    """The weights that a run's images come from; none of a row without networks."""
    run = Run(wildcards.row)
    return [] if run.stage == "none" else str(FILES.checkpoint(CONFIG.training_of(run)))


def chosen_sampling(wildcards):
    """How the sweep would have a run sample, where its section does not say it."""
    row = Run(Run(wildcards.row).row)
    return [str(FILES.choice(row))] if row in CONFIG.chosen_rows else []


def pretrained_checkpoint(wildcards):
    """The weights that a refined row starts from."""
    return str(FILES.checkpoint(CONFIG.pretraining_of(Run(wildcards.row))))
