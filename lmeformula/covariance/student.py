"""Coefficients with heavy tails: a covariance structure's scale matrix, and the degrees of freedom of a t."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.covariance.chart import Chart
from lmeformula.covariance.unstructured import Unstructured

# Degrees of freedom are above this, as in brms: below it effects have no mean.
LEAST_FREEDOM = 1.0
# What stands for infinitely many, where a number is needed.
MANY = 1e4


class Student(Unstructured):
    """The structure of a multivariate t distribution: theta of the scale matrix, then log(df - 1).

    The coefficients of a level are Lambda t with t of `df` degrees of freedom: their covariance is the scale
    matrix, any positive definite one, times df / (df - 2), where that is finite. Infinite degrees of freedom
    are the Gaussian.

    References:
      Lange, Little, Taylor (1989), JASA 84, 881-896.
    """

    def num_params(self, k: int) -> int:
        return super().num_params(k) + 1

    def cholesky(self, theta: Floats, k: int) -> Floats:
        return super().cholesky(theta[:-1], k)

    def cholesky_jacobian(self, theta: Floats, k: int) -> Floats:
        return np.concatenate([super().cholesky_jacobian(theta[:-1], k), np.zeros((1, k, k))])

    def to_free(self, covariance: Floats) -> Floats:
        return np.append(super().to_free(covariance), np.inf)

    def off_bounds(self, theta: Floats, k: int, sd: float | Floats) -> tuple[Floats, Mask]:
        found, inside = super().off_bounds(theta[:-1], k, sd)
        is_finite = bool(np.isfinite(theta[-1]))
        last = float(theta[-1]) if is_finite else math.log(MANY)
        return np.append(found, last), np.append(inside, is_finite)

    def to_report(self, theta: Floats, k: int) -> Floats:
        return np.append(super().to_report(theta[:-1], k), freedom_of(float(theta[-1])))

    def report_jacobian(self, theta: Floats, k: int) -> Floats:
        size = len(theta)
        found = np.zeros((size, size))
        found[:-1, :-1] = super().report_jacobian(theta[:-1], k)
        found[-1, -1] = freedom_of(float(theta[-1])) - LEAST_FREEDOM
        return found

    def labels(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        return [*super().labels(columns), ("df", "")]

    def chart(self, scale: Floats) -> Chart:
        raise NotImplementedError("the Laplace approximation is of Gaussian effects")


def freedom_of(free: float) -> float:
    """Degrees of freedom from the unconstrained log(df - 1); infinite from where they cannot be told from that.

    Example:
      >>> freedom_of(0.0), freedom_of(float("inf"))
      (2.0, inf)
    """
    return LEAST_FREEDOM + math.exp(free) if free < 700.0 else math.inf


def free_of(freedom: float) -> float:
    """The unconstrained log(df - 1) of degrees of freedom."""
    if math.isinf(freedom):
        return math.inf
    return math.log(freedom - LEAST_FREEDOM) if freedom > LEAST_FREEDOM else -math.inf
