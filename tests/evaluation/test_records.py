"""Records as tables, and what is said of a damaged one."""

from pathlib import Path

import pytest

from ssimbad.errors import UserError
from ssimbad.evaluation.records import read_csv, to_csv


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    records = [{"row": "a", "n": 2, "value": 0.25}, {"row": "b", "n": 3, "value": 1.5}]
    path = tmp_path / "t.csv"
    path.write_text(to_csv(records, ["row", "n", "value"]))
    assert read_csv(path, "row", "value").to_dict("records") == records


@pytest.mark.parametrize(
    "text", ["", "row,n\n", "row,value\na,1\n", 'row,n\n"a', "row,n\na,1\nb,4,5,6"]
)
def test_a_damaged_table_is_a_line_that_names_it(text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"t\.csv: is no table with the columns row, n$"):
        read_csv(path, "row", "n")
