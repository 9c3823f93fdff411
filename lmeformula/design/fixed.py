"""Second stage: the fixed part as a model matrix of full column rank."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmeformula.arrays import Floats
from lmeformula.design.labels import label
from lmeformula.design.matrix import model_matrix
from lmeformula.design.values import Categories, Column, Numbers, Variable
from lmeformula.errors import FormulaDataError
from lmeformula.formula.ir import Expression, TermSum
from lmeformula.rows.mapped import beside, is_in_file, row_blocks

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
    found = _built(build, terms.intercept, products, used, num_rows)
    found = found._replace(names=_distinct(found.names))
    if known is not None:
        known[build, terms] = found
    return found


def _built(
    build: Builder,
    intercept: bool,
    products: Sequence[tuple[int, ...]],
    used: Sequence[Variable],
    num_rows: int,
) -> Matrix:
    """The matrix, in a file where a variable is, and then a block of rows after the other."""
    near = next((each for each in map(_rows_of, used) if is_in_file(each)), None)
    if near is None:
        return Matrix(*build(intercept, products, used, num_rows))
    found = Matrix(np.empty((0, 0)), ())
    for rows in row_blocks(num_rows):
        part = [Variable(each.name, _part(each.values, rows)) for each in used]
        values, names = build(intercept, products, part, rows.stop - rows.start)
        if rows.start == 0:
            found = Matrix(beside(near, (num_rows, len(names))), names)
        found.values[rows] = values
    return found


def _rows_of(variable: Variable) -> NDArray[Any]:
    column = variable.values
    return column.codes if isinstance(column, Categories) else column.values


def _part(column: Column, rows: slice) -> Column:
    """Some rows of a variable."""
    if isinstance(column, Categories):
        return replace(column, codes=column.codes[rows])
    return replace(column, values=column.values[rows])


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
    blocks = list(row_blocks(num_rows)) or [slice(0)]
    # First by the largest value: squares of a column in an odd unit need not be numbers.
    largest = np.max([np.abs(values[rows]).max(axis=0, initial=0.0) for rows in blocks], axis=0)
    first = np.where(largest > 0, largest, 1.0)
    squares = [np.linalg.norm(values[rows] / first, axis=0) for rows in blocks]
    norms = np.linalg.norm(squares, axis=0)
    second = np.where(norms > 0, norms, 1.0)
    if _are_apart(sum((_gram(values[rows] / first / second) for rows in blocks), np.zeros(()))):
        return list(range(num_columns))
    # All linear relations of the columns are those of R, which is small.
    corners = [np.linalg.qr(values[rows] / first / second, mode="r") for rows in blocks]
    r: Floats = np.asarray(
        np.linalg.qr(np.concatenate(corners), mode="r") if len(corners) > 1 else corners[0]
    )
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


def _gram(columns: Floats) -> Floats:
    return np.asarray(columns.T @ columns)


def _are_apart(products: Floats) -> bool:
    """Whether columns of unit length are clearly independent, by their products (k, k) alone.

    Distances from the span of earlier columns are the diagonal of Cholesky's factor, squares of which have an
    error of some roundings.
    """
    try:
        factor = np.linalg.cholesky(products)
    except np.linalg.LinAlgError:
        return False
    return bool(np.diag(factor).min() > CLEARLY)


def _width(column: Column) -> int:
    if isinstance(column, Categories):
        return len(column.levels)
    if isinstance(column, Numbers):
        return 1 if column.values.ndim == 1 else int(column.values.shape[1])
    return 2
