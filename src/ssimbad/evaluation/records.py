"""Records, dicts with the same keys, as text."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pandas as pd

from ssimbad.errors import UserError
from ssimbad.files import read_text

if TYPE_CHECKING:
    from pathlib import Path


def to_csv(records: list[dict[str, Any]], columns: list[str]) -> str:
    """The records as CSV, numbers with six decimals, whole numbers and what is missing as such."""
    frame = pd.DataFrame(records, columns=columns)
    for column in columns:
        values = [record[column] for record in records if record[column] is not None]
        if values and all(isinstance(value, int) for value in values):
            frame[column] = frame[column].astype("Int64")
    return frame.to_csv(index=False, lineterminator="\n", float_format="%.6f")


def read_csv(path: Path, *columns: str, separator: str = ",") -> pd.DataFrame:
    """A table that has at least a line.

    Args:
        path: its file.
        columns: that it must have.
        separator: of its columns.

    Raises:
        UserError: the file is missing or damaged, or lacks a column.
    """
    try:
        found = pd.read_csv(io.StringIO(read_text(path)), sep=separator)
    except ValueError:  # pandas' errors are of this kind
        found = pd.DataFrame()
    if found.empty or not set(columns) <= set(found.columns):
        raise UserError(f"{path}: is no table with the columns {', '.join(columns)}")
    return found
