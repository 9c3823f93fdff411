"""Second stage: rows that have several levels of one factor, its members - mm(g, h, weights = cbind(w, v))."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.design.grouping import Grouping
from lmeformula.design.labels import label
from lmeformula.design.values import Categories, Column, Numbers, drop_unused, recode
from lmeformula.errors import FormulaDataError
from lmeformula.formula.ir import Expression, GroupingFactor


def group_members(factors: Sequence[Categories]) -> tuple[Grouping, Ints]:
    """Number the levels of members: those of all the columns, matched by name.

    Args:
      factors: (s) the columns on the rows used, none missing.
    Returns:
      The grouping, and (n, s) the levels of each row.
    """
    levels = _in_order([drop_unused(factor).levels for factor in factors])
    codes = np.column_stack([recode(factor, levels)[0] for factor in factors])
    return Grouping((levels,), (), levels), codes


def match_members(
    grouping: Grouping, factors: Sequence[Categories]
) -> tuple[Ints, tuple[str, ...]]:
    """Find the levels of new rows among those of the data of the fit; see `match_rows`."""
    (levels,), (places,) = grouping.parts, grouping.places
    each = [recode(factor, levels, places) for factor in factors]
    numbers: dict[str, int] = {}
    columns = []
    for factor, (codes, unknown) in zip(factors, each, strict=True):
        for name in unknown:
            numbers.setdefault(name, len(numbers))
        table = np.array([-1 - numbers.get(name, -1) for name in factor.levels] or [0])
        columns.append(np.where(codes < 0, table[factor.codes], codes))
    return np.column_stack(columns), tuple(numbers)


def shares_of(
    group: GroupingFactor, variables: Mapping[Expression, Column], num_rows: int
) -> Floats:
    """(n, s) what each member of a row counts for.

    References:
      Browne, Goldstein, Rasbash (2001), Statistical Modelling 1, 103-124.
    """
    count = len(group.names)
    if not group.weights:
        return np.full((num_rows, count), 1.0 / count)
    shares = np.column_stack([_weight(each, variables[each], group) for each in group.weights])
    if not group.is_scaled:
        return shares
    _check_rows(group, np.asarray((shares < 0.0).any(axis=1)), "negative weights")
    totals = shares.sum(axis=1)
    _check_rows(group, totals == 0.0, "weights that are all zero")
    return np.asarray(shares / totals[:, None])


def _weight(weight: Expression, column: Column, group: GroupingFactor) -> Floats:
    if not isinstance(column, Numbers) or column.values.ndim != 1:
        raise FormulaDataError(
            f"the weights of {group.label} are numbers, and '{label(weight)}' is not one a row",
            span=weight.span or group.span,
        )
    return np.asarray(column.values, float)


def _check_rows(group: GroupingFactor, is_wrong: Mask, what: str) -> None:
    count = int(is_wrong.sum())
    if count:
        raise FormulaDataError(
            f"{count} {'row has' if count == 1 else 'rows have'} {what} in {group.label}, the first is row "
            f"{int(is_wrong.argmax()) + 1} of those used",
            span=group.span,
            hint="They are scaled to add up to one in each row; scale = FALSE takes them as they are.",
        )


def _in_order(each: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The levels of all columns: numbers by size, what is sorted sorted, others as they appear."""
    every = dict.fromkeys(name for levels in each for name in levels)
    try:
        return tuple(sorted(every, key=float))
    except ValueError:
        pass
    is_sorted = all(list(levels) == sorted(levels) for levels in each)
    return tuple(sorted(every) if is_sorted else every)
