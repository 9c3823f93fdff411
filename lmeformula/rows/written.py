"""Tables that are written block by block to one Parquet file, which is there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmeformula.errors import FormulaDataError, MissingLibraryError
from lmeformula.files import located, whole_file

SUFFIX = ".parquet"
# Stands in the files that are written here. No other file is replaced: it may hold the rows themselves, and
# lazy frames and relations do not say where theirs are.
MARK = {b"lmeformula": b"answer"}


def parquet_target(path: str | os.PathLike[str]) -> Path:
    """Where a Parquet file is to be written.

    Raises:
      FormulaDataError: if the name has another ending.
      MissingLibraryError: if pyarrow cannot be imported.
    """
    target = located(path)
    if target.suffix != SUFFIX:
        raise FormulaDataError(
            f"what is written is a Parquet file, and {str(target)!r} does not end in {SUFFIX}",
            hint=f'Give the name of one file, such as to="predictions{SUFFIX}".',
        )
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingLibraryError(
            "writing a Parquet file needs pyarrow, which cannot be imported",
            hint='Install it with: pip install "lmeformula[big]".',
        ) from error
    return target


def check_replaced(target: Path) -> None:
    """See that nothing is lost where a file is to be written.

    Raises:
      FormulaDataError: if something stands there that was not written here.
    """
    if target.is_dir() or (target.is_file() and not _is_answer(target)):
        raise FormulaDataError(
            f"{target} is there, and is no answer that was written before",
            hint="Remove it, or write elsewhere: it may hold your data.",
        )


def _is_answer(path: Path) -> bool:
    """Whether a file was written here."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException):
        return False
    return MARK.items() <= found.items()


@contextmanager
def parquet_file(target: Path) -> Iterator[Callable[[Any], None]]:
    """Write tables below one another.

    Args:
      target: the file, which is replaced whole at the end, or not at all if something goes wrong before.
    Returns:
      What takes the next pyarrow table; all have the columns of the first, and are cast to their types.
    Raises:
      FormulaDataError: if a later table does not fit.
      OSError: if the file cannot be written.
    Example:
      >>> import tempfile
      >>> import pyarrow as pa, pyarrow.parquet as pq
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder) / "both.parquet"
      ...     with parquet_file(path) as write:
      ...         write(pa.table({"x": [1.0]}))
      ...         write(pa.table({"x": [2]}))
      ...     pq.read_table(path)["x"].to_pylist()
      [1.0, 2.0]
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with whole_file(target) as file:
        writer: Any = None

        def write(table: Any) -> None:
            nonlocal writer
            if writer is None:
                known = table.schema.metadata or {}
                writer = pq.ParquetWriter(file, table.schema.with_metadata({**known, **MARK}))
            try:
                fitting = table.cast(writer.schema)
            except (pa.ArrowException, ValueError) as error:
                raise FormulaDataError(
                    f"a later part of the rows does not fit into {target}: {str(error).splitlines()[0]}",
                    hint="Give each column one type in all files or partitions.",
                ) from error
            writer.write_table(fitting)

        try:
            yield write
        finally:
            if writer is not None:
                writer.close()
