"""Second stage: a model matrix, of numbers by their products, and of factors as `coding` has them coded."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from lmeformula.design.values import Block, Numbers, Variable


def model_matrix(
    intercept: bool, terms: Sequence[tuple[int, ...]], variables: Sequence[Variable], num_rows: int
) -> Block:
    """Build the columns of a sum of terms, factors coded so that no column is redundant by structure.

    Args:
      intercept: whether a column of ones comes first.
      terms: each term as positions in `variables`, in the order of its names.
      variables: the variables; logical values and categories are factors, whose contrasts fit their levels.
      num_rows: n.
    Returns:
      matrix: (n, k) float64; names: (k) as formulaic writes them, such as "a[T.a2]:x".
    Example:
      >>> x, z = (Variable(name, Numbers(np.array([2.0, 3.0]))) for name in "xz")
      >>> matrix, names = model_matrix(True, [(0,), (0, 1)], [x, z], 2)
      >>> matrix.tolist(), names
      ([[1.0, 2.0, 4.0], [1.0, 3.0, 9.0]], ('Intercept', 'x', 'x:z'))
    """
    blocks = [
        numeric_block(variable.name, variable.values)
        for variable in variables
        if isinstance(variable.values, Numbers)
    ]
    if len(blocks) == len(variables):
        return products(intercept, [[blocks[i] for i in term] for term in terms], num_rows)
    # Factors alone wait for formulaic to be imported, a large part of a first small fit.
    from lmeformula.design.coding import coded_matrix

    return coded_matrix(intercept, terms, variables, num_rows)


def numeric_block(name: str, numbers: Numbers) -> Block:
    """The columns of numbers, (n,) or (n, m), as floats, and their names."""
    values = np.asarray(numbers.values, np.float64)
    if values.ndim == 1:
        return values[:, None], (name,)
    fields = numbers.columns or tuple(str(i + 1) for i in range(values.shape[1]))
    return values, tuple(f"{name}[{field}]" for field in fields)


def products(intercept: bool, terms: Sequence[Sequence[Block]], num_rows: int) -> Block:
    """The products of the columns of each term's variables, of which the first varies fastest.

    Args:
      intercept: whether a column of ones comes first.
      terms: the blocks of the variables of each term.
      num_rows: n.
    """
    chosen = [
        list(zip(blocks, reversed(places), strict=True))
        for blocks in terms
        for places in itertools.product(*(range(len(block[1])) for block in reversed(blocks)))
    ]
    found = np.ones((num_rows, intercept + len(chosen)))
    for column, picked in zip(found.T[intercept:], chosen, strict=True):
        for block, place in picked:
            column *= block[0][:, place]
    names = [":".join(block[1][place] for block, place in picked) for picked in chosen]
    return found, (*["Intercept"] * intercept, *names)
