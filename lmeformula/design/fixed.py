"""Second stage: the fixed part as a model matrix of full column rank."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.labels import label
from lmeformula.design.matrix import model_matrix
from lmeformula.design.values import Categories, Column, Numbers, Variable
from lmeformula.errors import FormulaDataError
from lmeformula.formula.ir import Expression, TermSum

# Above this the matrix is a mistake (an identifier as a fixed effect) more often than an intention.
MAX_BYTES = 2**33
# R's tolerance in lm.fit and lmer: a column whose residual is smaller than this part of it is redundant.
RANK_TOLERANCE = 1e-7
# A residual that is a larger part is one, whichever way it is worked out.
CLEARLY = 1e-3


Builder: TypeAlias = Callable[
    [bool, Sequence[tuple[int, ...]], Sequence[Variable], int], tuple[Floats, tuple[str, ...]]
]


class Matrix(NamedTuple):
    """A model matrix and the names of its columns."""

    values: Floats  # (n, k)
    names: tuple[str, ...]


def columns_of(
    terms: TermSum,
    variables: Mapping[Expression, Column],
    num_rows: int,
    *,
    build: Builder = model_matrix,
    known: dict[tuple[Builder, TermSum], Matrix] | None = None,
) -> Matrix:
    """Build the columns of a fixed part or of a random-effects term.

    Args:
      terms: the intercept and the terms.
      variables: each variable's values on the rows used; factors without unused levels.
      num_rows: n.
      build: how factors are coded; by default without columns that are redundant by structure.
      known: matrices of these variables that are built already, to which this one is added.
    Returns:
      The matrix, (n, k), with formulaic's names.
    Raises:
      FormulaDataError: if the matrix would be absurdly large.
    """
    if known is not None and (build, terms) in known:
        return known[build, terms]
    position = {expression: i for i, expression in enumerate(dict.fromkeys(terms.variables))}
    used = [Variable(label(expression), variables[expression]) for expression in position]
    products = [tuple(position[v] for v in term.variables) for term in terms.terms]
    widths = [_width(variable.values) for variable in used]
    total = sum(float(np.prod([widths[i] for i in product])) for product in products)
    if total * num_rows * 8 > MAX_BYTES:
        widest = used[int(np.argmax(widths))].name
        raise FormulaDataError(
            f"the model matrix would have about {total:.0f} columns and {num_rows} rows",
            span=next((term.span for term in terms.terms if term.span), None),
            hint=f"'{widest}' has {max(widths)} levels; as a grouping factor, (1 | {widest}), "
            "it would need no columns.",
        )
    values, names = build(terms.intercept, products, used, num_rows)
    found = Matrix(values, _distinct(names))
    if known is not None:
        known[build, terms] = found
    return found


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    # A column of the data may be called "Intercept" or "x:z", as another column of the matrix is.
    if len(set(names)) == len(names):
        return names
    found: dict[str, None] = {}
    for name in names:
        free = (f"{name}.{i}" for i in itertools.count(1))
        found[name if name not in found else next(n for n in free if n not in found)] = None
    return tuple(found)


def independent_columns(values: Floats) -> list[int]:
    """Find the columns that are not linear combinations of earlier ones, from left to right.

    Args:
      values: (n, k).
    Returns:
      Their positions. A column is dependent when its distance from the span of the earlier ones is less than
      1e-7 of its length, R's rule.
    """
    num_rows, num_columns = values.shape
    if num_columns == 0:
        return []
    # First by the largest value: squares of a column in an odd unit need not be numbers.
    largest = np.abs(values).max(axis=0, initial=0.0)
    values = values / np.where(largest > 0, largest, 1.0)
    norms = np.linalg.norm(values, axis=0)
    scaled = values / np.where(norms > 0, norms, 1.0)
    if _are_apart(scaled):
        return list(range(num_columns))
    # All linear relations of the columns are those of R, which is small.
    r: Floats = np.asarray(np.linalg.qr(scaled, mode="r"))
    if num_rows >= num_columns and np.abs(np.diag(r)).min() >= RANK_TOLERANCE:
        return list(range(num_columns))
    basis: Floats = np.zeros((r.shape[0], min(r.shape)))
    kept: list[int] = []
    for j in range(num_columns):
        earlier = basis[:, : len(kept)]
        residual = r[:, j]
        for _ in range(2):  # once more, for what rounding left of the first projection
            residual = residual - earlier @ (earlier.T @ residual)
        length = float(np.linalg.norm(residual))
        if length >= RANK_TOLERANCE and len(kept) < basis.shape[1]:
            basis[:, len(kept)] = residual / length
            kept.append(j)
    return kept


def _are_apart(scaled: Floats) -> bool:
    """Whether columns (n, k) of unit length are clearly independent, by products alone.

    Distances from the span of earlier columns are the diagonal of Cholesky's factor, squares of which have an
    error of some roundings.
    """
    try:
        factor = np.linalg.cholesky(scaled.T @ scaled)
    except np.linalg.LinAlgError:
        return False
    return bool(np.diag(factor).min() > CLEARLY)


def _width(column: Column) -> int:
    if isinstance(column, Categories):
        return len(column.levels)
    if isinstance(column, Numbers):
        return 1 if column.values.ndim == 1 else int(column.values.shape[1])
    return 2
