"""docs/add-a-method.md, done as it says."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def test_the_documented_method_becomes_a_row(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs/add-a-method.md").read_text()
    (module,) = re.findall(r"```python\n(.*?)```", text, re.S)
    section, overlay = re.findall(r"```yaml\n(.*?)```", text, re.S)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("Snakefile", "config.yaml", "environment.yml"):
        shutil.copy2(REPOSITORY / name, copy / name)
    for name in ("config", "workflow", "profiles", "src"):
        shutil.copytree(REPOSITORY / name, copy / name)
    (copy / "src/ssimbad/methods/regression.py").write_text(module)
    with (copy / "config.yaml").open("a") as stream:
        stream.write(section)
    (copy / "mine.yaml").write_text(overlay)
    (copy / "fewer.yaml").write_text(
        "rows: [reference, regression]\nsweep: {rows: []}\noracle: {rows: []}\n"
    )
    configs = ["--configfile", "config/tiny.yaml", "mine.yaml", "fewer.yaml"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", os.environ.get("CORES", "all"), *configs],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = copy / "results-regression"
    with (results / "table.csv").open() as stream:
        rows = {line["method"] for line in csv.DictReader(stream)}
    assert rows == {"reference", "regression"}
    with (results / "systems.csv").open() as stream:
        systems = {line["method"]: line for line in csv.DictReader(stream)}
    assert float(systems["regression"]["network_calls"]) == 1
    assert '"regression"' in (results / "index.html").read_text()
