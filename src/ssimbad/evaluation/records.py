"""Records, dicts with the same keys, as text."""

from __future__ import annotations

from typing import Any

import pandas as pd


def to_csv(records: list[dict[str, Any]], columns: list[str]) -> str:
    """The records as CSV, numbers with six decimals, whole numbers and what is missing as such."""
    frame = pd.DataFrame(records, columns=columns)
    for column in columns:
        values = [record[column] for record in records if record[column] is not None]
        if values and all(isinstance(value, int) for value in values):
            frame[column] = frame[column].astype("Int64")
    return frame.to_csv(index=False, lineterminator="\n", float_format="%.6f")
