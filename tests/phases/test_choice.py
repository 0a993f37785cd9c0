"""The sweep's choice as inference reads it."""

import shutil
from pathlib import Path

import pytest
from tests.conftest import run_phase, tiny_values

from ssimbad.errors import UserError
from ssimbad.files import read_json, write_json
from ssimbad.layout import Results


@pytest.fixture(scope="module")
def swept(prepared: Results, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A trained row, swept; and what it is to be inferred from."""
    results = Results(tmp_path_factory.mktemp("swept"))
    for part in ("data", "phi"):
        shutil.copytree(prepared.root / part, results.root / part)
    for phase in ("train", "sweep"):
        run_phase(values(), phase, results, "ssimbad")
    return results


def values() -> dict:
    given = tiny_values()
    given["train"] |= {"steps": 2, "checkpoint_every": 1, "warmup": 0}
    given["sweep"] |= {"steps": [1, 3], "vary": {}, "rows": ["ssimbad"]}
    return given


def infer(results: Results, given: dict) -> dict:
    run_phase(given, "infer", results, "ssimbad")
    return read_json(results.images("ssimbad") / "infer.json")


def test_a_swept_row_samples_as_chosen_and_others_as_their_section_says(swept: Results) -> None:
    choice = read_json(swept.choice("ssimbad"))
    record = infer(swept, values())
    assert record["choice"] == choice
    assert record["sampling"] == choice["sampling"]
    assert record["network_calls"] == choice["network_calls"]
    given = values()
    given["sweep"]["choose_by"] = "config"
    given["ssimbad"]["sampling"] |= {"steps": 2, "guidance": 1.5}
    record = infer(swept, given)
    assert "choice" not in record
    assert (record["sampling"]["steps"], record["network_calls"]) == (2, 4)


def test_a_choice_of_another_config_or_none_at_all_is_one_line(swept: Results) -> None:
    path = swept.choice("ssimbad")
    choice, given = read_json(path), values()
    given["sweep"]["tolerance"] = 0.5
    with pytest.raises(UserError, match=r"ssimbad\.json: is of another config than this run's"):
        infer(swept, given)
    broken: list[object] = [[], {}, choice | {"sampling": {"steps": 0}}]
    for value in broken:
        write_json(path, value)
        with pytest.raises(UserError, match=r"ssimbad\.json: not a choice of sampling"):
            infer(swept, values())
    write_json(path, choice | {"checkpoint": "0" * 64})
    with pytest.raises(UserError, match=r"ssimbad\.json: is of another checkpoint than this run's"):
        infer(swept, values())
    path.unlink()
    with pytest.raises(UserError, match=r"ssimbad\.json: no such file"):
        infer(swept, values())
    write_json(path, choice)


def test_further_seeds_sample_as_is_chosen_for_the_first(swept: Results, tmp_path: Path) -> None:
    results, given = Results(tmp_path), values() | {"seeds": [42, 7]}
    shutil.copytree(swept.root, results.root, dirs_exist_ok=True)
    run_phase(given, "train", results, "ssimbad@7")
    run_phase(given, "infer", results, "ssimbad@7")
    record = read_json(results.images("ssimbad@7") / "infer.json")
    assert record["choice"] == read_json(results.choice("ssimbad"))
    assert record["checkpoint"] != record["choice"]["checkpoint"]


def test_only_validation_images_are_swept(swept: Results, tmp_path: Path) -> None:
    # Without test images there is the same choice.
    results = Results(tmp_path)
    shutil.copytree(swept.root, results.root, dirs_exist_ok=True)
    for path in results.data.glob("test_*.npy"):
        path.unlink()
    run_phase(values(), "sweep", results, "ssimbad")
    assert read_json(results.choice("ssimbad")) == read_json(swept.choice("ssimbad"))
