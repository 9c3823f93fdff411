"""What a solved Gaussian model says of its random and fixed effects, given the covariances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmeformula.algebra.factor import apply_lambda
from lmeformula.gaussian.dense import SmallSolution
from lmeformula.gaussian.likelihood import Solved, Sums

Floats = NDArray[np.float64]


def fixed_covariance(data: Sums, found: Solved, sigma: float) -> Floats:
    """(p, p) covariance of the fixed effects, sigma^2 (X'V^-1 X)^-1 at the estimated covariances."""
    if not data.R.size:
        return np.zeros((0, 0))
    upper = np.linalg.cholesky(found.information).T
    root = np.linalg.solve(data.R, np.linalg.inv(upper))
    return np.asarray(sigma**2 * root @ root.T)


def conditional(
    data: Sums, found: Solved, sigma: float
) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
    """Conditional modes (l, k) and covariances (l, k, k) of the random effects given y, for each term."""
    lambdas = found.factor.lambdas
    if isinstance(found, SmallSolution):
        return _conditional_small(data, found, sigma)
    modes = data.plan.split(apply_lambda(data.plan, lambdas, found.u))
    blocks = found.factor.inverse_blocks()
    covariances = tuple(
        sigma**2 * (factor @ block @ factor.T)
        for factor, block in zip(lambdas, blocks, strict=True)
    )
    return modes, covariances


def _conditional_small(
    data: Sums, found: SmallSolution, sigma: float
) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
    """T w and sigma^2 (T - T Q T), T = Lambda Lambda'."""
    assert data.dense is not None
    modes, covariances = [], []
    flat = np.ascontiguousarray(found.outer).reshape(-1)
    parts = zip(found.factor.lambdas, data.plan.split(found.w), data.dense.places, strict=True)
    for factor, w, place in parts:
        T = factor @ factor.T
        modes.append(w @ T)
        covariances.append(sigma**2 * (T - T @ flat[place] @ T))
    return tuple(modes), tuple(covariances)
