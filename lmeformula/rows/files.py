"""Files of rows: one, or as many as match a pattern; Parquet is read by pyarrow, text by DuckDB."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmeformula.errors import FormulaDataError, MissingLibraryError
from lmeformula.files import located
from lmeformula.rows.source import BLOCK_ROWS, Source, first_line, reading

PARQUET = b"PAR1"
INDEX = re.compile(r"__index_level_\d+__")
# What a column of a text file may be; dates are text, which groups rows as well. Ids too long for 64 bits
# would be one number as DOUBLE.
TYPES = ("BOOLEAN", "BIGINT", "HUGEINT", "DOUBLE", "VARCHAR")
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


@contextmanager
def _needed(title: str, library: str) -> Iterator[None]:
    """Say which library is missing where it cannot be imported."""
    try:
        yield
    except ImportError as error:
        raise MissingLibraryError(
            f"reading {title} needs {library}, which cannot be imported", hint=_INSTALL
        ) from error


def parquet_source(title: str, names: list[str]) -> Source:
    """The source that Parquet files are; columns have the types that whoever wrote them gave them.

    Raises:
      FormulaDataError: if they are damaged, or do not fit together.
      MissingLibraryError: if pyarrow cannot be imported.
    """
    with _needed(title, "pyarrow"):
        import pyarrow as pa
        import pyarrow.dataset as ds
        import pyarrow.parquet as pq
    with reading(title):
        # A column that is whole in one file and has missing values in the next has several types.
        schemas = [pq.read_schema(name) for name in names]
        schema = pa.unify_schemas(schemas, promote_options="permissive")
        dataset = ds.dataset(names, schema=schema.remove_metadata(), format="parquet")
        num_rows = dataset.count_rows()
    # pandas keeps the labels of rows as a column, which "." would take for a predictor.
    columns = tuple(name for name in dataset.schema.names if not INDEX.fullmatch(name))
    return replace(dataset_source(dataset), name=title, num_rows=num_rows, columns=columns)


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
    with _needed(title, "DuckDB"):
        import duckdb
    connection = duckdb.connect()
    with reading(title):
        relation = _text_relation(connection, names)
        by_folder = _by_folder(names, relation.columns)
        words = _words(connection, names, relation)
        if words or by_folder:
            relation = _text_relation(connection, names, words, by_folder)
    return replace(relation_source(relation), name=title)


def _text_relation(
    connection: Any, names: list[str], words: Iterable[str] = (), by_folder: bool = False
) -> Any:
    """The rows of text files; the columns of `words` are text, whatever they look like."""
    return connection.read_csv(
        # What DuckDB gets is a pattern: "a[1].csv" would be a1.csv.
        [glob.escape(name) for name in names],
        header=True,
        # Files may have their columns in any order.
        union_by_name=True,
        hive_partitioning=by_folder,
        # The whole of a file says what its columns are: a part may hold whole numbers alone.
        sample_size=-1,
        na_values=list(MISSING),
        auto_type_candidates=list(TYPES),
        dtype=dict.fromkeys(words, "VARCHAR"),
    )


def _by_folder(names: list[str], columns: list[str]) -> bool:
    """Whether all files are in folders such as "year=2020", which no column of theirs is called like.

    What a folder says would replace the column.
    """
    found = {
        tuple(part.partition("=")[0].casefold() for part in Path(name).parts[:-1] if "=" in part)
        for name in names
    }
    keys = found.pop()
    return not found and bool(keys) and not {name.casefold() for name in columns} & set(keys)


def _words(connection: Any, names: list[str], relation: Any) -> list[str]:
    """Columns that DuckDB takes for logical values and pandas for text: "yes" and "no", "t" and "f"."""
    kinds = zip(relation.columns, relation.types, strict=True)
    truths = [name for name, kind in kinds if str(kind) == "BOOLEAN"]
    if not truths:
        return []
    tests = ", ".join(f"bool_and(lower({_quoted(name)}) in ('true', 'false'))" for name in truths)
    found = _text_relation(connection, names, truths).aggregate(tests).fetchall()[0]
    return [name for name, is_truth in zip(truths, found, strict=True) if is_truth is False]


def relation_source(relation: Any) -> Source:
    """The source that a DuckDB relation is."""

    def blocks(wanted: list[str]) -> Iterator[Any]:
        chosen = relation.project(", ".join(map(_quoted, wanted)))
        yield from chosen.to_arrow_reader(BLOCK_ROWS)

    return Source("a DuckDB relation", tuple(relation.columns), blocks)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _names(path: str) -> list[str]:
    """The files that a path means, sorted."""
    if not path:
        raise FormulaDataError("there is no file without a name", hint=_WHAT)
    try:
        return _matches(path)
    except (OSError, RuntimeError) as error:  # a name too long; the home of nobody
        raise FormulaDataError(
            f"this is not the path of a file: {first_line(error)[:80]}", hint=_WHAT
        ) from error


def _matches(path: str) -> list[str]:
    place = located(path)
    if place.is_dir():
        # A folder may have such a name itself.
        found = sorted(str(each) for each in place.rglob("*.parquet") if each.is_file())
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
