"""Second stage: a model matrix coded by R's own rule, for covariances that are about single columns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.coding import Variable, model_matrix
from lmeformula.design.values import Numbers


def model_matrix_by_margins(
    intercept: bool, terms: Sequence[tuple[int, ...]], variables: Sequence[Variable], num_rows: int
) -> tuple[Floats, tuple[str, ...]]:
    """Build the columns of a sum of terms as R's model.matrix() does, redundant ones included.

    A factor of a term is coded by contrasts where the rest of the term is part of an earlier term, and by all
    its levels otherwise; without an intercept the first factor of all is coded by all its levels. To an
    unstructured covariance every set of columns with the same span is the same, and then the fewest are best;
    but diag(a:c | g) is one variance for each of R's columns.

    Args:
      intercept: whether a column of ones comes first.
      terms: each term as positions in `variables`.
      variables: the variables; logical values and categories are factors.
      num_rows: n.
    Returns:
      matrix: (n, k) float64; names: (k), spelled as formulaic does.
    References:
      Chambers, Hastie (1992), Statistical Models in S, section 2.4.1.
    """
    is_factor = [not isinstance(variable.values, Numbers) for variable in variables]
    free = next(
        ((j, i) for j, term in enumerate(terms) for i in term if is_factor[i] and not intercept),
        None,
    )
    columns: list[Floats] = [np.ones((num_rows, 1))] if intercept else []
    names: list[str] = ["Intercept"] if intercept else []
    for j, term in enumerate(terms):
        blocks = []
        for i in term:
            rest = set(term) - {i}
            has_margin = not rest or any(rest <= set(earlier) for earlier in terms[:j])
            contrasts = is_factor[i] and has_margin and (j, i) != free
            blocks.append(_block(variables[i], contrasts, num_rows))
        # The first variable of a term varies fastest.
        for chosen in itertools.product(*(range(len(block[1])) for block in reversed(blocks))):
            picked = list(zip(blocks, reversed(chosen), strict=True))
            columns.append(np.prod([b[0][:, [c]] for b, c in picked], axis=0))
            names.append(":".join(b[1][c] for b, c in picked))
    matrix = np.concatenate(columns, axis=1) if columns else np.zeros((num_rows, 0))
    return matrix, tuple(names)


def _block(variable: Variable, contrasts: bool, num_rows: int) -> tuple[Floats, tuple[str, ...]]:
    matrix, names = model_matrix(contrasts, [(0,)], [variable], num_rows)
    return (matrix[:, 1:], names[1:]) if contrasts else (matrix, names)
