"""The columns of a model matrix as tables over levels, found by probing the coding that the design uses.

A column is a product: of the codes of its term's factors, and of components of its numeric variables. So a
term's columns are known from its rows at every combination of levels where one component is one and the
others are zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.fixed import Builder, columns_of
from lmeformula.design.matrix import model_matrix
from lmeformula.design.values import Categories, Column, Logicals, Numbers
from lmeformula.formula.ir import Expression, TermSum
from lmeformula.serving.inputs import NotServed

# Numbers in the table of one term; terms of more are not served from raw columns.
MOST_NUMBERS = 5_000_000


class TermTable(NamedTuple):
    """The columns of one term.

    Attributes:
      factors: its categorical variables.
      numbers: its numeric ones.
      levels: how many levels each factor has.
      values: (combinations of levels, combinations of components, columns), the last factor and the last
        numeric variable fastest.
      place: of its columns among those of the sum.
    """

    factors: tuple[Expression, ...]
    numbers: tuple[Expression, ...]
    levels: tuple[int, ...]
    values: Floats
    place: slice


def term_tables(
    terms: TermSum, variables: Mapping[Expression, Column], build: Builder = model_matrix
) -> tuple[TermTable, ...]:
    """Find the table of each term of a sum.

    Args:
      terms: the sum.
      variables: each variable with one row or more; only its levels, coding and number of columns are read.
      build: how the design codes these terms.
    Raises:
      NotServed: for a term of too many combinations.
    """
    found, start = [], 0
    if terms.intercept:
        found.append(TermTable((), (), (), np.ones((1, 1, 1)), slice(0, 1)))
        start = 1
    resting = {e: _at(column, np.zeros(1, np.int64), None) for e, column in variables.items()}
    for number, term in enumerate(terms.terms):
        # The coding of a term depends on the terms before it, not on those that follow.
        part = TermSum(terms.intercept, terms.terms[: number + 1])
        width = columns_of(part, resting, 1, build=build).values.shape[1]
        place, start = slice(start, width), width
        factors = tuple(v for v in term.variables if not isinstance(variables[v], Numbers))
        numbers = tuple(v for v in term.variables if isinstance(variables[v], Numbers))
        levels = tuple(_size(variables[v]) for v in factors)
        components = tuple(_size(variables[v]) for v in numbers)
        rows = list(itertools.product(*map(range, (*levels, *components))))
        if len(rows) * (width - place.start) > MOST_NUMBERS:
            raise NotServed(f"a term has {len(rows):,} combinations of levels")
        codes = np.array(rows, np.int64).reshape(len(rows), len(levels) + len(components))
        probe = {
            e: _at(column, np.zeros(len(rows), np.int64), None) for e, column in variables.items()
        }
        for j, v in enumerate((*factors, *numbers)):
            probe[v] = _at(variables[v], codes[:, j], np.ones(len(rows)))
        values = columns_of(terms, probe, len(rows), build=build).values[:, place]
        shape = (int(np.prod(levels)), int(np.prod(components)), width - place.start)
        found.append(TermTable(factors, numbers, levels, values.reshape(shape), place))
    return tuple(found)


def _size(column: Column) -> int:
    """How many levels a factor has, or columns a numeric variable."""
    if isinstance(column, Categories):
        return len(column.levels)
    if isinstance(column, Logicals):
        return 2
    return 1 if column.values.ndim == 1 else int(column.values.shape[1])


def _at(column: Column, codes: np.ndarray, ones: Floats | None) -> Column:
    """Rows at these levels; of numbers, with a one in the component of each code, or zeros throughout."""
    if isinstance(column, Categories):
        return Categories(codes, column.levels, column.ordered, column.coding)
    if isinstance(column, Logicals):
        return Logicals(codes.astype(float))
    if column.values.ndim == 1:
        return Numbers(np.zeros(len(codes)) if ones is None else ones)
    values = np.zeros((len(codes), column.values.shape[1]))
    if ones is not None:
        values[np.arange(len(codes)), codes] = ones
    return Numbers(values, column.columns)
