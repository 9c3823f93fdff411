"""Second stage: smooths as columns - what is not penalised, and what is, with one variance for each piece."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.design.curves import Curve, curve_rows, learn_curve
from lmeformula.design.evaluate import Scope, evaluate_column
from lmeformula.design.fixed import Matrix
from lmeformula.design.labels import label
from lmeformula.design.values import (
    Categories,
    Column,
    Logicals,
    Numbers,
    listed,
    recode,
    take,
)
from lmeformula.design.warn import warn
from lmeformula.errors import FormulaDataError, placed
from lmeformula.formula.ir import Call, FormulaRecord
from lmeformula.formula.smooths import Smooth, smooths_of
from lmeformula.rows.mapped import beside, row_blocks

# Of the range of the data, by how much new rows may be outside before it is said.
BEYOND = 1e-8


class SmoothColumns(NamedTuple):
    """The values of a smooth's variables.

    Attributes:
      smooth: which.
      variables: numbers, without the factor of a grouped one.
      by: what it is multiplied by, or whose levels have a curve each; None without.
    """

    smooth: Smooth
    variables: tuple[Column, ...]
    by: Column | None


class Made(NamedTuple):
    """A smooth on the rows used.

    Attributes:
      null: (n, m) what is not penalised.
      pieces: the columns of each of its terms of effects.
      parts: how many groups of them, one after another, have a variance of their own.
    """

    null: Numbers
    pieces: tuple[Matrix, ...]
    parts: int = 1


def smooth_columns(formula: FormulaRecord, scope: Scope) -> dict[Call, SmoothColumns]:
    """Evaluate the variables of the smooths of a formula, on all rows.

    Raises:
      FormulaDataError: if one is not a column of numbers.
    """
    found = {}
    for smooth in smooths_of(formula):
        variables = smooth.variables if smooth.group is None else smooth.variables[:-1]
        columns = []
        for variable in variables:
            column = evaluate_column(variable, scope)
            if not isinstance(column, Numbers) or column.values.ndim != 1:
                raise FormulaDataError(
                    f"'{label(variable)}' is not one column of numbers, as {smooth.call.function}() needs",
                    "E_SMOOTH",
                    span=variable.span or smooth.call.span,
                    hint='Write a factor as it is, or s(g, bs = "re") for effects of its levels.',
                )
            columns.append(column)
        by = None if smooth.by is None else evaluate_column(smooth.by, scope)
        if isinstance(by, Numbers) and by.values.ndim != 1:
            raise FormulaDataError(
                f"'{label(smooth.by)}' is not one column",  # type: ignore[arg-type]
                "E_SMOOTH",
                span=smooth.call.span,
            )
        if isinstance(by, Logicals):
            by = Numbers(np.asarray(by.values, float))
        found[smooth.call] = SmoothColumns(smooth, tuple(columns), by)
    return found


def smooths_on(
    columns: Mapping[Call, SmoothColumns], rows: Ints | None, scope: Scope
) -> dict[Call, Made]:
    """Make the smooths on the rows used; of the data of the fit, they learn from these rows.

    Args:
      columns: of `smooth_columns`.
      rows: the complete rows, or None for all.
      scope: whose memory learns or is read.
    Raises:
      FormulaDataError: if there are too few values for a basis, or new rows have a level of `by` that has
        no curve.
    """
    num_rows = scope.frame.num_rows if rows is None else len(rows)
    times = scope.times if rows is None or scope.times is None else scope.times[rows]
    found = {}
    for call, each in columns.items():
        some = each._replace(
            variables=tuple(take(column, rows) for column in each.variables),
            by=None if each.by is None else take(each.by, rows),
        )
        with placed(span=call.span):
            found[call] = _made(some, scope, times, num_rows)
    return found


def _effects(columns: SmoothColumns, num_rows: int) -> Made:
    """Intercepts, or slopes, of the levels of a factor."""
    if not columns.variables:
        matrix = Matrix(np.ones((num_rows, 1)), ("Intercept",))
    else:
        slope = np.asarray(columns.variables[0].values, float)  # type: ignore[union-attr]
        matrix = Matrix(slope[:, None], (label(columns.smooth.variables[0]),))
    return Made(Numbers(np.zeros((num_rows, 0))), (matrix,))


def _made(columns: SmoothColumns, scope: Scope, times: Ints | None, num_rows: int) -> Made:
    smooth = columns.smooth
    if smooth.bases == ("re",):
        return _effects(columns, num_rows)
    arrays = [np.asarray(column.values, float) for column in columns.variables]  # type: ignore[union-attr]
    for name, array in zip(smooth.variables, arrays, strict=False):
        if np.isinf(array).any():
            raise FormulaDataError(
                f"'{label(name)}' is infinite in {int(np.isinf(array).sum())} rows",
                hint="Leave these rows out or mark them missing.",
            )
    points, place = _distinct(arrays)
    by = columns.by
    if not scope.is_new:
        counts = np.bincount(place, times, len(points)).astype(float)
        scope.memory.calls[smooth.call] = learn_curve(smooth, points, counts, by)
    curve: Curve = scope.memory.calls[smooth.call]
    if scope.is_new:
        _warn_of_extrapolation(smooth, curve, points)
    table = curve_rows(curve, points)
    own, names = _multipliers(smooth, curve, by)
    fields = tuple(_field(smooth, each) for each in curve.names)
    near = columns.variables[0].values  # type: ignore[union-attr]
    null = _spread(table @ curve.null, place, own, near)
    nulls = tuple(":".join(filter(None, pair)) for pair in itertools.product(names, fields))
    title = label(smooth.call)
    called = [
        [f"{title}[{j}]" for j in range(first + 1, first + 1 + piece.shape[1])]
        for piece, first in zip(curve.pieces, _starts(curve.pieces), strict=True)
    ]
    if smooth.is_grouped:
        called[1] = ["Intercept", label(smooth.variables[0])]
    pieces = tuple(
        Matrix(
            _spread(table @ piece, place, own, near),
            tuple(f"{each}{name and ':'}{name}" for name in names for each in columns),
        )
        for piece, columns in zip(curve.pieces, called, strict=True)
    )
    return Made(Numbers(null, nulls), pieces, len(names))


def _distinct(arrays: Sequence[Floats]) -> tuple[Floats, Ints]:
    """(u, d) the distinct points in order, and (n,) the place of each row's."""
    if len(arrays) == 1:
        values, place = np.unique(arrays[0], return_inverse=True)
        return values[:, None], place.reshape(-1)
    points, place = np.unique(np.column_stack(arrays), axis=0, return_inverse=True)
    return points, place.reshape(-1)


def _starts(pieces: Sequence[Floats]) -> list[int]:
    return list(itertools.accumulate((piece.shape[1] for piece in pieces), initial=0))[:-1]


def _field(smooth: Smooth, positions: tuple[int, ...]) -> str:
    return ":".join(label(smooth.variables[i]) for i in positions)


def _spread(table: Floats, place: Ints, own: Floats | None, near: Floats) -> Floats:
    """(n, groups x columns) each row's columns, times its multipliers (n, groups); where the data are."""
    groups = 1 if own is None else own.shape[1]
    found = beside(near, (len(place), groups * table.shape[1]))
    for rows in row_blocks(len(place)):
        values = table[place[rows]]
        if own is not None:
            values = (own[rows][:, :, None] * values[:, None, :]).reshape(len(values), -1)
        found[rows] = values
    return found


def _multipliers(
    smooth: Smooth, curve: Curve, by: Column | None
) -> tuple[Floats | None, tuple[str, ...]]:
    """(n, groups) what the curve is multiplied by, and what each group is called."""
    if by is None or smooth.by is None:
        return None, ("",)
    name = label(smooth.by)
    if isinstance(by, Numbers):
        return np.asarray(by.values, float)[:, None], (name,)
    assert isinstance(by, Categories)
    # The first level of an ordered factor has none: it is what the others differ from.
    codes, unknown = recode(by, curve.levels)
    first = _base(by)
    if unknown := tuple(each for each in unknown if each not in first):
        raise FormulaDataError(
            f"'{name}' has levels without a curve: {listed(unknown)}",
            hint=f"There are curves for {listed(curve.levels)}.",
        )
    own = (codes[:, None] == np.arange(len(curve.levels))).astype(float)
    return own, tuple(f"{name}[{level}]" for level in curve.levels)


def _base(by: Categories) -> tuple[str, ...]:
    return by.levels[:1] if by.ordered else ()


def _warn_of_extrapolation(smooth: Smooth, curve: Curve, points: Floats) -> None:
    room = BEYOND * (curve.high - curve.low)
    for j, name in enumerate(smooth.variables[: points.shape[1]]):
        outside = (points[:, j] < curve.low[j] - room[j]) | (points[:, j] > curve.high[j] + room[j])
        if outside.any():
            wrong = points[outside, j]
            is_cyclic = curve.splines[min(j, len(curve.splines) - 1)].basis == "cc"
            how = "it begins again" if is_cyclic else "it goes on as a straight line"
            warn(
                "W_EXTRAPOLATION",
                f"{label(smooth.call)} was fitted for {label(name)} from {curve.low[j]:g} to "
                f"{curve.high[j]:g}, and new rows go from {wrong.min():g} to {wrong.max():g} outside: "
                f"there {how}",
            )
