"""Second stage: a summary of the fixed part's columns, from which reference grids are made without the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.design.evaluate import data_columns
from lmeformula.design.frame import Frame, column_of
from lmeformula.design.values import (
    Categories,
    Column,
    Logicals,
    Numbers,
    drop_unused,
    sorted_codes,
    take,
)
from lmeformula.formula.ir import Expression, FixedPart

Level = str | float | bool


class ObservedColumn(NamedTuple):
    """One column of the data, on the rows used.

    Attributes:
      name: of the column.
      levels: its distinct values, in order, if it is a factor: categories, logical values, numbers that the
        formula makes a factor of, or that take two values only; else ().
      mean: of numbers; nan for categories.
      low: smallest number.
      high: largest number.
    """

    name: str
    levels: tuple[Level, ...]
    mean: float
    low: float
    high: float

    @property
    def is_factor(self) -> bool:
        """Whether it has levels."""
        return bool(self.levels)


class Aliases(NamedTuple):
    """How fixed columns that were left out follow from those that were kept.

    Attributes:
      kept: positions of the columns that were kept among all.
      dropped: positions of those left out.
      relation: (kept, dropped) coefficients.
    """

    kept: tuple[int, ...]
    dropped: tuple[int, ...]
    relation: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """What a reference grid needs to know of the data.

    Attributes:
      columns: the columns of the fixed part and of the offsets, in order of appearance.
      cells: (c, f) the combinations of factor levels that occur, as positions in `levels`, f factors.
      counts: (c,) how many rows have each, as often as they are there.
      offset: mean of the whole offset.
      aliases: of columns left out, or None where there are none.
    """

    columns: tuple[ObservedColumn, ...]
    cells: Ints
    counts: Ints
    offset: float
    aliases: Aliases | None = None

    @property
    def factors(self) -> tuple[ObservedColumn, ...]:
        """The columns that are factors, in the order of the columns of `cells`."""
        return tuple(column for column in self.columns if column.is_factor)


def observe(
    fixed: FixedPart,
    frame: Frame,
    variables: Mapping[Expression, Column],
    rows: Ints | None,
    offset: Floats,
    aliases: Aliases | None = None,
    times: Ints | None = None,
) -> Observed:
    """Summarise the columns of the fixed part.

    Args:
      fixed: the fixed part.
      frame: the data.
      variables: the values of the fixed part's variables.
      rows: the rows used, or None for all.
      offset: (rows used,) the whole offset.
      aliases: of columns left out.
      times: (rows used,) how many identical rows each stands for; None for one.
    Returns:
      The summary.
    """
    categorical: dict[str, bool] = {}
    for variable in fixed.sum.variables:
        is_factor = not isinstance(variables[variable], Numbers)
        for column in data_columns(variable):
            categorical[column.name] = categorical.get(column.name, False) or is_factor
    for expression in fixed.offsets:
        for column in data_columns(expression):
            categorical.setdefault(column.name, False)
    found, codes = [], []
    for name, is_factor in categorical.items():
        if name not in frame.read:  # a constant such as pi, or the name of contrasts
            continue
        observed, positions = _column(name, take(column_of(frame, name), rows), is_factor, times)
        found.append(observed)
        if positions is not None:
            codes.append(positions)
    cells, counts = cells_of(codes, np.ones(len(offset), np.int64) if times is None else times)
    return Observed(tuple(found), cells, counts, float(np.average(offset, weights=times)), aliases)


def aliases_of(values: Floats, kept: list[int]) -> Aliases | None:
    """How the columns of `values` (n, k) that are not kept follow from the others; None if all are kept."""
    dropped = [i for i in range(values.shape[1]) if i not in set(kept)]
    if not dropped:
        return None
    relation = np.linalg.lstsq(values[:, kept], values[:, dropped])[0]
    return Aliases(tuple(kept), tuple(dropped), np.asarray(relation))


def _column(
    name: str, column: Column, is_factor: bool, times: Ints | None
) -> tuple[ObservedColumn, Ints | None]:
    nan = float("nan")
    if isinstance(column, Categories):
        factor = drop_unused(column)
        return ObservedColumn(name, factor.levels, nan, nan, nan), factor.codes
    values = np.asarray(column.values, dtype=np.float64)
    is_there = ~np.isnan(values)
    present = values[is_there]
    if not present.size:
        return ObservedColumn(name, (), nan, nan, nan), None
    mean = float(np.average(present, weights=None if times is None else times[is_there]))
    low, high = float(present.min()), float(present.max())
    if isinstance(column, Logicals):
        codes = np.where(np.isnan(values), -1.0, values).astype(np.int64)
        return ObservedColumn(name, (False, True), mean, low, high), codes
    if is_factor or (((values == low) | (values == high)).all() and low < high):
        codes, uniques = sorted_codes(values)
        return ObservedColumn(name, tuple(uniques.tolist()), mean, low, high), codes
    return ObservedColumn(name, (), mean, low, high), None


def cells_of(codes: list[Ints], times: Ints) -> tuple[Ints, Ints]:
    """The distinct combinations of codes, and the sums of `times`, how often each row is there."""
    if not codes:
        return np.zeros((1, 0), dtype=np.int64), np.array([times.sum()], dtype=np.int64)
    # A column may be missing where what the formula makes of it is not.
    table = np.column_stack(codes)
    is_whole = (table >= 0).all(axis=1)
    table = table[is_whole]
    label = np.zeros(len(table), dtype=np.int64)
    for part in table.T:
        # Renumbered after each factor, so that many factors do not overflow.
        label, _ = sorted_codes(label * (int(part.max(initial=0)) + 1) + part)
    _, first, place = np.unique(label, return_index=True, return_inverse=True)
    counts = np.zeros(len(first), np.int64)
    np.add.at(counts, place.reshape(-1), times[is_whole])
    return table[first], counts
