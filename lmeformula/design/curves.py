"""Second stage: the curve of a smooth, learned from the data of the fit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import scipy.linalg

from lmeformula.arrays import Floats
from lmeformula.design import splines
from lmeformula.design.labels import label
from lmeformula.design.splines import Spline
from lmeformula.design.values import Categories, Column, Numbers, drop_unused
from lmeformula.errors import FormulaDataError
from lmeformula.formula.smooths import Smooth


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """What the data of the fit taught a smooth: combinations of the functions of a basis.

    The functions are those of a spline, or the products of those of several.

    Attributes:
      splines: one, or of a tensor product one for each variable.
      null: (K, m) of what is not penalised, which the fixed part has.
      pieces: (K, r) of what is, of each variance; a row's functions have squares of mean one.
      names: (m) of the columns of `null`, by the positions of variables; () for a constant.
      levels: of the factor `by` that have a curve; () without.
      low: (d,) the smallest values of the variables.
      high: (d,) the largest.
    """

    splines: tuple[Spline, ...]
    null: Floats
    pieces: tuple[Floats, ...]
    names: tuple[tuple[int, ...], ...]
    levels: tuple[str, ...]
    low: Floats
    high: Floats


def learn_curve(smooth: Smooth, points: Floats, counts: Floats, by: Column | None) -> Curve:
    """Learn a smooth from the data.

    Args:
      smooth: of splines.
      points: (u, d) the distinct points.
      counts: (u,) how many observations are at each.
      by: on the rows.
    Returns:
      The curve. It adds up to zero over the observations, unless it is multiplied by numbers that differ.
    """
    if not counts.sum():
        raise FormulaDataError(f"there are no values for {label(smooth.call)}")
    levels: tuple[str, ...] = ()
    is_centred = True
    if isinstance(by, Numbers):
        is_centred = bool(np.ptp(np.asarray(by.values, float)) == 0.0)
    elif by is not None:
        assert isinstance(by, Categories)
        used = drop_unused(by)
        levels = used.levels[1:] if used.ordered else used.levels
        if len(used.levels) < 2:
            raise FormulaDataError(
                f"the factor '{label(smooth.by)}' has only one level",  # type: ignore[arg-type]
                hint="Leave by = ... out.",
            )
    if smooth.is_product or smooth.is_grouped:
        return _of_margins(smooth, points, counts, levels, is_centred)
    name = label(smooth.call)
    learned = splines.learn(smooth.bases[0], points, counts, smooth.sizes[0], name, False)
    table = splines.rows(learned.spline, points)
    k = table.shape[1]
    free = _without(counts @ table) if is_centred else np.eye(k)
    null, names = learned.null, ((), *learned.names)
    if is_centred:
        means = counts @ (table @ null) / counts.sum()
        # The first polynomial is the constant.
        null, names = null[:, 1:] - np.outer(null[:, 0], means[1:]), names[1:]
    values, vectors = scipy.linalg.eigh(free.T @ learned.penalty @ free)
    rank = free.shape[1] - null.shape[1]
    bent = free @ (vectors[:, ::-1][:, :rank] / np.sqrt(values[::-1][:rank]))
    return Curve(
        (learned.spline,),
        null,
        (_scaled(bent, table, counts),),
        names,
        levels,
        points.min(axis=0),
        points.max(axis=0),
    )


def _of_margins(
    smooth: Smooth, points: Floats, counts: Floats, levels: tuple[str, ...], is_centred: bool
) -> Curve:
    """Learn a tensor product, or the curves of the levels of a factor, from curves of one variable each.

    Each margin is parted into what its penalty says nothing of, a constant and a line of mean square one, and
    what it penalises, in coordinates in which it is a sum of squares. Of the products of such parts that of
    what is not penalised is fixed, and each other one has a variance. (mgcv turns the constant and the line by
    an angle that its algebra leaves open, so that its surfaces and curves of levels are others by a little.)
    Of curves of levels, as in mgcv, what is penalised has neither mean nor slope over the observations, so that
    it does not compete with the levels' intercepts and slopes.

    References:
      Wood, Scheipl, Faraway (2013), Statistics and Computing 23(3), 341-360, for products; Wood (2017),
      Generalized Additive Models, 2nd edition, section 7.7.5, for factors.
    """
    found = []
    for j in range(points.shape[1]):
        basis = smooth.bases[j] if smooth.is_product else "tp"
        values, place = np.unique(points[:, j], return_inverse=True)
        own = np.bincount(place.reshape(-1), counts, len(values)).astype(float)
        name = f"{label(smooth.variables[j])} in {label(smooth.call)}"
        size = smooth.sizes[j] if smooth.is_product else smooth.sizes[0]
        learned = splines.learn(
            basis, values[:, None], own, size, name, in_product=smooth.is_product
        )
        found.append(_margin(learned, values[:, None], own))
    curve = Curve(
        tuple(each.spline for each in found),
        np.zeros((0, 0)),
        (),
        (),
        levels,
        points.min(axis=0),
        points.max(axis=0),
    )
    table = curve_rows(curve, points)
    if smooth.is_grouped:
        (only,) = found
        bent = _scaled(_less_lines(only, table, counts), table, counts)
        return replace(curve, null=np.zeros((len(bent), 0)), pieces=(bent, only.null))
    pieces = []
    # A bit for each margin whose penalised part takes part; all of them first.
    for which in range(2 ** len(found) - 1, 0, -1):
        parts = [each.bent if which >> j & 1 else each.unit for j, each in enumerate(found)]
        pieces.append(_scaled(_product(parts), table, counts))
    null = _product([each.null for each in found])
    choices = itertools.product(*(range(each.null.shape[1]) for each in found))
    names = tuple(tuple(j for j, one in enumerate(choice) if one) for choice in choices)
    if is_centred:
        means = counts @ (table @ null) / counts.sum()
        # The first product is the constant.
        null, names = null[:, 1:] - np.outer(null[:, 0], means[1:]), names[1:]
    return replace(curve, null=null, pieces=tuple(pieces), names=names)


def _product(parts: Sequence[Floats]) -> Floats:
    """The coefficients of all products of functions, of which the last one's vary fastest."""
    found: Floats = np.ones((1, 1))
    for part in parts:
        found = np.asarray(np.kron(found, part), float)
    return found


class _Margin(NamedTuple):
    """A spline of one variable and the parts of its functions.

    Attributes:
      spline: the basis.
      null: (k, M) a constant, and a line with mean zero in the unit of the variable.
      unit: (k, M) the same with mean squares of one.
      bent: (k, k - M) what is penalised, by the sum of squares of coefficients.
    """

    spline: Spline
    null: Floats
    unit: Floats
    bent: Floats


def _margin(learned: splines.Learned, values: Floats, counts: Floats) -> _Margin:
    table = splines.rows(learned.spline, values)
    means = counts @ (table @ learned.null) / counts.sum()
    null = np.column_stack(
        [learned.null[:, :1], learned.null[:, 1:] - np.outer(learned.null[:, 0], means[1:])]
    )
    squares = counts @ (table @ null) ** 2 / counts.sum()
    sizes, vectors = scipy.linalg.eigh(learned.penalty)
    rank = len(sizes) - null.shape[1]
    bent = vectors[:, ::-1][:, :rank] / np.sqrt(sizes[::-1][:rank])
    return _Margin(learned.spline, null, null / np.sqrt(squares), bent)


def _less_lines(margin: _Margin, table: Floats, counts: Floats) -> Floats:
    """(k, k - M) what is penalised, less its regression on what is not: the penalty says nothing of that."""
    lines, bent = table @ margin.unit, table @ margin.bent
    slopes = np.linalg.solve((lines.T * counts) @ lines, (lines.T * counts) @ bent)
    return np.asarray(margin.bent - margin.unit @ slopes)


def _without(total: Floats) -> Floats:
    """(k, k - 1) an orthonormal basis of what is orthogonal to it."""
    return np.asarray(scipy.linalg.qr(total[:, None])[0][:, 1:])


def _scaled(bent: Floats, table: Floats, counts: Floats) -> Floats:
    """Penalised functions in a unit in which the squares of a row add up to one, on average.

    The standard deviation of the coefficients is then that of the curve at an observation.
    """
    squares = ((table @ bent) ** 2).sum(axis=1)
    return np.asarray(bent / np.sqrt(counts @ squares / counts.sum()))


def curve_rows(curve: Curve, points: Floats) -> Floats:
    """(u, K) the functions of a curve's basis, or their products, at points (u, d)."""
    if len(curve.splines) == 1:
        return splines.rows(curve.splines[0], points)
    found = np.ones((len(points), 1))
    for j, spline in enumerate(curve.splines):
        each = splines.rows(spline, points[:, j : j + 1])
        found = (found[:, :, None] * each[:, None, :]).reshape(len(points), -1)
    return found
