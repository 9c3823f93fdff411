"""What the command line reads: a CSV or a Parquet file, or standard input, as a data frame."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmeformula.errors import DatasetError, MissingLibraryError

if TYPE_CHECKING:
    import pandas as pd

PARQUET = b"PAR1"


# What columns may be apart by where they are not by commas, and what to call it.
OTHER_MARKS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def read_table(source: str, sep: str = ",", decimal: str = ".") -> pd.DataFrame:
    """Read a CSV or a Parquet file, told apart by their first bytes.

    Args:
      source: the file's name, or "-" for standard input.
      sep: what columns of a CSV file are apart by.
      decimal: its decimal mark.
    Returns:
      The table.
    Raises:
      DatasetError: if it cannot be read, or its columns seem to be apart by something else.
      MissingLibraryError: if it is Parquet, and pyarrow is not installed.
    """
    import pandas as pd

    try:
        content = _content(source)
        if content.startswith(PARQUET):
            return pd.read_parquet(io.BytesIO(content))
        # pandas knows .csv.gz and the like by the name.
        table = _csv(lambda: io.BytesIO(content) if source == "-" else source, sep, decimal)
    except ImportError as error:
        raise MissingLibraryError(
            f"reading {source} needs pyarrow, which cannot be imported",
            hint="Install it: pip install lmeformula[polars]; or give a CSV file.",
        ) from error
    except (OSError, ValueError) as error:  # pandas' and pyarrow's own errors are among these
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        is_encoded = isinstance(error, UnicodeDecodeError)
        raise DatasetError(
            f"cannot read {source or repr(source)}: {str(reason).strip()}",
            hint="Save the file in the encoding UTF-8."
            if is_encoded
            else "Give a CSV file with a header line, or a Parquet file.",
        ) from error
    _check_apart(table, source, sep)
    return table


def _check_apart(table: pd.DataFrame, source: str, sep: str) -> None:
    """Refuse a file of one column whose name has what columns are apart by elsewhere."""
    for mark, called in OTHER_MARKS.items():
        if len(table.columns) == 1 and mark != sep and mark in str(table.columns[0]):
            shown = "\\t" if mark == "\t" else mark
            raise DatasetError(
                f"{source} has one column, whose name has {called}: {table.columns[0]!r}",
                hint=f'Say what columns are apart by: --sep "{shown}", and --decimal "," where numbers have '
                "decimal commas.",
            )


def _csv(source: Callable[[], Any], sep: str, decimal: str) -> pd.DataFrame:
    """Read a CSV file; columns of one name keep it, so that which is meant can be asked."""
    import pandas as pd

    table = pd.read_csv(source(), sep=sep, decimal=decimal)
    header = pd.read_csv(source(), sep=sep, header=None, nrows=1, dtype=str, keep_default_na=False)
    names = header.iloc[0].tolist()
    if len(names) == len(table.columns) and len(set(names)) < len(names):
        table.columns = pd.Index(
            [name or known for name, known in zip(names, table.columns, strict=True)]
        )
    return table


def _content(source: str) -> bytes:
    """All of standard input or of a Parquet file; of another file only the first bytes."""
    if source == "-":
        return sys.stdin.buffer.read()
    with Path(source).open("rb") as file:
        start = file.read(len(PARQUET))
        return start + file.read() if start == PARQUET else start
