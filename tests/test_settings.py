"""A setting is one entry of the table of settings."""

import json
from pathlib import Path

import pytest

from ssimbad.config.schema import validate
from ssimbad.data.image_set import ImageSet
from ssimbad.evaluation.compare import read_runs, table
from ssimbad.layout import Results
from ssimbad.report.page import write_gallery, write_page
from ssimbad.report.table import write_tables
from ssimbad.settings import SETTINGS, Setting
from tests.conftest import NO_COUNTS, phase_of, picture, run_phase, tiny_values


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


def test_the_exact_truth_is_measured_against_where_the_source_renders_it() -> None:
    values = tiny_values()
    assert validate(values).settings == ["same", "cross", "cross_exact"]
    values["data"] |= {"source": "folder"}
    assert validate(values).settings == ["same", "cross"]


def test_a_store_without_the_exact_truth_has_the_papers_settings_alone(tmp_path: Path) -> None:
    results, values = Results(tmp_path / "results"), tiny_values()
    (tmp_path / "in").mkdir()
    for i in range(12):
        picture(i).save(tmp_path / f"in/{i}.png")
    values["data"] |= {
        "source": "folder",
        "folder": {"path": str(tmp_path / "in"), "validation": 0.2, "test": 0.3} | NO_COUNTS,
    }
    run_phase(values, "data", results)
    for phase in ("infer", "evaluate"):
        run_phase(values, phase, results, "reference")
    written = {path.stem for path in results.metrics("reference").iterdir()}
    assert written == {"same", "cross"}
    measured = ImageSet(results.data, "test", values["seed"], phase_of(values, "data").data.warp)
    write_gallery(measured, results)
    first = measured.names[0]
    truths = [results.gallery / f"truth_{setting}/{first}.png" for setting in ("same", "cross")]
    assert truths[0].read_bytes() == truths[1].read_bytes()
