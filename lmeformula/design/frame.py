"""Second stage, first step: open a data frame of any kind and read single columns from it."""

from __future__ import annotations

import datetime as dt
import difflib
import importlib
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.design.values import (
    Categories,
    Column,
    Logicals,
    Numbers,
    format_number,
    listed,
    merge_levels,
    sorted_codes,
)
from lmeformula.errors import ColumnNotFoundError, FormulaDataError
from lmeformula.formula.ir import Span
from lmeformula.rows import Source, gather, source_of

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
      origin: where the rows were read from, in words; "" for a table in memory.
      read: the columns read so far, by name.
      positions: where each name stands; several places for a repeated one.
    """

    columns: tuple[str, ...]
    num_rows: int
    series: Callable[[int], Any]
    texts: frozenset[str] = frozenset()
    by_name: frozenset[str] = frozenset()
    origin: str = ""
    read: dict[str, Column] = field(default_factory=dict)
    positions: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for position, name in enumerate(self.columns):
            self.positions.setdefault(name, []).append(position)


def open_frame(
    data: object, used: Callable[[tuple[str, ...]], Iterable[str]] | None = None
) -> Frame:
    """Open a pandas or polars frame, a pyarrow table, a mapping of names to arrays, or a source of rows.

    Args:
      data: the table; it is neither changed nor copied. What `lmeformula.rows.source_of` takes is read, once.
      used: names of all columns -> those of a source that are read; all without.
    Returns:
      The frame; of a table in memory no column has been read yet.
    Raises:
      FormulaDataError: if this is no table, has no rows or no columns, or its columns differ in length; if a
        source cannot be read.
    Example:
      >>> open_frame({"x": [1.0, 2.0], "g": ["a", "b"]}).columns
      ('x', 'g')
    """
    if isinstance(data, Mapping):
        frame = _mapping_frame(data)
    elif (source := source_of(data)) is not None:
        frame = _source_frame(source, used)
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
            return opened if isinstance(opened, nw.Series) else pd.Series(value)
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
        lambda i: _series(series(values[i])),
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
        return Frame(tuple(map(_name, data.columns)), len(data), lambda i: data.iloc[:, i])
    if nw.dependencies.is_pyarrow_table(data):
        return Frame(
            tuple(map(_name, data.column_names)), data.num_rows, lambda i: _series(data.column(i))
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


def _source_frame(source: Source, used: Callable[[tuple[str, ...]], Iterable[str]] | None) -> Frame:
    """The frame of a source's columns that are used: others are never asked for."""
    columns = tuple(map(_name, source.columns))
    given = dict(zip(columns, source.columns, strict=True))
    wanted = columns if used is None else [name for name in used(columns) if name in given]
    found = gather(source, [given[name] for name in wanted])
    known = {given[name]: name for name in wanted}
    return Frame(
        columns,
        found.num_rows,
        lambda i: _series(found.columns[source.columns[i]]),
        texts=frozenset(known[name] for name in found.texts),
        by_name=frozenset(known[name] for name in source.by_name if name in known),
        origin=f"{found.num_rows:,} of {source.name}, {_plural(len(wanted), 'column')} read in "
        f"{found.num_bytes / 2.0**20:,.1f} MiB",
    )


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _name(name: object) -> str:
    return unicodedata.normalize("NFC", str(name))  # as `parse` does with the formula


def _series(native: Any) -> nw.Series[Any]:
    if isinstance(native, nw.Series):
        return native
    if type(native).__module__.startswith("pyarrow") and not hasattr(native, "chunks"):
        native = importlib.import_module("pyarrow").chunked_array([native])
    return nw.from_native(native, series_only=True)


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
    series = _series(native)
    try:
        if name in frame.texts and series.null_count() < len(series):
            return _by_name(_dictionary(series.to_native()), is_text=True)
        column = _convert(series)
        return _by_name(column) if name in frame.by_name else column
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


def _convert(series: nw.Series[Any]) -> Column:
    dtype, num_missing = series.dtype, series.null_count()
    if num_missing == len(series):  # a column of nothing has no type either
        return Numbers(np.full(len(series), np.nan))
    if dtype == nw.Boolean:
        return Logicals(_floats(series))
    if dtype.is_integer():
        if not num_missing:
            return Numbers(series.to_numpy())
        return _whole_numbers(np.array(series.to_list(), dtype=object))
    if dtype.is_numeric():
        return Numbers(_floats(series))
    if isinstance(dtype, nw.Categorical | nw.Enum):
        return _factor(series)
    if dtype == nw.String:
        is_pandas = series.implementation.is_pandas_like()
        codes, uniques = sorted_codes(series.to_native() if is_pandas else series.to_numpy())
        return merge_levels(codes, [str(value) for value in uniques.tolist()], is_text=True)
    if dtype.is_temporal():
        return _times(series.to_numpy())
    if dtype == nw.Object:
        return _objects(series.to_numpy())
    native = series.to_native()
    raise FormulaDataError(
        f"has the type {getattr(native, 'dtype', getattr(native, 'type', dtype))}, "
        "which means nothing in a formula",
        hint="Use numbers, logical values, strings or categories.",
    )


def _times(values: NDArray[Any]) -> Categories:
    # Times can group rows; as numbers they would need a unit and an origin, which only the user knows.
    codes, uniques = sorted_codes(values)
    spelled = (
        np.datetime_as_string(uniques, unit="auto")
        if uniques.dtype.kind == "M"
        else [str(value) for value in uniques]
    )
    return merge_levels(codes, [str(value) for value in spelled], is_time=True)


def _whole_numbers(values: NDArray[Any]) -> Numbers:
    """Whole numbers some of which are missing, or too large for an integer type: float64 may merge them.

    Args:
      values: (n,) objects: Python's or NumPy's integers, or missing.
    """
    import pandas as pd

    present = ~pd.isna(values)
    known = [int(value) for value in values[present].tolist()]
    try:
        floats = np.full(values.shape, np.nan)
        floats[present] = known
    except OverflowError:
        raise FormulaDataError(
            "holds a whole number that is too large to calculate with", hint="Write ids as strings."
        ) from None
    if all(abs(value) < 2**53 for value in known):
        return Numbers(floats)
    order = sorted(set(known))
    place = {value: i for i, value in enumerate(order)}
    codes = np.full(values.shape, -1, dtype=np.int64)
    codes[present] = [place[value] for value in known]
    return Numbers(floats, exactly=Categories(codes, tuple(map(str, order))))


def _floats(series: nw.Series[Any]) -> Floats:
    cast = series.cast(nw.Float64)
    if cast.null_count():
        cast = cast.fill_null(float("nan"))
    return np.asarray(cast.to_numpy(), dtype=np.float64)


def _factor(series: nw.Series[Any]) -> Categories:
    import pandas as pd

    native: Any = series.to_native()
    if series.implementation.is_pyarrow():
        return _dictionary(native)
    if series.implementation.is_pandas_like():
        if not isinstance(native.dtype, pd.CategoricalDtype):  # pandas' Arrow dictionaries
            return _factor(_series(series.to_arrow()))
        names = _level_names(native.cat.categories.tolist())
        codes = native.cat.codes.to_numpy().astype(np.int64)
        return merge_levels(codes, names, ordered=bool(native.cat.ordered))
    values = np.asarray(series.cast(nw.String).to_numpy(), dtype=object)
    if series.implementation.is_polars() and series.dtype == nw.Categorical:
        # The category order of polars depends on what else this process has seen; the sorted one does not.
        codes, uniques = sorted_codes(values)
        return merge_levels(codes, uniques.tolist())
    names = [str(level) for level in series.cat.get_categories().to_list()]
    codes = pd.Categorical(values, categories=pd.Index(names).unique()).codes
    return merge_levels(codes.astype(np.int64), list(dict.fromkeys(names)))


def _dictionary(column: Any) -> Categories:
    """A factor of pyarrow's dictionary array, in the order of its dictionary."""
    import pyarrow as pa

    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], column.type)
    if whole.dictionary.null_count:  # a missing value may stand there; decoded it is one
        whole = whole.dictionary_decode().dictionary_encode()
    codes = whole.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    names = _level_names(whole.dictionary.to_pylist())
    return merge_levels(codes, names, ordered=bool(column.type.ordered))


def _by_name(factor: Column, *, is_text: bool = False) -> Column:
    """A factor with its levels in the order of their names."""
    assert isinstance(factor, Categories)
    order = sorted(range(len(factor.levels)), key=factor.levels.__getitem__)
    rank = np.empty(len(order) + 1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    rank[-1] = -1
    levels = tuple(factor.levels[place] for place in order)
    return Categories(rank[factor.codes], levels, is_text=is_text)


def _level_names(levels: list[Any]) -> list[str]:
    """What the levels of a categorical are called: whole numbers as in a column of them.

    Raises:
      FormulaDataError: if two levels of different types are spelled alike, such as 1 and "1".
    """
    names = [
        format_number(float(level) if isinstance(level, float | np.floating) else int(level))
        if isinstance(level, float | int | np.floating | np.integer)
        and not isinstance(level, bool | np.bool_)
        and np.isfinite(level)
        else str(level)
        for level in levels
    ]
    seen: dict[str, Any] = {}
    for name, level in zip(names, levels, strict=True):
        if name in seen:
            raise FormulaDataError(
                f"has the levels {seen[name]!r} and {level!r}, which are spelled alike",
                hint="Convert the categories to one type, or rename one of them.",
            )
        seen[name] = level
    return names


def _objects(values: NDArray[Any]) -> Column:
    import pandas as pd

    present = ~pd.isna(values)
    types = {type(value) for value in values[present].tolist()}
    if types and all(issubclass(kind, bool | np.bool_) for kind in types):
        logical = np.full(values.shape, np.nan)
        logical[present] = values[present].astype(np.float64)
        return Logicals(logical)
    if types and all(issubclass(kind, dt.date | dt.time | dt.timedelta) for kind in types):
        return _times(values)
    if types and all(issubclass(kind, str) for kind in types):
        codes, uniques = sorted_codes(values)
        return merge_levels(codes, [str(value) for value in uniques.tolist()], is_text=True)
    if types and all(issubclass(kind, int | np.integer) for kind in types):
        return _whole_numbers(values)
    try:
        if any(issubclass(kind, str | bytes | complex | np.complexfloating) for kind in types):
            raise TypeError
        numbers = np.full(values.shape, np.nan)
        numbers[present] = values[present].astype(np.float64)
    except (TypeError, ValueError, OverflowError, ArithmeticError):
        shown = ", ".join(sorted(kind.__name__ for kind in types))
        raise FormulaDataError(
            f"mixes values of several types or of a type without a meaning here ({shown})",
            hint="Convert the column to one type: numbers, strings, or categories.",
        ) from None
    return Numbers(numbers)
