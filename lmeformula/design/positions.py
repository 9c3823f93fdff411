"""Second stage: terms over positions, exp(0 + x + y | g): a column for each position that occurs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial.distance import pdist

from lmeformula.arrays import Floats
from lmeformula.design.fixed import Matrix
from lmeformula.design.labels import label
from lmeformula.design.values import Column, Numbers
from lmeformula.errors import FormulaDataError
from lmeformula.formula.ir import Expression, RandomTerm
from lmeformula.formula.kinds import KINDS

# A covariance of these, its derivatives and what they do to a likelihood take the third power of them in time.
MOST_POSITIONS = 400


def at_positions(
    term: RandomTerm, variables: Mapping[Expression, Column], known: Floats | None
) -> tuple[Matrix, Floats]:
    """Make the columns of a term over positions.

    Args:
      term: whose variables are coordinates.
      variables: their values on the rows used.
      known: (k, dimensions) the positions of the data of the fit; None for those of the rows.
    Returns:
      matrix: a row has a one in the column of its position.
      positions: (k, dimensions) in their order.
    Raises:
      FormulaDataError: if a coordinate is no number, there are too many positions, or, of new rows, one that is
        not known.
    """
    names, columns = [], []
    for variable in term.columns.variables:
        column = variables[variable]
        if not isinstance(column, Numbers) or column.values.ndim != 1:
            raise FormulaDataError(
                f"{term.covariance.kind}() needs numbers for coordinates, and '{label(variable)}' has none",
                span=term.span,
                hint="Of levels in the order of time there is ar1(0 + t | g).",
            )
        names.append(label(variable))
        columns.append(np.asarray(column.values, float))
    # Zero has one sign.
    rows = np.column_stack(columns) + 0.0
    found, place = np.unique(rows, axis=0, return_inverse=True)
    place = place.reshape(-1)
    if known is None:
        positions = found
        if len(np.unique(pdist(found).round(12))) < KINDS[term.covariance.kind].least_distances > 1:
            raise FormulaDataError(
                f"all positions of {', '.join(names)} are equally far apart, which says nothing of how "
                f"smooth a field is, and {term.covariance.kind}() estimates that",
                span=term.span,
                hint="exp(0 + x | g) has no smoothness.",
            )
        if len(positions) > MOST_POSITIONS:
            raise FormulaDataError(
                f"there are {len(positions):,} positions of {', '.join(names)}, and "
                f"{term.covariance.kind}() takes {MOST_POSITIONS:,}",
                span=term.span,
                hint="Round them to a grid: floor(x * 10) / 10.",
            )
    else:
        positions = known
        both = np.unique(np.vstack([known, found]), axis=0, return_inverse=True)[1].reshape(-1)
        where = {int(number): i for i, number in enumerate(both[: len(known)])}
        numbers = [where.get(int(number), -1) for number in both[len(known) :]]
        if -1 in numbers:
            wrong = ", ".join(f"{value:g}" for value in found[numbers.index(-1)])
            raise FormulaDataError(
                f"no row of the fit is at {', '.join(names)} = {wrong}",
                span=term.span,
                hint="Effects are known at the positions of the data of the fit; elsewhere predict without "
                'them, re_form="NA".',
            )
        place = np.array(numbers, int)[place] if len(rows) else place
    values = np.zeros((len(rows), len(positions)))
    values[np.arange(len(rows)), place] = 1.0
    title = ",".join(names)
    labels = tuple(f"{title}[{','.join(map(_number, at))}]" for at in positions)
    return Matrix(values, labels), positions


def _number(value: float) -> str:
    """As it is, without a zero after the point."""
    return repr(float(value)).removesuffix(".0")
