"""Roots of the columns of random-effects terms, and whether covariances are singular for the rows."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from lmeformula.arrays import Floats
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.design.design import Design
from lmeformula.design.shards import mean_products
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace

# To which relative factors are none, as lme4 has it.
TOLERANCE = 1e-4
# Columns of which less than this share of the squares is not in the others are copies.
COPIES = 1e-11


def column_root(products: Floats, is_unstructured: bool = True) -> Floats:
    """(k, k) lower triangular B: B'B are the mean products of a term's columns, or their diagonal.

    Args:
      products: (k, k) mean products.
      is_unstructured: whether the covariance is; only then it is so for all columns of the same span.
    Returns:
      B, of columns scaled to one where they are copies of each other; 1 of a column of zeros.
    Example:
      >>> column_root(np.array([[1.0, 2.0], [2.0, 5.0]])).round(3).tolist()
      [[0.447, 0.0], [0.894, 2.236]]
    """
    scale = np.sqrt(np.diag(products))
    scale = np.where(scale > 0.0, scale, 1.0)
    if not is_unstructured:
        return np.diag(scale)
    backwards = (products / np.outer(scale, scale))[::-1, ::-1]
    lower, status = lapack.dpotrf(backwards, lower=1, clean=1)
    if status != 0 or (np.diag(lower) ** 2 < COPIES).any():
        return np.diag(scale)
    return np.asarray(lower[::-1, ::-1].T * scale)


def any_singular(space: ParamSpace, lambdas: tuple[Floats, ...], roots: tuple[Floats, ...]) -> bool:
    """Whether the covariance of some term is singular, judged by what it does to the data.

    One whose structure has fewer factors than coefficients is where it has fewer than these.

    Args:
      space: the parameter space.
      lambdas: (k, k) relative factor of each term.
      roots: (k, k) of each; see `column_root`.
    """
    for term, factor, root in zip(space.terms, lambdas, roots, strict=True):
        scaled = root @ factor
        k, rank = len(root), term.structure.rank(len(root))
        if rank < k:
            size = np.linalg.svd(scaled, compute_uv=False)[rank - 1]
            found = bool(size < TOLERANCE)
        else:
            found = is_singular(cholesky_semidefinite(scaled @ scaled.T))
        if found and term.structure.num_params(k):
            return True
    return False


def is_singular(factor: Floats, tolerance: float = TOLERANCE) -> bool:
    """Whether a relative covariance factor is singular, to lme4's tolerance for its diagonal."""
    return bool((np.abs(np.diag(factor)) < tolerance).any())


def column_roots(model: Model) -> tuple[Floats, ...]:
    """(k, k) root of the mean products of each term's columns, in units of the predictors."""
    units = model.units
    return tuple(
        _column_root(model.design, place, units, shape.structure.correlations == "each")
        for place, shape in enumerate(model.space.terms)
    )


def _column_root(design: Design, term: int, units: Floats, is_unstructured: bool) -> Floats:
    """(k, k) root of the mean products of a term's columns, in units of their predictors (m,)."""
    predictors = np.array(design.terms[term].predictors)
    # Of different predictors no two are in one row.
    same = predictors[:, None] == predictors
    products = np.where(same, mean_products(design, term), 0.0)
    # Squares of very small units have no number.
    return np.asarray(column_root(products, is_unstructured) / units[predictors])
