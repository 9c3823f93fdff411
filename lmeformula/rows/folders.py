"""What the names of folders say of the rows in them: "year=2020" is a column of what is inside."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

# What Hive calls the folder of rows where the column is missing.
MISSING = "__HIVE_DEFAULT_PARTITION__"


def in_folders(names: Sequence[str], below: Path, but: Sequence[str] = ()) -> dict[str, Any]:
    """Columns that the folders of files say.

    Args:
      names: paths of the files.
      below: the folder that was asked for; those above it say nothing.
      but: columns that the files have themselves, which are not replaced.
    Returns:
      Of each column an Arrow array with a value for each file: numbers where all are, or else text. There are
      none where the files are not in folders of the same columns.
    Example:
      >>> names = ["a/year=2020/x.csv", "a/year=2021/x.csv"]
      >>> in_folders(names, Path("a"))["year"].to_pylist()
      [2020, 2021]
    """
    import pandas as pd
    import pyarrow as pa

    said = [_pairs(Path(name).parent.relative_to(below)) for name in names]
    keys = list(said[0]) if said else []
    if any(list(each) != keys for each in said):
        return {}
    found = {}
    for key in keys:
        if key not in but:
            values = pd.DataFrame({key: [each[key] for each in said]})
            # As cells of a text file would be read, but that a country may be NA.
            text = io.StringIO(values.to_csv(index=False))
            read = pd.read_csv(text, keep_default_na=False, na_values=["", MISSING])
            found[key] = pa.array(read[key], from_pandas=True)
    return found


def _pairs(folder: Path) -> dict[str, str]:
    parts = [part.partition("=") for part in folder.parts]
    return {unquote(key): unquote(value) for key, equals, value in parts if key and equals}
