"""Second stage: a model matrix coded by R's own rule, for covariances that are about single columns."""

from __future__ import annotations

from collections.abc import Sequence

from lmeformula.design.matrix import model_matrix, products
from lmeformula.design.values import Block, Numbers, Variable


def model_matrix_by_margins(
    intercept: bool, terms: Sequence[tuple[int, ...]], variables: Sequence[Variable], num_rows: int
) -> Block:
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
    found: list[list[Block]] = []
    for j, term in enumerate(terms):
        blocks = []
        for i in term:
            rest = set(term) - {i}
            has_margin = not rest or any(rest <= set(earlier) for earlier in terms[:j])
            contrasts = is_factor[i] and has_margin and (j, i) != free
            blocks.append(_block(variables[i], contrasts, num_rows))
        found.append(blocks)
    return products(intercept, found, num_rows)


def _block(variable: Variable, contrasts: bool, num_rows: int) -> Block:
    matrix, names = model_matrix(contrasts, [(0,)], [variable], num_rows)
    return (matrix[:, 1:], names[1:]) if contrasts else (matrix, names)
