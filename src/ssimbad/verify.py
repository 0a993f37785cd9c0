"""Whether a results folder is what it says: every digest, every link of a number's origin, every number."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ssimbad.config.files import load_merged
from ssimbad.devices import has_device
from ssimbad.errors import UserError, shown
from ssimbad.evaluation.compare import read_runs, table
from ssimbad.files import read_json, read_text, sha256_file
from ssimbad.phases.code import code_of
from ssimbad.phases.evaluate import measurer_of
from ssimbad.phases.slices import PhaseConfig, phase_json
from ssimbad.provenance import digests
from ssimbad.report.digests import digests_of
from ssimbad.report.table import table_csv
from ssimbad.training import checkpoint

if TYPE_CHECKING:
    from ssimbad.config.schema import Config
    from ssimbad.layout import Results
    from ssimbad.methods import Run

TOLERANCE = 1e-3
"""By how much of its value a metric may differ between machines: convolutions are summed in another order."""


def _changed_files(results: Results) -> list[str]:
    noted, found = read_json(results.root / "digests.json"), digests_of(results)
    if not isinstance(noted, dict):
        raise UserError(f"{results.root / 'digests.json'}: not the digests of a run")
    told = dict.fromkeys(noted.keys() - found.keys(), "missing")
    told |= dict.fromkeys(found.keys() - noted.keys(), "not there when the report was made")
    told |= {
        name: "changed since the report was made"
        for name in noted.keys() & found.keys()
        if noted[name] != found[name]
    }
    return [f"{shown(name)}: {what}" for name, what in sorted(told.items())]


def _origin(run: Run, stored: dict[str, Any], results: Results, config: Config) -> list[str]:
    """What in a measurement's origin does not match the files it names."""
    made, infer = stored["provenance"], stored["provenance"]["infer"]
    expected: dict[str, tuple[Any, Any]] = {
        "its data": (made["data"], sha256_file(results.data / "manifest.json"))
    }
    expected["its infer.json"] = (infer, read_json(results.images(run) / "infer.json"))
    expected["its config"] = (made["config"], json.loads(phase_json(config, "evaluate", run)))
    if "choice" in infer:
        expected["the choice of its sampling"] = (infer["choice"], read_json(results.choice(run)))
    if run.stage != "none":
        path = results.checkpoint(config.training_of(run))
        header = checkpoint.read_header(path)
        expected["its checkpoint"] = (infer["checkpoint"], sha256_file(path))
        expected["its checkpoint's header"] = (infer["header"], header)
        phi = read_json(results.phi / "phi.json")
        expected["its φ"] = (header["phi"], {key: phi.get(key) for key in header["phi"]})
        if run.stage == "refine":
            before = sha256_file(results.checkpoint(config.pretraining_of(run)))
            expected["the checkpoint it was refined from"] = (header["pretrained"], before)
    return [f"does not match {what}" for what, (own, other) in expected.items() if own != other]


def _edited(run: Run, origin: dict[str, Any]) -> set[str]:
    """The modules behind a run's images and measurements that are not today's."""
    made = {"infer": origin["infer"]["code"], "evaluate": origin["code"]}
    return {
        name
        for phase, code in made.items()
        for name, digest in digests(code_of(phase, run)).items()
        if code["modules"].get(name) != digest
    }


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_close(a[key], b[key]) for key in a)
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return a == b


def _numbers(stored: dict[str, Any], again: dict[str, Any]) -> list[str]:
    """Which stored numbers measuring the images again does not give."""
    faults = []
    if stored["provenance"]["images"] != again["images"]:
        faults.append("the images are not those that were measured")
    faults += [
        f"metrics.{metric}: is {json.dumps(value)}, measured again {json.dumps(again['metrics'].get(metric))}"
        for metric, value in stored["metrics"].items()
        if not _close(value, again["metrics"].get(metric))
    ]
    if not _close(stored["floor"], again["floor"]):
        faults.append("floor: other values when measured again")
    wrong = [
        name
        for name in stored["per_image"].keys() | again["per_image"].keys()
        if not _close(stored["per_image"].get(name), again["per_image"].get(name))
    ]
    return faults + [
        f"per_image.{shown(name)}: other values when measured again" for name in sorted(wrong)
    ]


def verify(results: Results) -> str:
    """Check a finished run.

    Every file's digest as the report noted it; the store's arrays as its manifest notes them; of every
    measurement that checkpoint, φ, config and data are those it names, and that measuring its images
    again gives its numbers; and that the table holds these.

    Returns:
        A sentence on what was checked, and which of the code behind the numbers was edited since.

    Raises:
        UserError: a line for everything that does not match.
    """
    place = next(p for p in (results.features, *results.features.parents) if p.is_dir())
    with TemporaryDirectory() as scratch:
        # A folder that one may only read can be verified, too.
        return _verified(results, results.features if os.access(place, os.W_OK) else Path(scratch))


def _verified(results: Results, features: Path) -> str:
    config = load_merged(results.root / "config.yaml")
    faults = _changed_files(results)
    manifest = read_json(results.data / "manifest.json")
    known = isinstance(manifest, dict) and {"files", "items"} <= manifest.keys()
    if not known or not isinstance(manifest["files"], dict):
        raise UserError(
            "\n".join([*faults, f"{results.data / 'manifest.json'}: not a data manifest"])
        )
    faults += [
        f"data/{name}: not as manifest.json has it"
        for name, digest in manifest["files"].items()
        if not (results.data / name).is_file() or sha256_file(results.data / name) != digest
    ]
    count, edited = 0, set[str]()
    # Where a run was made on a GPU, and there is none here, its numbers are still near.
    here = config if has_device(config.device) else config.model_copy(update={"device": "auto"})
    measurer = measurer_of(PhaseConfig(here, "evaluate"), results, features)
    for run in config.runs:
        for setting in config.settings:
            path = results.metrics(run) / f"{setting}.json"
            name = path.relative_to(results.root).as_posix()
            try:
                stored = read_json(path)
                own = _origin(run, stored, results, config)
                again = measurer.measure_run(run, setting, results)
                own += _numbers(stored, again)
                count += sum(len(values) - 1 for values in again["per_image"].values())
                edited |= _edited(run, stored["provenance"])
            except UserError as error:
                own = str(error).splitlines()
            except FileNotFoundError as error:
                own = [f"{error.filename}: no such file"]
            except (KeyError, TypeError, AttributeError) as error:
                own = [f"not a measurement of this project ({type(error).__name__} {error})"]
            faults += [f"{name}: {fault}" for fault in own]
    faults += _table(config, results)
    if faults:
        raise UserError("\n".join(faults))
    files = len(digests_of(results))
    told = f"{results.root}: {files} files and {count} measurements of images match"
    return f"{told}; edited since they were made: {', '.join(sorted(edited))}" if edited else told


def _table(config: Config, results: Results) -> list[str]:
    """Whether table.csv holds what the measurements say."""
    try:
        folders = {(r.row, config.seed_of(r)): results.metrics(r) for r in config.runs}
        found = read_runs(folders, config.settings)
        expected = table_csv(table(found, config.evaluate.resamples, config.seed))
    except (UserError, KeyError, TypeError, AttributeError):
        return []  # told already, of the measurement itself
    lines = list(csv.DictReader(io.StringIO(expected)))
    given = list(csv.DictReader(io.StringIO(read_text(results.root / "table.csv"))))
    if len(lines) != len(given):
        return [f"table.csv: has {len(given)} numbers, the measurements give {len(lines)}"]
    return [
        f"table.csv: {own['method']} {own['setting']} {own['metric']}: not what the measurements give"
        for own, line in zip(given, lines, strict=True)
        if own != line
    ]
