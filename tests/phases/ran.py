"""What test_code.py runs: ``python -m tests.phases.ran CONFIG``, every phase in a process of its own."""

import json
import os
import sys
import threading
from importlib import import_module
from pathlib import Path
from types import FrameType

import lpips  # noqa: F401  imported once, before processes part
import pandas  # noqa: F401
import seaborn  # noqa: F401
import skimage.color  # noqa: F401
import torch  # noqa: F401

import ssimbad
from ssimbad.config.files import load_merged
from ssimbad.layout import Results
from ssimbad.phases import jobs
from ssimbad.phases.slices import PhaseConfig

PACKAGE = Path(ssimbad.__file__).parent


def module_of(path: str) -> str:
    parts = Path(path).relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def run(name: str, config: PhaseConfig, results: Results) -> set[str]:
    """Run a phase; the package's modules that it imports or calls."""
    before, files = set(sys.modules), set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        files.add(frame.f_code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    import_module(f"ssimbad.phases.{name}").run(config, results)
    sys.setprofile(None)
    imported = {m for m in set(sys.modules) - before if m.partition(".")[0] == "ssimbad"}
    own = (f for f in files if f.startswith(f"{PACKAGE}/") and f.endswith(".py"))
    return imported | set(map(module_of, own))


def main() -> None:
    config = load_merged(Path(sys.argv[1]))
    results, found = Results(config.results), {}
    for name, of in [*jobs(config), ("report", None)]:
        reader, writer = os.pipe()
        if not (child := os.fork()):
            status = 1
            try:
                ran = run(name, PhaseConfig(config, name, of), results)
                os.write(writer, json.dumps(sorted(ran)).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        with os.fdopen(reader) as stream:
            found[f"{name} {of or ''}".strip()] = json.loads(stream.read() or "null")
        os.waitpid(child, 0)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
