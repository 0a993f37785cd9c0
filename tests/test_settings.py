"""A setting is one entry of the table of settings."""

import json
from pathlib import Path

import pytest

from ssimbad.data.image_set import ImageSet
from ssimbad.evaluation.compare import read_runs, table
from ssimbad.layout import Results
from ssimbad.report.page import write_gallery, write_page
from ssimbad.report.table import write_tables
from ssimbad.settings import SETTINGS, Setting
from tests.conftest import phase_of, run_phase, tiny_values


def test_a_setting_put_into_the_table_is_colorized_measured_and_shown(
    prepared: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alike = Setting(
        "one-reference", "the first test image", lambda names, pairs: dict.fromkeys(names, names[0])
    )
    monkeypatch.setitem(SETTINGS, "one", alike)
    results, values = Results(tmp_path), tiny_values()
    results.data.symlink_to(prepared.data)
    for phase in ("infer", "evaluate"):
        run_phase(values, phase, results, "reference")
    test_set = ImageSet(results.data, "test", values["seed"], phase_of(values, "data").data.warp)
    first, images = test_set.names[0], results.images("reference")
    for name in test_set.names:
        own = (images / f"one/{name}.png").read_bytes()
        assert own == (images / f"same/{first}.png").read_bytes()
    found = read_runs({("reference", 42): results.metrics("reference")})
    settings = ("same", "cross", "cross_exact", "one")
    assert list(found) == [("reference", setting) for setting in settings]
    own, same = (found["reference", setting][42] for setting in ("one", "same"))
    assert own["per_image"][first] == same["per_image"][first]
    assert {x["reference"] for x in own["per_image"].values()} == {first}
    page = write_tables(table(found, 200, 0), found, [], results)
    numbers = json.loads((results.root / "metrics.json").read_text())["reference"]
    assert numbers["one"]["psnr"] == pytest.approx(own["metrics"]["psnr"]["value"], abs=1e-6)
    write_gallery(test_set, results)
    assert (results.gallery / f"reference_one/{first}.png").exists()
    write_page(["reference"], page, "", [], test_set, results)
    assert 'value="one"> one-reference</label>' in (results.root / "index.html").read_text()
