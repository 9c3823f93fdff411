"""Text files of rows: CSV, compressed or not; pandas reads them, and they are what it makes of them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmeformula.errors import FormulaDataError
from lmeformula.rows.folders import in_folders
from lmeformula.rows.source import BLOCK_ROWS, Source, first_line, reading

SEPARATORS = (",", ";", "\t", "|")
QUOTED = re.compile('"[^"]*"')
# Whole numbers up to here are exact as floating ones.
MOST_EXACT = 2.0**53
MOST_DIGITS = 38
WHOLE = rf"\s*[+-]?\d{{1,{MOST_DIGITS}}}\s*"
# A block of a wide file has fewer rows.
BLOCK_CELLS = 8 * BLOCK_ROWS
_SHIFTED = (
    "Give every column a name in the first line, and no row more cells; or read the file first, such as with "
    "pandas.read_csv(path), and see which cells are in which column."
)


class _File(NamedTuple):
    """One text file.

    Attributes:
      path: its path.
      separator: what stands between its cells.
      columns: its columns, by the names that pandas gives them.
      added: what its folders say of all its rows, by column: Arrow's scalars.
    """

    path: str
    separator: str
    columns: tuple[str, ...]
    added: dict[str, Any]


def text_source(title: str, names: list[str], folder: Path) -> Source:
    """The source that text files are: the rows of one below those of the other.

    A column is what its cells in all files are together; files may have their columns in any order, and one
    that a file does not have is missing there.

    Args:
      title: what they are called.
      names: their paths.
      folder: where they are; what the names of folders in it say, such as "year=2020", is a column.
    Returns:
      The source, of which the first lines have been read.
    Raises:
      FormulaDataError: if they cannot be read as a table.
    """
    with _explained(title):
        opened = [(name, _first_lines(name)) for name in names]
    # An empty file has no rows, and no columns either.
    known = {name: first for name, first in opened if first is not None}
    columns = dict.fromkeys(column for _, inside in known.values() for column in inside)
    added = in_folders(list(known), folder, tuple(columns))
    files = [
        _File(name, *first, {key: values[place] for key, values in added.items()})
        for place, (name, first) in enumerate(known.items())
    ]

    def blocks(wanted: list[str]) -> Iterator[Any]:
        import pyarrow as pa

        with _explained(title):
            inside = [name for name in wanted if name in columns]
            types = _types(files, inside)
            dtypes = {name: _dtype(kind) for name, kind in types.items()}
            for file in files:
                for block in _blocks(file, wanted, dtypes):
                    arrays = [_array(file, block, name, types.get(name)) for name in wanted]
                    yield pa.table(arrays, wanted)

    return Source(title, (*columns, *added), blocks)


@contextmanager
def _explained(title: str) -> Iterator[None]:
    """Say in our words what pandas' reader raises."""
    with reading(title, _SHIFTED):
        try:
            yield
        except UnicodeError as error:
            raise FormulaDataError(
                f"{title} is not UTF-8 text: {first_line(error)}",
                hint='Read it first with pandas.read_csv(path, encoding=...): "latin-1" is that of most older '
                'programs, "utf-16" that of some spreadsheets.',
            ) from error


def _first_lines(path: str) -> tuple[str, tuple[str, ...]] | None:
    """The separator and the columns of a file; None of an empty one."""
    import pandas as pd

    try:
        # Lines as single cells, whatever they hold.
        lines = pd.read_csv(
            path,
            header=None,
            sep="\x01",
            quoting=csv.QUOTE_NONE,
            dtype=str,
            nrows=2,
            keep_default_na=False,
        )[0].tolist()
    except pd.errors.EmptyDataError:
        return None
    separator = _separator(lines)
    # If the first row has more cells than there are names, pandas takes the first ones for labels of rows, and
    # what is below a name is another column; so read it raises.
    pd.read_csv(path, sep=separator, header=None, nrows=2, dtype=str)
    columns = pd.read_csv(path, sep=separator, nrows=0).columns
    return separator, tuple(map(str, columns))


def _separator(lines: list[str]) -> str:
    """What stands between the cells: as often in the first line as in the next."""
    counts = {each: [QUOTED.sub("", line).count(each) for line in lines] for each in SEPARATORS}
    equal = [each for each, found in counts.items() if found[0] and len(set(found)) == 1]
    return equal[0] if equal else max(SEPARATORS, key=lambda each: counts[each][0])


def _blocks(
    file: _File,
    wanted: Sequence[str] | None = None,
    dtypes: Mapping[str, type | None] | None = None,
) -> Iterator[Any]:
    """The rows of a file as data frames of pandas.

    Args:
      file: the file.
      wanted: the columns to read; all by default.
      dtypes: as what they are read; None and by default as what a block's cells look like.
    """
    import pandas as pd

    # Where a file has none of them, its first one has the number of rows.
    inside = wanted and ([name for name in file.columns if name in wanted] or [file.columns[0]])
    reader = pd.read_csv(
        file.path,
        sep=file.separator,
        usecols=inside,
        dtype={k: v for k, v in (dtypes or {}).items() if v is not None and k in file.columns},
        chunksize=min(max(BLOCK_CELLS // len(file.columns), 1), BLOCK_ROWS),
        # A block is of one type, not every part of it.
        low_memory=False,
    )
    with reader:
        yield from reader


def _types(files: list[_File], wanted: list[str]) -> dict[str, Any]:
    """Arrow's types of columns, after a look at all their cells."""
    found: dict[str, set[str]] = {name: set() for name in wanted}
    for file in files:
        # All columns: where pandas reads some, it leaves out what a row has too much.
        for block in _blocks(file):
            for name in set(wanted) & set(file.columns):
                found[name].add(_kind(block[name]))
    return {name: _type(name, kinds - {"empty"}, files) for name, kinds in found.items()}


def _kind(column: Any) -> str:
    """What the cells of a block are: pandas' word for such values, "empty", or "large" whole numbers."""
    import pandas as pd

    kind: str = pd.api.types.infer_dtype(column, skipna=True)
    if kind == "integer":
        return kind if column.dtype == np.int64 else "large"
    if kind != "floating":
        return kind
    known = column.dropna().to_numpy()
    if not known.size:
        return "empty"
    # Whole numbers some of which are missing come as floating ones, which may merge them.
    is_large = known.size < len(column) and np.abs(known).max() >= MOST_EXACT
    return "large" if is_large and (known == np.floor(known)).all() else kind


def _type(name: str, kinds: set[str], files: list[_File]) -> Any:
    """The type of a column whose blocks are of some kinds."""
    import pyarrow as pa

    if "large" in kinds:
        return _type_of_large(name, files)
    for kind, enough in (
        (pa.int64(), {"integer"}),
        (pa.float64(), {"integer", "floating"}),
        (pa.bool_(), {"boolean"}),
    ):
        if kinds and kinds <= enough:
            return kind
    return pa.large_string() if kinds else pa.float64()


def _type_of_large(name: str, files: list[_File]) -> Any:
    """The type of a column with large whole numbers: pandas' for all its cells at once."""
    import pandas as pd
    import pyarrow as pa

    having = [file for file in files if name in file.columns]
    cells = pd.concat(
        [block[name] for file in having for block in _blocks(file, [name], {name: str})]
    )
    # In quotes, or what is missing would be an empty line.
    text = cells.to_frame().to_csv(index=False, quoting=csv.QUOTE_ALL)
    whole = pd.read_csv(io.StringIO(text), low_memory=False)[name]
    if whole.dtype.kind == "u":
        return pa.uint64()
    if pd.api.types.infer_dtype(whole, skipna=True) not in ("integer", "floating"):
        return pa.large_string()
    is_whole = cells.dropna().str.fullmatch(WHOLE).all()
    return pa.decimal128(MOST_DIGITS) if is_whole else pa.float64()


def _dtype(kind: Any) -> type | None:
    """As what pandas reads the cells of a column: as they are spelled, as numbers, or as it likes."""
    import pyarrow as pa

    if kind == pa.large_string() or pa.types.is_decimal(kind):
        return str
    return float if kind == pa.float64() else None


def _array(file: _File, block: Any, name: str, kind: Any) -> Any:
    """A column of a block as Arrow's."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if name in file.added:
        return pa.repeat(file.added[name], len(block))
    if name not in file.columns:
        return pa.nulls(len(block), kind)
    found = pa.array(block[name], from_pandas=True)
    if pa.types.is_decimal(kind):
        found = pc.ascii_trim_whitespace(found)
    return found.cast(kind)
