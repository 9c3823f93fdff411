"""What a solved Gaussian model says of its random and fixed effects, given the covariances."""

from __future__ import annotations

import numpy as np

from lmeformula.algebra.precision import Precision
from lmeformula.arrays import Floats
from lmeformula.likelihood.gaussian.solution import Solution
from lmeformula.likelihood.gaussian.sums import Sums


def fixed_information(data: Sums, found: Solution[Precision], sigma: float) -> Floats:
    """(p, p) information of the fixed effects, X'V^-1 X."""
    return np.asarray(data.R.T @ found.information @ data.R / sigma**2)


def fixed_covariance(data: Sums, found: Solution[Precision], sigma: float) -> Floats:
    """(p, p) covariance of the fixed effects, sigma^2 (X'V^-1 X)^-1 at the estimated covariances."""
    if not data.R.size:
        return np.zeros((0, 0))
    upper = np.linalg.cholesky(found.information).T
    root = np.linalg.solve(data.R, np.linalg.inv(upper))
    return np.asarray(sigma**2 * root @ root.T)


def conditional(
    found: Solution[Precision], sigma: float
) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
    """Conditional modes (l, k) and covariances (l, k, k) of the random effects given y, for each term."""
    covariances = tuple(sigma**2 * blocks for blocks in found.factor.effect_blocks())
    return found.factor.effects(found.u, found.w), covariances
