"""The kinds of sources: each says whether an object is of its kind, and how its rows are read."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lmeformula.rows.counting import counting
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
    if isinstance(data, Source):
        return data
    if isinstance(data, str | os.PathLike):
        return files_source(os.fsdecode(data))
    kind = _kind_of(data)
    if kind is None:
        return None
    # It may be a lazy plan of no file, or of a connection that was closed.
    with reading(f"the {type(data).__name__}"):
        return kind.opened(data)


def like(data: Any, written: Path) -> Any:
    """A Parquet file as a source of the kind that an object is: a lazy frame for a lazy frame, and so on.

    Args:
      data: what `source_of` takes, or a table in memory.
      written: the file.
    Returns:
      The source, of which nothing has been read; the path where `data` is one, or a table in memory.
    """
    kind = _kind_of(data)
    return written if kind is None else kind.like(data, str(written))


def _kind_of(data: Any) -> _Kind | None:
    for each in _KINDS:
        # What was not imported has no objects.
        found = _class_of(each.module, each.name)
        if found is not None and isinstance(data, found):
            return each
    return None


def _class_of(module: str, name: str) -> type | None:
    return getattr(sys.modules.get(module), name, None)


def _polars(frame: Any) -> Source:
    import polars as pl
    import polars.selectors as cs
    import pyarrow as pa

    schema = frame.collect_schema()

    def chosen(names: list[str]) -> Any:
        # A plain "^a.*$" would be a pattern.
        return frame.select(cs.by_name(*names))

    def batches(lazy: Any) -> Iterator[Any]:
        for block in lazy.collect_batches(maintain_order=True):
            table = block.to_arrow()
            columns = [_without_order(column) for column in table.columns]
            yield pa.table(columns, table.column_names)

    def blocks(names: list[str]) -> Iterator[Any]:
        return batches(chosen(names))

    # The order of their categories depends on what else the process has seen.
    by_name = frozenset(name for name, kind in schema.items() if kind == pl.Categorical)
    return Source(
        "a polars LazyFrame",
        tuple(schema.names()),
        blocks,
        by_name,
        counted=counting(chosen, batches),
    )


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
    def chosen(names: list[str]) -> Any:
        return table.select(*names)

    def batches(lazy: Any) -> Iterator[Any]:
        yield from lazy.to_pyarrow_batches(chunk_size=BLOCK_ROWS)

    def blocks(names: list[str]) -> Iterator[Any]:
        return batches(chosen(names))

    counted = counting(chosen, batches)
    return Source("an Ibis table", tuple(table.columns), blocks, counted=counted)


def _spark(frame: Any) -> Source:
    def chosen(names: list[str]) -> Any:
        return frame.select(*("`" + name.replace("`", "``") + "`" for name in names))

    def batches(lazy: Any) -> Iterator[Any]:
        yield lazy.toArrow()

    def blocks(names: list[str]) -> Iterator[Any]:
        return batches(chosen(names))

    counted = counting(chosen, batches)
    return Source("a PySpark data frame", tuple(frame.columns), blocks, counted=counted)


def _dask(frame: Any) -> Source:
    given = {str(name): name for name in frame.columns}

    def blocks(names: list[str]) -> Iterator[Any]:
        import pyarrow as pa

        chosen = frame[[given[name] for name in names]]
        for place in range(chosen.npartitions):
            part = chosen.partitions[place].compute()
            yield pa.Table.from_pandas(part, preserve_index=False)

    return Source("a Dask data frame", tuple(map(str, frame.columns)), blocks)


def _polars_like(frame: Any, path: str) -> Any:
    import polars as pl

    return pl.scan_parquet(path, glob=False)


def _relation_like(relation: Any, path: str) -> Any:
    # The relation's own connection, which is the one that others of its queries can be joined in.
    return relation.query("_", f"from read_parquet({_literal(path)})")


def _literal(path: str) -> str:
    """A file's name as DuckDB has it, which takes names for patterns."""
    return "'" + glob.escape(path).replace("'", "''") + "'"


def _ibis_like(table: Any, path: str) -> Any:
    return table.get_backend().read_parquet(path)


def _spark_like(frame: Any, path: str) -> Any:
    return frame.sparkSession.read.parquet(path)


def _dataset_like(dataset: Any, path: str) -> Any:
    import pyarrow.dataset as ds

    return ds.dataset(path, format="parquet")


def _dask_like(frame: Any, path: str) -> Any:
    import dask.dataframe as dd

    return dd.read_parquet(path)


class _Kind(NamedTuple):
    """A class whose objects are sources.

    Attributes:
      module: where it is imported from by whoever has such an object.
      name: what it is called there.
      opened: makes a source of an object.
      like: makes such an object of a Parquet file, beside another one.
    """

    module: str
    name: str
    opened: Callable[[Any], Source]
    like: Callable[[Any, str], Any]


_KINDS = (
    _Kind("duckdb", "DuckDBPyRelation", relation_source, _relation_like),
    _Kind("polars", "LazyFrame", _polars, _polars_like),
    _Kind("ibis.expr.types", "Table", _ibis, _ibis_like),
    _Kind("pyspark.sql", "DataFrame", _spark, _spark_like),
    _Kind("pyspark.sql.connect.dataframe", "DataFrame", _spark, _spark_like),
    _Kind("pyarrow.dataset", "Dataset", dataset_source, _dataset_like),
    _Kind("dask.dataframe", "DataFrame", _dask, _dask_like),
)
