"""What a solved Gaussian model says of its random and fixed effects, given the covariances."""

from __future__ import annotations

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray

from lmeformula.algebra.factor import apply_lambda
from lmeformula.gaussian.likelihood import Solution, Sums

Floats = NDArray[np.float64]


def fixed_covariance(data: Sums, found: Solution, sigma: float) -> Floats:
    """(p, p) covariance of the fixed effects, sigma^2 (X'V^-1 X)^-1 at the estimated covariances."""
    if not data.R.size:
        return np.zeros((0, 0))
    root = sl.solve_triangular(data.R, sl.inv(sl.cholesky(found.information)))
    return np.asarray(sigma**2 * root @ root.T)


def conditional(
    data: Sums, found: Solution, sigma: float
) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
    """Conditional modes (l, k) and covariances (l, k, k) of the random effects given y, for each term."""
    lambdas = found.factor.lambdas
    modes = data.plan.split(apply_lambda(data.plan, lambdas, found.u))
    blocks = found.factor.inverse_blocks()
    covariances = tuple(
        sigma**2 * (factor @ block @ factor.T)
        for factor, block in zip(lambdas, blocks, strict=True)
    )
    return modes, covariances
