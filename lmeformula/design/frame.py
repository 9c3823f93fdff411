"""Second stage, first step: open a data frame of any kind and read single columns from it."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from lmeformula.arguments import kinds
from lmeformula.design.converted import as_series, by_name, converted, of_dictionary, of_file
from lmeformula.design.given import index_of
from lmeformula.design.values import (
    Categories,
    Column,
    Numbers,
    listed,
)
from lmeformula.errors import ColumnNotFoundError, FormulaDataError
from lmeformula.formula.ir import Span
from lmeformula.rows import Gathered, RowBytes, Source, gather, source_of
from lmeformula.rows.gather import NOTHING
from lmeformula.rows.poured import InFile

# NumPy's numbers that a table holds. Longer floats are refused: they would lose digits.
PLAIN = frozenset(map(np.dtype, ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")))


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A table that gives its columns one at a time, so that unused ones are never touched.

    Attributes:
      columns: their names, in order.
      num_rows: how many rows there are.
      series: gives the column at a position, as a narwhals series, or a pandas one that is still to be.
      texts: columns of text that come as codes.
      by_name: columns whose categories are taken in the order of their names.
      in_files: whether the columns are in files, for which there was no memory.
      origin: where the rows were read from, in words; "" for a table in memory.
      labels: of the rows; None where they are 0, 1, ....
      read: the columns read so far, by name.
      positions: where each name stands; several places for a repeated one.
    """

    columns: tuple[str, ...]
    num_rows: int
    series: Callable[[int], Any]
    texts: frozenset[str] = frozenset()
    by_name: frozenset[str] = frozenset()
    in_files: bool = False
    origin: str = ""
    labels: Any = None
    read: dict[str, Column] = field(default_factory=dict)
    positions: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for position, name in enumerate(self.columns):
            self.positions.setdefault(name, []).append(position)


def open_frame(
    data: object,
    used: Callable[[tuple[str, ...]], Iterable[str]] | None = None,
    row_bytes: RowBytes = NOTHING,
) -> Frame:
    """Open a pandas or polars frame, a pyarrow table, a mapping of names to arrays, or a source of rows.

    Args:
      data: the table; it is neither changed nor copied. What `lmeformula.rows.source_of` takes is read, once.
      used: names of all columns -> those of a source that are read; all without.
      row_bytes: what is to be done with each row takes so much memory.
    Returns:
      The frame; of a table in memory no column has been read yet.
    Raises:
      FormulaDataError: if this is no table, has no rows or no columns, or its columns differ in length; if a
        source cannot be read.
    Example:
      >>> open_frame({"x": [1.0, 2.0], "g": ["a", "b"]}).columns
      ('x', 'g')
    """
    if isinstance(data, Frame):
        return data
    if isinstance(data, Mapping):
        frame = _mapping_frame(data)
    elif (source := source_of(data)) is not None:
        frame = _source_frame(source, used, row_bytes)
    else:
        frame = _native_frame(data)
    if not frame.columns:
        raise FormulaDataError("the data has no columns")
    if frame.num_rows == 0:
        raise FormulaDataError("the data has no rows", hint="Pass at least one row.")
    return frame


def is_frame(data: object) -> bool:
    """Whether this is a table of a library of such: pandas, polars, pyarrow and others."""
    return bool(nw.dependencies.is_into_dataframe(data))


def column_of(frame: Frame, name: str) -> Column:
    """Read one column as numbers, logical values or a factor.

    Args:
      frame: the table.
      name: the column's name.
    Returns:
      The column; strings are a factor with sorted levels.
    Raises:
      ColumnNotFoundError: if there is no such column; the message names similar ones.
      FormulaDataError: if several columns have this name, or its type has no meaning in a formula.
    """
    if name not in frame.read:
        frame.read[name] = _read(frame, name)
    return frame.read[name]


def _mapping_frame(data: Mapping[Any, Any]) -> Frame:
    import pandas as pd

    def series(value: Any) -> Any:
        if hasattr(value, "shape") and len(value.shape) > 1:
            raise FormulaDataError(
                f"every column must be one-dimensional, not of shape {value.shape}"
            )
        if not _is_column(value):
            raise FormulaDataError(
                f"a column must be an array, not {kinds.shown(value)}",
                hint="Give a value for each row, in a list or an array; repeat a constant.",
            )
        if type(value).__module__.startswith("pyarrow"):
            return value
        opened = nw.from_native(value, series_only=True, pass_through=True)
        try:
            return opened if isinstance(opened, nw.Series) else pd.Series(value, copy=False)
        except (TypeError, ValueError) as error:
            raise FormulaDataError(
                f"a column cannot be made of {kinds.shown(value)}: {error}",
                hint="Give a value for each row, in a list or an array.",
            ) from error

    values = list(data.values())
    lengths = {str(name): len(series(value)) for name, value in data.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {length}" for name, length in list(lengths.items())[:8])
        raise FormulaDataError(
            f"the columns differ in length ({shown})",
            hint="Give every column one value for each row.",
        )
    return Frame(
        tuple(map(_name, data)),
        next(iter(lengths.values()), 0),
        lambda i: as_series(series(values[i])),
    )


def _is_column(value: Any) -> bool:
    """Whether it has values in an order, of one kind each."""
    if isinstance(value, str | bytes | Set | Mapping) or not hasattr(value, "__len__"):
        return False
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.names is None
    return True


def _native_frame(data: Any) -> Frame:
    # Columns go to narwhals one at a time: it refuses a whole frame for a repeated name, used or not.
    if nw.dependencies.is_pandas_dataframe(data):
        return Frame(
            tuple(map(_name, data.columns)),
            len(data),
            lambda i: data.iloc[:, i],
            labels=index_of(data),
        )
    if nw.dependencies.is_pyarrow_table(data):
        return Frame(
            tuple(map(_name, data.column_names)), data.num_rows, lambda i: as_series(data.column(i))
        )
    try:
        opened: Any = nw.from_native(data)
    except TypeError:
        raise FormulaDataError(
            f"the data must be a table, not {type(data).__name__}",
            hint="Pass a pandas or polars DataFrame, a pyarrow Table, a dict of arrays, or the path of a "
            "Parquet or CSV file.",
        ) from None
    if isinstance(opened, nw.LazyFrame):
        raise FormulaDataError(
            f"the data is a lazy frame of a kind that is not read here, {type(data).__name__}",
            hint="Call .collect() first.",
        )
    return Frame(tuple(map(_name, opened.columns)), len(opened), lambda i: opened[:, i])


def _series(column: Any) -> Any:
    return column if isinstance(column, InFile) else as_series(column)


def _source_frame(
    source: Source,
    used: Callable[[tuple[str, ...]], Iterable[str]] | None,
    row_bytes: RowBytes,
) -> Frame:
    """The frame of a source's columns that are used: others are never asked for."""
    columns = tuple(map(_name, source.columns))
    given = dict(zip(columns, source.columns, strict=True))
    wanted = columns if used is None else [name for name in used(columns) if name in given]
    found = gather(source, [*(given[name] for name in wanted), *source.labels], row_bytes)
    known = {given[name]: name for name in wanted}
    where = f"{found.num_bytes / 2.0**20:,.1f} MiB" + (" of files" if found.in_files else "")
    return Frame(
        columns,
        found.num_rows,
        lambda i: _series(found.columns[source.columns[i]]),
        texts=frozenset(known[name] for name in found.texts if name in known),
        by_name=frozenset(known[name] for name in source.by_name if name in known),
        in_files=found.in_files,
        origin=f"{found.num_rows:,} of {source.name}, {_plural(len(wanted), 'column')} read in {where}",
        # Of rows in files there are no labels: they would be as large as a column, in memory.
        labels=None
        if found.in_files
        else _labels([_as_written(found, name) for name in source.labels]),
    )


def _as_written(found: Gathered, name: str) -> Any:
    """A column as the source has it: of text no dictionary."""
    column = found.columns[name]
    return column.cast(column.type.value_type) if name in found.texts else column


def _labels(columns: list[Any]) -> Any:
    """The pandas Index that columns of pyarrow are; None without."""
    import pandas as pd

    each = [pd.Index(column.to_pandas()) for column in columns]
    if len(each) < 2:
        return each[0] if each else None
    return pd.MultiIndex.from_arrays(each)


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _name(name: object) -> str:
    return unicodedata.normalize("NFC", str(name))  # as `parse` does with the formula


def _read(frame: Frame, name: str) -> Column:
    positions = frame.positions.get(name, [])
    if not positions:
        raise missing_column(frame, name)
    if len(positions) > 1:
        raise FormulaDataError(
            f"the data has {len(positions)} columns named {name!r}",
            hint="Rename or drop all but one, so that it is clear which one is meant.",
        )
    native = frame.series(positions[0])
    numbers = _plain(native)
    if numbers is not None:
        return numbers
    try:
        if isinstance(native, InFile):
            column = of_file(native)
            is_text = name in frame.texts and isinstance(column, Categories)
            is_named = is_text or name in frame.by_name
            return by_name(column, is_text=is_text) if is_named else column
        series = as_series(native)
        if name in frame.texts and series.null_count() < len(series):
            return by_name(of_dictionary(series.to_native()), is_text=True)
        column = converted(series)
        is_named = name in frame.by_name and isinstance(column, Categories)
        return by_name(column) if is_named else column
    except FormulaDataError as error:
        raise FormulaDataError(f"column {name!r} {error.problem}", hint=error.hint) from None
    except ArithmeticError:  # decimals that signal when they are looked at
        raise FormulaDataError(
            f"column {name!r} holds a number that cannot be calculated with, such as a signalling NaN",
            hint="Convert the column to float.",
        ) from None


def _plain(native: Any) -> Numbers | None:
    """Numbers of NumPy's types in a pandas series, read as they are; None of anything else."""
    dtype = getattr(native, "dtype", None)
    if not isinstance(dtype, np.dtype) or dtype not in PLAIN:
        return None
    values = native.to_numpy()
    return Numbers(values if dtype.kind != "f" else np.asarray(values, np.float64))


def missing_column(
    frame: Frame, name: str, span: Span | None = None, what: str = "the formula uses"
) -> ColumnNotFoundError:
    """The error for a name that is not a column; `what` has it, at `span`."""
    folded = {column.casefold(): column for column in reversed(frame.columns)}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.65)
    guess = f"Did you mean {folded[near[0]]!r}? " if near else ""
    return ColumnNotFoundError(
        f"{what} {name!r}, which is not a column of the data",
        span=span,
        hint=f"{guess}Columns: {listed(frame.columns)}.",
    )
