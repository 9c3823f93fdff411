"""Second stage, vocabulary: the values that columns and expressions take, one entry for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.errors import FormulaDataError
from lmeformula.rows.mapped import beside, in_file, is_in_file, row_blocks


@dataclass(frozen=True, slots=True, eq=False)
class Coding:
    """How a factor's levels become columns where they are coded by contrasts.

    Attributes:
      kind: "treatment", "sum", "helmert", "poly", "sas", "diff" or "custom".
      base: the reference level of treatment coding, by name or as a position from 1; None for the first.
      matrix: (levels, columns) of a custom coding, else None.
    """

    kind: str = "treatment"
    base: str | int | None = None
    matrix: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """Numbers: (n,), or (n, m) for a matrix such as poly(x, 2); NaN where missing.

    `columns` names the m columns of a matrix. Columns of the data keep their integer type; whole numbers that
    float64 does not tell apart, or that stand beside missing ones, are a factor as well, which is what groups.
    """

    values: NDArray[Any]
    columns: tuple[str, ...] = ()
    exactly: Categories | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Logicals:
    """Truth values: (n,) float64 of 0 and 1; NaN where missing."""

    values: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Categories:
    """A factor: (n,) int64 positions in `levels`, int32 in a file; -1 where missing.

    `is_text` marks a column of strings, whose levels are its sorted values and mean no order; `is_time` one of
    dates or times.
    """

    codes: Ints
    levels: tuple[str, ...]
    ordered: bool = False
    coding: Coding | None = None
    is_text: bool = False
    is_time: bool = False


# Whole numbers of at most so many times their count are numbered by a table, which is faster than by hashes.
DENSE = 2

Column: TypeAlias = Numbers | Logicals | Categories
Scalar: TypeAlias = float | bool | str | None
Value: TypeAlias = Column | Scalar | tuple[Scalar, ...] | Coding
# Columns (n, k) of a model matrix, and their names (k).
Block: TypeAlias = tuple[Floats, tuple[str, ...]]


class Variable(NamedTuple):
    """A variable of a model matrix: its displayed name and its values on the rows used, none missing."""

    name: str
    values: Column


def num_rows(column: Column) -> int:
    """Count the rows of a column."""
    return int((column.codes if isinstance(column, Categories) else column.values).shape[0])


def missing(column: Column) -> Mask:
    """Mark the rows where a column is missing; a matrix's row is, where any of its entries is."""
    if isinstance(column, Categories):
        return np.asarray(column.codes < 0)
    if column.values.dtype.kind != "f":
        return np.zeros(column.values.shape[0], dtype=bool)
    nan = np.isnan(column.values)
    return np.asarray(nan if nan.ndim == 1 else nan.any(axis=1))


def take(column: Column, rows: Ints | None) -> Column:
    """Pick rows of a column; None keeps all of them, without a copy."""
    if rows is None:
        return column
    if isinstance(column, Categories):
        return replace(column, codes=rows_of(column.codes, rows))
    if isinstance(column, Numbers) and column.exactly is not None:
        exactly = replace(column.exactly, codes=column.exactly.codes[rows])
        return replace(column, values=column.values[rows], exactly=exactly)
    return replace(column, values=rows_of(column.values, rows))


def rows_of(array: NDArray[Any], rows: Ints) -> NDArray[Any]:
    """Some rows of an array, where the array is."""
    if not is_in_file(array):
        return array[rows]
    found = beside(array, (len(rows), *array.shape[1:]), array.dtype)
    for block in row_blocks(len(rows)):
        found[block] = array[rows[block]]
    return found


def in_files(column: Column) -> Column:
    """A column in files; what is there already stays."""
    values = column.codes if isinstance(column, Categories) else column.values
    if is_in_file(values):
        return column
    moved = in_file(values.shape, np.int32 if isinstance(column, Categories) else values.dtype)
    moved[...] = values
    if isinstance(column, Categories):
        return replace(column, codes=moved)
    return replace(column, values=moved)


def describe(value: Value) -> str:
    """Say what kind of value this is, in an error message's words."""
    match value:
        case Numbers():
            return "numbers" if value.values.ndim == 1 else "a matrix of numbers"
        case Logicals():
            return "logical values"
        case Categories():
            return "text" if value.is_text else "dates or times" if value.is_time else "a factor"
        case Coding():
            return "contrasts"
        case tuple():
            return "a list of constants"
        case None:
            return "NULL"
    return f"the constant {value!r}"


def listed(names: Sequence[str], most: int = 20) -> str:
    """List names in a message, not more than so many."""
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")


def as_floats(value: Value, purpose: str) -> Floats:
    """Read numbers, logical values or one constant as float64, the shape kept.

    Raises:
      FormulaDataError: for text and factors.
    """
    if isinstance(value, Numbers | Logicals):
        return np.asarray(value.values, dtype=np.float64)
    if isinstance(value, bool | int | float):
        return np.asarray(value, dtype=np.float64)
    hint = ""
    if isinstance(value, Categories):
        shown = ", ".join(repr(level) for level in value.levels[:4])
        hint = (
            f"Its values are {shown}{', ...' if len(value.levels) > 4 else ''}; "
            "as.numeric() turns text that spells numbers, and a factor's positions, into numbers."
        )
    raise FormulaDataError(f"{purpose} needs numbers, not {describe(value)}", hint=hint)


def format_number(value: float) -> str:
    """Write a number as the name of a level: whole numbers plainly, others to 15 digits as R does.

    Whole numbers are written out as far as float64 tells neighbours apart: ids of 16 digits are not merged.
    """
    if isinstance(value, int | np.integer):
        return str(int(value))
    if float(value).is_integer() and abs(value) < 2.0**53:
        return str(int(value))
    return f"{value:.15g}"


def _number_names(values: NDArray[Any]) -> list[str]:
    """What `format_number` writes for each of some numbers."""
    if values.dtype.kind == "f" and (np.abs(values) < 2.0**53).all():
        whole = values.astype(np.int64)
        values = whole if (whole == values).all() else values
    if values.dtype.kind in "iu":
        return list(map(str, values.tolist()))
    return [format_number(value) for value in values.tolist()]


def categories(column: Column) -> Categories:
    """Read any column as a factor: numbers by value, logical values as False < True.

    Raises:
      FormulaDataError: for a matrix, which has no levels.
    """
    if isinstance(column, Categories):
        return column
    if isinstance(column, Logicals):
        codes = np.where(np.isnan(column.values), -1, column.values).astype(np.int64)
        return Categories(codes, ("False", "True"))
    if column.values.ndim != 1:
        raise FormulaDataError("a matrix cannot be a factor")
    if column.exactly is not None:
        return column.exactly
    codes, uniques = sorted_codes(column.values)
    return merge_levels(codes, _number_names(uniques))


def sorted_codes(values: NDArray[Any]) -> tuple[Ints, NDArray[Any]]:
    """Number the distinct values of an array in their sorted order; missing ones get -1.

    Returns:
      codes: (n,) int64; uniques: the sorted distinct values.
    """
    found = _codes_by_table(values)
    if found is not None:
        return found
    if is_in_file(values):
        return _codes_by_search(values)
    import pandas as pd  # an import of 0.5 s that parsing alone should not pay

    codes, uniques = pd.factorize(values)
    uniques = np.asarray(uniques)
    order = np.argsort(uniques, kind="stable")
    rank = np.empty(order.size + 1, dtype=np.int64)
    rank[order] = np.arange(order.size)
    rank[-1] = -1  # where pandas' code -1, missing, points
    return rank[codes], uniques[order]


def _codes_by_table(values: NDArray[Any]) -> tuple[Ints, NDArray[Any]] | None:
    """`sorted_codes` of whole numbers that lie close to one another, which is faster so; None of others."""
    if not (isinstance(values, np.ndarray) and values.dtype.kind in "iu" and values.size):
        return None
    low, high = int(values.min()), int(values.max())
    if high - low >= DENSE * values.size or high > np.iinfo(np.int64).max:
        return None
    seen = np.zeros(high - low + 1, dtype=bool)
    blocks = list(row_blocks(values.size))
    for rows in blocks:
        seen[values[rows].astype(np.int64) - low] = True
    place = np.cumsum(seen) - 1
    codes = beside(values, values.shape, _code_type(values))
    for rows in blocks:
        codes[rows] = place[values[rows].astype(np.int64) - low]
    return codes, (np.flatnonzero(seen) + low).astype(values.dtype)


def _codes_by_search(values: NDArray[Any]) -> tuple[Ints, NDArray[Any]]:
    """`sorted_codes` of numbers in a file, where the codes are as well."""
    blocks = list(row_blocks(values.size))
    uniques = np.unique(np.concatenate([np.unique(values[rows]) for rows in blocks]))
    uniques = uniques[uniques == uniques]
    codes = beside(values, values.shape, _code_type(values))
    for rows in blocks:
        part = values[rows]
        codes[rows] = np.where(part == part, np.searchsorted(uniques, part), -1)
    return codes, uniques


def _code_type(values: NDArray[Any]) -> type:
    return np.int32 if is_in_file(values) else np.int64


def renumbered(codes: Ints, table: Ints) -> Ints:
    """(n,) the entries of a table for codes, of which -1 is for the last; where the codes are."""
    if not is_in_file(codes):
        return table[codes]
    found = beside(codes, codes.shape, codes.dtype)
    for rows in row_blocks(len(codes)):
        found[rows] = table[codes[rows]]
    return found


def merge_levels(codes: Ints, names: Sequence[str], **marks: bool) -> Categories:
    """Make a factor of codes and names; values that print alike become one level, as in R.

    `marks` are those of `Categories`: ordered, is_text, is_time.
    """
    levels = tuple(dict.fromkeys(names))
    if len(levels) < len(names):
        position = places_of(levels)
        codes = renumbered(
            codes, np.array([position[name] for name in names] + [-1], dtype=np.int64)
        )
    return Categories(codes, levels, **marks)  # type: ignore[arg-type]


def drop_unused(factor: Categories) -> Categories:
    """Leave out the levels that no row has; the order of the others stays."""
    used = _used(factor)[:-1]
    if used.all():
        return factor
    position = np.append(np.cumsum(used) - 1, -1)
    levels = tuple(level for level, keep in zip(factor.levels, used.tolist(), strict=True) if keep)
    coding = factor.coding
    if coding is not None and coding.matrix is not None:
        coding = replace(coding, matrix=coding.matrix[used])
    return replace(factor, codes=renumbered(factor.codes, position), levels=levels, coding=coding)


def places_of(levels: Sequence[str]) -> dict[str, int]:
    """The place of each of some levels."""
    return {level: place for place, level in enumerate(levels)}


def recode(
    factor: Categories, levels: Sequence[str], places: Mapping[str, int] | None = None
) -> tuple[Ints, tuple[str, ...]]:
    """Express a factor in other levels.

    Args:
      factor: the factor.
      levels: the others.
      places: of these, `places_of` them, where it is known.

    Returns:
      codes: (n,) positions in `levels`, -1 where missing or not among them; unknown: the observed
      levels that are not among them.
    """
    position = places_of(levels) if places is None else places
    found = [position.get(level, -1) for level in factor.levels]
    table = np.array([*found, -1], dtype=np.int64)
    lacking = np.flatnonzero((table < 0) & _used(factor))
    unknown = tuple(factor.levels[place] for place in lacking if place < len(found))
    return table[factor.codes], unknown


def _used(factor: Categories) -> Mask:
    """Which levels some row has; one place more for missing ones."""
    used = np.zeros(len(factor.levels) + 1, dtype=bool)
    for rows in row_blocks(len(factor.codes)):
        used[factor.codes[rows]] = True  # -1, missing, is the extra last place
    return used
