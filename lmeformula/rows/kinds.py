"""The kinds of sources: each says whether an object is of its kind, and how its rows are read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from lmeformula.rows.files import dataset_source, files_source, relation_source
from lmeformula.rows.source import BLOCK_ROWS, Source, reading


def source_of(data: Any) -> Source | None:
    """The source of rows that an object is; None for a table that is in memory, or no table at all.

    Args:
      data: a path of Parquet or CSV files, or a pattern of such paths; a DuckDB relation; a polars LazyFrame;
        an Ibis table; a PySpark data frame; a pyarrow Dataset; a Dask data frame.
    Returns:
      The source, of which nothing but the names of the columns has been read.
    Raises:
      FormulaDataError: if there is no such file, or it is neither Parquet nor CSV.
      MissingLibraryError: if pyarrow, which holds what is read, cannot be imported.
    Example:
      >>> source_of({"x": [1.0]}) is None
      True
    """
    if isinstance(data, str | os.PathLike):
        return files_source(os.fsdecode(data))
    for module, class_name, opened in _KINDS:
        # What was not imported has no objects.
        kind = _class_of(module, class_name)
        if kind is not None and isinstance(data, kind):
            # It may be a lazy plan of no file, or of a connection that was closed.
            with reading(f"the {type(data).__name__}"):
                return opened(data)
    return None


def _class_of(module: str, name: str) -> type | None:
    return getattr(sys.modules.get(module), name, None)


def _polars(frame: Any) -> Source:
    import polars as pl
    import polars.selectors as cs
    import pyarrow as pa

    schema = frame.collect_schema()

    def blocks(names: list[str]) -> Iterator[Any]:
        # A plain "^a.*$" would be a pattern.
        for block in frame.select(cs.by_name(*names)).collect_batches(maintain_order=True):
            table = block.to_arrow()
            yield pa.table([_without_order(column) for column in table.columns], names)

    # The order of their categories depends on what else the process has seen.
    by_name = frozenset(name for name, kind in schema.items() if kind == pl.Categorical)
    return Source("a polars LazyFrame", tuple(schema.names()), blocks, by_name)


def _without_order(column: Any) -> Any:
    """A column whose categories have places and no order: Arrow has what polars calls Enum in order."""
    import pyarrow as pa

    if not (pa.types.is_dictionary(column.type) and column.type.ordered):
        return column
    parts = [
        pa.DictionaryArray.from_arrays(part.indices, part.dictionary) for part in column.chunks
    ]
    return pa.chunked_array(parts, pa.dictionary(column.type.index_type, column.type.value_type))


def _ibis(table: Any) -> Source:
    def blocks(names: list[str]) -> Iterator[Any]:
        yield from table.select(*names).to_pyarrow_batches(chunk_size=BLOCK_ROWS)

    return Source("an Ibis table", tuple(table.columns), blocks)


def _spark(frame: Any) -> Source:
    def blocks(names: list[str]) -> Iterator[Any]:
        chosen = frame.select(*("`" + name.replace("`", "``") + "`" for name in names))
        yield chosen.toArrow()

    return Source("a PySpark data frame", tuple(frame.columns), blocks)


def _dask(frame: Any) -> Source:
    given = {str(name): name for name in frame.columns}

    def blocks(names: list[str]) -> Iterator[Any]:
        import pyarrow as pa

        chosen = frame[[given[name] for name in names]]
        for place in range(chosen.npartitions):
            part = chosen.partitions[place].compute()
            yield pa.Table.from_pandas(part, preserve_index=False)

    return Source("a Dask data frame", tuple(map(str, frame.columns)), blocks)


# Where a class is imported from by whoever has such an object, its name, and what makes a source of it.
_KINDS = (
    ("duckdb", "DuckDBPyRelation", relation_source),
    ("polars", "LazyFrame", _polars),
    ("ibis.expr.types", "Table", _ibis),
    ("pyspark.sql", "DataFrame", _spark),
    ("pyspark.sql.connect.dataframe", "DataFrame", _spark),
    ("pyarrow.dataset", "Dataset", dataset_source),
    ("dask.dataframe", "DataFrame", _dask),
)
