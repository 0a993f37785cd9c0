"""Write into dvc.yaml which code each stage runs: ``python workflow/dvc_stages.py [dvc.yaml]``."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from ruamel.yaml import YAML

import ssimbad
from ssimbad.files import write_if_new
from ssimbad.methods import Run
from ssimbad.phases import PHASES
from ssimbad.phases.code import code_of

PACKAGE = Path(ssimbad.__file__).parent
WHOLE = "methods"
"""The folder that is named as a whole, so that a method added is a stage's code too."""
PHASES_OF = {"evaluate": ["evaluate", "oracle"]}
"""The phases of a stage that has others than that of its name."""


def code_deps(stage: str) -> list[str]:
    """What a stage's phases run, for any row, as paths seen from the repository."""
    files = set()
    for name in PHASES_OF.get(stage, [stage]):
        for run in map(Run, PHASES[name].rows) if PHASES[name].suits else [None]:
            files |= set(code_of(name, run).values())
    inside = {path.relative_to(PACKAGE) for path in files}
    chosen = {Path(WHOLE) if path.parts[0] == WHOLE else path for path in inside}
    return sorted((Path("src/ssimbad") / path).as_posix() for path in chosen)


def main() -> None:
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "dvc.yaml")
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(path)
    for name, stage in document["stages"].items():
        others = [dep for dep in stage["deps"] if not dep.startswith("src/")]
        code = [dep for dep in others if not dep.startswith("$")] + code_deps(name)
        stage["deps"][:] = code + [dep for dep in others if dep.startswith("$")]
    text = io.StringIO()
    yaml.dump(document, text)
    write_if_new(path, text.getvalue())


if __name__ == "__main__":
    main()
