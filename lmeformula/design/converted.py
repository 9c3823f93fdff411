"""A column of any library as numbers, logical values or a factor."""

from __future__ import annotations

import datetime as dt
import importlib
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from lmeformula.arrays import Floats
from lmeformula.design.values import (
    Categories,
    Column,
    Logicals,
    Numbers,
    format_number,
    merge_levels,
    renumbered,
    sorted_codes,
)
from lmeformula.errors import FormulaDataError
from lmeformula.rows.dictionaries import with_named_levels
from lmeformula.rows.poured import InFile


def as_series(native: Any) -> nw.Series[Any]:
    """A column of a library that narwhals knows, as its series."""
    if isinstance(native, nw.Series):
        return native
    if type(native).__module__.startswith("pyarrow") and not hasattr(native, "chunks"):
        native = importlib.import_module("pyarrow").chunked_array([native])
    return nw.from_native(native, series_only=True)


def converted(series: nw.Series[Any]) -> Column:
    """A column as what its type means in a formula.

    Raises:
      FormulaDataError: if it means nothing; the message goes on from the column's name.
    """
    dtype, num_missing = series.dtype, series.null_count()
    if num_missing == len(series):  # a column of nothing has no type either
        return Numbers(np.full(len(series), np.nan))
    if dtype == nw.Boolean:
        return Logicals(_floats(series))
    if dtype.is_integer():
        is_wide = isinstance(dtype, nw.Int128 | nw.UInt128)  # NumPy has no such integers
        if not (num_missing or is_wide):
            return Numbers(series.to_numpy())
        return _whole_numbers(np.array(series.to_list(), dtype=object))
    if dtype.is_numeric():
        floats = _floats(series)
        if dtype.is_decimal() and np.nanmax(np.abs(floats)) >= 2**53:  # ids, if they are whole
            values = np.array(series.to_list(), dtype=object)
            if all(value is None or value == int(value) for value in values.tolist()):
                return _whole_numbers(values)
        return Numbers(floats)
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


def of_file(column: InFile) -> Column:
    """A column in a file."""
    if column.levels is None:
        return Logicals(column.values) if column.is_logical else Numbers(column.values)
    names = _level_names(list(column.levels))
    return merge_levels(column.values, names, ordered=column.is_ordered)


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
        return of_dictionary(native)
    if series.implementation.is_pandas_like():
        if not isinstance(native.dtype, pd.CategoricalDtype):  # pandas' Arrow dictionaries
            return _factor(as_series(series.to_arrow()))
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


def of_dictionary(column: Any) -> Categories:
    """A factor of pyarrow's dictionary array, in the order of its dictionary."""
    import pyarrow as pa

    whole = with_named_levels(column).unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], column.type)
    indices = whole.indices.cast(pa.int64())  # they may have no sign
    codes = indices.fill_null(-1).to_numpy(zero_copy_only=False)
    names = _level_names(whole.dictionary.to_pylist())
    return merge_levels(codes, names, ordered=bool(column.type.ordered))


def by_name(factor: Column, *, is_text: bool = False) -> Column:
    """A factor with its levels in the order of their names."""
    assert isinstance(factor, Categories)
    levels = tuple(sorted(factor.levels))
    if levels == factor.levels:
        return Categories(factor.codes, levels, is_text=is_text)
    order = sorted(range(len(factor.levels)), key=factor.levels.__getitem__)
    rank = np.empty(len(order) + 1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    rank[-1] = -1
    levels = tuple(factor.levels[place] for place in order)
    return Categories(renumbered(factor.codes, rank), levels, is_text=is_text)


def _level_names(levels: list[Any]) -> list[str]:
    """What the levels of a categorical are called: whole numbers as in a column of them.

    Raises:
      FormulaDataError: if two levels of different types are spelled alike, such as 1 and "1".
    """
    if all(type(level) is str for level in levels) and len(set(levels)) == len(levels):
        return levels
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
