"""Files of rows: one, or as many as match a pattern; Parquet is read by pyarrow, text by DuckDB."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmeformula.errors import FormulaDataError, MissingLibraryError
from lmeformula.rows.source import BLOCK_ROWS, Source, first_line

PARQUET = b"PAR1"
# What a column of a text file may be; dates are text, which groups rows as well.
TYPES = ("BOOLEAN", "BIGINT", "DOUBLE", "VARCHAR")
_WHAT = "Give the path of a Parquet or a CSV file, a pattern of such paths, or a table."
_INSTALL = (
    'Install it with: pip install "lmeformula[big]"; or read the file first, such as with '
    "pandas.read_csv(path)."
)
# What pandas' reader takes for a missing value in a text file; the same file gives the same rows here.
MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip


def files_source(path: str) -> Source:
    """The source that a path is: of one file, or of all that match a pattern, in the order of their names.

    Args:
      path: of a Parquet or a CSV file (compressed or not), of a folder of Parquet files, or a pattern such as
        "ratings/*.parquet".
    Returns:
      The source.
    Raises:
      FormulaDataError: if there is no such file, there are files of both kinds, or one cannot be read.
      MissingLibraryError: if the library that reads them cannot be imported.
    """
    names = _names(path)
    several = f" ({len(names):,} files)" if len(names) > 1 else ""
    opened = parquet_source if _are_parquet(path, names) else text_source
    return opened(f"{path}{several}", names)


def parquet_source(title: str, names: list[str]) -> Source:
    """The source that Parquet files are; columns have the types that whoever wrote them gave them.

    Raises:
      FormulaDataError: if they are damaged, or do not fit together.
      MissingLibraryError: if pyarrow cannot be imported.
    """
    try:
        import pyarrow as pa
        import pyarrow.dataset as ds
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingLibraryError(
            f"reading {title} needs pyarrow, which cannot be imported", hint=_INSTALL
        ) from error
    try:
        # A column that is whole in one file and has missing values in the next has several types.
        schemas = [pq.read_schema(name) for name in names]
        schema = pa.unify_schemas(schemas, promote_options="permissive")
        dataset = ds.dataset(names, schema=schema.remove_metadata(), format="parquet")
        num_rows = dataset.count_rows()
    except (pa.ArrowException, OSError) as error:
        raise FormulaDataError(f"{title} cannot be read: {first_line(error)}") from error
    return replace(dataset_source(dataset), name=title, num_rows=num_rows)


def dataset_source(dataset: Any) -> Source:
    """The source that a pyarrow Dataset is."""

    def blocks(wanted: list[str]) -> Iterator[Any]:
        # By default sixteen blocks are read ahead of the one that is looked at.
        yield from dataset.to_batches(
            columns=wanted, batch_size=BLOCK_ROWS, batch_readahead=2, fragment_readahead=1
        )

    return Source("a pyarrow Dataset", tuple(dataset.schema.names), blocks)


def text_source(title: str, names: list[str]) -> Source:
    """The source that text files are: CSV, compressed or not, of any delimiter that DuckDB finds.

    Raises:
      FormulaDataError: if they cannot be read as a table.
      MissingLibraryError: if DuckDB cannot be imported.
    """
    try:
        import duckdb
    except ImportError as error:
        raise MissingLibraryError(
            f"reading {title} needs DuckDB, which cannot be imported", hint=_INSTALL
        ) from error
    connection = duckdb.connect()
    try:
        # The whole of a file says what its columns are: a part may hold whole numbers alone.
        relation: Any = connection.read_csv(
            names,
            sample_size=-1,
            na_values=list(MISSING),
            auto_type_candidates=list(TYPES),
        )
    except duckdb.Error as error:
        raise FormulaDataError(f"{title} cannot be read: {first_line(error)}") from error
    return replace(relation_source(relation), name=title)


def relation_source(relation: Any) -> Source:
    """The source that a DuckDB relation is."""

    def blocks(wanted: list[str]) -> Iterator[Any]:
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in wanted)
        yield from relation.project(quoted).to_arrow_reader(BLOCK_ROWS)

    return Source("a DuckDB relation", tuple(relation.columns), blocks)


def _names(path: str) -> list[str]:
    """The files that a path means, sorted."""
    place = Path(path).expanduser()
    if not path:
        raise FormulaDataError("there is no file without a name", hint=_WHAT)
    if place.is_dir():
        found = sorted(str(each) for each in place.rglob("*.parquet"))
        if not found:
            raise FormulaDataError(
                f"the folder {path} has no Parquet files",
                hint='Give a pattern for others: "folder/*.csv".',
            )
        return found
    if place.is_file():
        return [str(place)]
    found = sorted(each for each in glob.glob(str(place), recursive=True) if Path(each).is_file())  # noqa: PTH207 - any part of the path may be a pattern
    if not found:
        raise FormulaDataError(f"there is no file {path}", hint=_WHAT)
    return found


def _are_parquet(path: str, names: list[str]) -> bool:
    """Whether files are Parquet, by their first bytes."""
    kinds = set()
    for name in names:
        try:
            with Path(name).open("rb") as file:
                kinds.add(file.read(len(PARQUET)) == PARQUET)
        except OSError as error:
            raise FormulaDataError(f"{name} cannot be read: {error.strerror or error}") from error
    if len(kinds) > 1:
        raise FormulaDataError(f"{path} means Parquet files and others", hint="Name one kind.")
    return kinds.pop()
