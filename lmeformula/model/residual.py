"""Fourth stage, a check: whether the residual variance can be told from that of a large term."""

from __future__ import annotations

import numpy as np

from lmeformula.algebra.crossproducts import layout, outer_changes
from lmeformula.arrays import Mask, as_rows
from lmeformula.design.design import Design, TermBlock
from lmeformula.design.side_by_side import places_of
from lmeformula.errors import FormulaDataError, placed
from lmeformula.model.params import term_shape

# Share of the residual covariance, squared, that no change of the term's covariance must reach.
APART = 1e-9


def check_residual(design: Design) -> None:
    """Refuse terms that leave nothing to estimate a residual standard deviation from.

    Counting coefficients does not decide that: rows of different weights, or a structure with few parameters,
    tell a residual from one effect for each row. What decides is whether the residual covariance W^-1 is a
    combination of the changes Z dSigma Z' that the term's own parameters make.

    Args:
      design: of a family whose residual standard deviation is estimated.
    Raises:
      FormulaDataError: if it is one.
    Example:
      >>> from lmeformula.design import design
      >>> check_residual(design("y ~ 1 + (1 | g)", {"y": [1.0, 2.0, 4.0], "g": [1, 2, 3]}))
      Traceback (most recent call last):
        ...
      lmeformula.errors.FormulaDataError: the grouping factor 'g' has as many levels as there are rows, 3
          y ~ 1 + (1 | g)
                  ^^^^^^^
      Its variance cannot be told from the residual one: group by something that several rows share.
    """
    for term, place in zip(design.terms, places_of(design), strict=True):
        # What varies in another predictor than the mean's is not a residual.
        columns = np.array(term.predictors) == 0
        count = len(term.levels) * int(columns.sum())
        if (
            columns.any()
            and count >= design.num_observations
            and not _is_apart(design, term, columns)
        ):
            with placed(*place):
                raise _refusal(design, term, int(columns.sum()))


def _is_apart(design: Design, term: TermBlock, columns: Mask) -> bool:
    """Whether W^-1 is no combination of what the term's parameters change."""
    if term.meets:
        return not _is_noise(design, term)
    values, k = term.values, len(term.columns)
    scale = np.sqrt(np.mean(values**2, axis=0))
    scale = np.where(scale > 0.0, scale, 1.0)
    structure = term_shape(term).structure
    if not structure.num_params(k):
        return True
    if structure.correlations == "each" and np.linalg.matrix_rank(values / scale) == k:
        # An unstructured covariance is one whatever the columns' origins: orthogonal ones keep digits.
        values, scale = np.linalg.qr(values)[0] * np.sqrt(len(values)), np.ones(k)
    theta = np.random.default_rng(0).uniform(-0.5, 0.5, structure.num_params(k))
    factor, slopes = structure.cholesky(theta, k), structure.cholesky_jacobian(theta, k)
    changes = outer_changes(slopes, factor) * np.outer(columns, columns)
    if structure.num_sds(k) == k:
        values = values / scale
    order = np.argsort(term.index, kind="stable")
    starts = np.flatnonzero(np.diff(term.index[order], prepend=-1))
    times = design.frequencies
    squares = values[:, :, None] * values[:, None, :] * times[:, None, None]
    products = np.add.reduceat(squares[order], starts)
    noise = np.ones(design.n) if design.weights is None else 1.0 / design.weights
    with_noise = as_rows(changes) @ ((values.T * noise * times) @ values).ravel()
    spreads = np.array([(products @ change @ products).sum(axis=0) for change in changes])
    gram = as_rows(spreads) @ as_rows(changes).T
    size = np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
    along = with_noise / size
    reached = np.linalg.lstsq(gram / np.outer(size, size), along, rcond=1e-12)[0] @ along
    return bool(1.0 - reached / float((noise * times) @ noise) > APART)


def _is_noise(design: Design, term: TermBlock) -> bool:
    """Whether effects of levels that meet are independent in the rows, with the variances of the residuals."""
    weights = design.weights
    probe = np.random.default_rng(0).standard_normal(design.n)
    # A single term, where levels of members are not apart.
    plan = layout((term,))
    seen = plan.spread(plan.gather(probe))
    noise = probe if weights is None else probe / weights
    left = seen - noise * (noise @ seen) / (noise @ noise)
    return bool(left @ left < APART**2 * (seen @ seen))


def _refusal(design: Design, term: TermBlock, num_columns: int) -> FormulaDataError:
    num_levels = len(term.levels)
    if num_levels >= design.num_observations:
        return FormulaDataError(
            f"the grouping factor '{term.group}' has as many levels as there are rows, {num_levels}",
            hint="Its variance cannot be told from the residual one: group by something that several "
            "rows share.",
        )
    return FormulaDataError(
        f"the term on '{term.group}' has {num_columns} coefficients for each of {num_levels} levels, "
        f"{num_levels * num_columns} in all, for {design.num_observations} rows",
        hint="Its variances cannot be told from the residual one: use fewer columns before the bar; or "
        'without a residual, of rows with a covariance of their own, write {"mu": ..., "sigma": "~ 0"}.',
    )
