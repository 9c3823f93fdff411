"""The Gaussian likelihood, ML and REML, from the dense covariance of all rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg as sl
from scipy import optimize

from truth.covariances import Climbing
from truth.differences import gradient
from truth.matrices import Matrices

LOG_2PI = float(np.log(2.0 * np.pi))


class Normal:
    """y ~ N(X beta + offset, V), V = sum of Z Sigma Z' + sigma^2 / weights.

    Attributes:
      reml: the likelihood of what X leaves of y.
      scale: (n,) root of the weights, by which all rows are multiplied.
    """

    def __init__(self, parts: Matrices, reml: bool) -> None:
        self.parts, self.reml = parts, reml
        self.n, self.p = parts.X.shape
        root = np.sqrt(parts.weights)
        self.X = parts.X * root[:, None]
        self.y = (parts.y - parts.offset) * root
        self.log_weights = float(np.log(parts.weights).sum())
        self.columns = tuple(term.values * root[:, None] for term in parts.effects)
        self.same = tuple(
            np.equal.outer(term.index, term.index).astype(float) for term in parts.effects
        )
        # Large means and scales of columns cost no digits of the profile.
        self.Q, self.R = np.linalg.qr(self.X)
        self.rest = self.y - self.Q @ (self.Q.T @ self.y)
        self.rest -= self.Q @ (self.Q.T @ self.rest)
        diagonal = np.abs(np.diag(self.R))
        self.log_X = 2.0 * float(np.log(diagonal).sum()) if self.p else 0.0

    def covariance(self, matrices: Sequence[np.ndarray], sigma: float) -> np.ndarray:
        """V (n, n), of rows multiplied by the root of their weights."""
        V = np.diag(np.full(self.n, sigma**2))
        for values, same, matrix in zip(self.columns, self.same, matrices, strict=True):
            V += (values @ matrix @ values.T) * same
        return V

    def rounding(self, matrices: Sequence[np.ndarray], sigma: float) -> float:
        """What rounding of V's entries may change the log-likelihood by: they cancel, far from the origin."""
        largest = max(
            ((np.abs(values) @ np.abs(matrix)) * np.abs(values)).sum(axis=1).max(initial=0.0)
            for values, matrix in zip(self.columns, matrices, strict=True)
        )
        return float(np.sqrt(self.n) * np.finfo(float).eps * largest / sigma**2)

    def at(self, beta: np.ndarray, matrices: Sequence[np.ndarray], sigma: float) -> Evaluated:
        """Log-likelihood at any parameters, its derivative in beta, and X'V^-1 X."""
        factor = sl.cholesky(self.covariance(matrices, sigma), lower=True)
        r = sl.solve_triangular(factor, self.y - self.X @ beta, lower=True)
        X = sl.solve_triangular(factor, self.X, lower=True)
        value = -0.5 * (self.n * LOG_2PI + 2.0 * np.log(np.diag(factor)).sum() + r @ r)
        return Evaluated(value + 0.5 * self.log_weights, X.T @ r, X.T @ X)

    def profile(self, matrices: Sequence[np.ndarray], sigma: float | None) -> float:
        """Log-likelihood at the best beta; where sigma is None at the best sigma, and in units of it."""
        try:
            factor = sl.cholesky(
                self.covariance(matrices, 1.0 if sigma is None else sigma), lower=True
            )
        except (np.linalg.LinAlgError, ValueError):
            return -np.inf
        r = sl.solve_triangular(factor, self.rest, lower=True)
        Q = sl.solve_triangular(factor, self.Q, lower=True)
        orthogonal, triangle = np.linalg.qr(Q)
        left = r - orthogonal @ (orthogonal.T @ r)
        rss = float(left @ left)
        freedom = self.n - self.p if self.reml else self.n
        variance = max(rss, 1e-300) / freedom if sigma is None else 1.0
        deviance = freedom * (LOG_2PI + np.log(variance)) + rss / variance
        deviance += 2.0 * np.log(np.diag(factor)).sum()
        if self.reml and self.p:
            deviance += 2.0 * np.log(np.abs(np.diag(triangle))).sum() + self.log_X
        return float(-0.5 * deviance + 0.5 * self.log_weights)

    def slope(
        self, matrices: Sequence[np.ndarray], sigma: float | None
    ) -> tuple[float, list[np.ndarray]]:
        """`profile`, and its (k, k) derivatives in the covariance of each term."""
        V = self.covariance(matrices, 1.0 if sigma is None else sigma)
        try:
            factor = sl.cholesky(V, lower=True)
        except (np.linalg.LinAlgError, ValueError):
            return -np.inf, [np.zeros_like(matrix) for matrix in matrices]
        inverse = sl.cho_solve((factor, True), np.eye(self.n))
        VQ = inverse @ self.Q
        inner = self.Q.T @ VQ
        projected = inverse - VQ @ np.linalg.solve(inner, VQ.T) if self.p else inverse
        a = projected @ self.rest
        rss = max(float(self.rest @ a), 1e-300)
        freedom = self.n - self.p if self.reml else self.n
        variance = rss / freedom if sigma is None else 1.0
        deviance = freedom * (LOG_2PI + np.log(variance)) + rss / variance
        deviance += 2.0 * np.log(np.diag(factor)).sum()
        if self.reml and self.p:
            deviance += np.linalg.slogdet(inner)[1] + self.log_X
        pull = (projected if self.reml else inverse) - np.outer(a, a) / variance
        slopes = [
            -0.5 * values.T @ (pull * same) @ values
            for values, same in zip(self.columns, self.same, strict=True)
        ]
        return float(-0.5 * deviance + 0.5 * self.log_weights), slopes

    def least_squares(self, matrices: Sequence[np.ndarray], sigma: float) -> np.ndarray:
        """(p, p) X'V^-1 X."""
        factor = sl.cholesky(self.covariance(matrices, sigma), lower=True)
        X = sl.solve_triangular(factor, self.X, lower=True)
        return np.asarray(X.T @ X)


class Evaluated(NamedTuple):
    """The log-likelihood at given parameters, its derivative in beta, and the information of beta."""

    value: float
    score: np.ndarray
    information: np.ndarray


def coordinates(parts: Matrices) -> Climbing:
    """Where to climb: covariances relative to sigma^2 and to the size of the columns."""
    units = []
    for term in parts.effects:
        size = np.sqrt((term.values**2).mean(axis=0))
        units.append(1.0 / np.where(size > 0, size, 1.0))
    return Climbing(tuple(term.shape for term in parts.effects), tuple(units))


def climb(model: Normal, sigma: float | None, start: np.ndarray) -> tuple[float, np.ndarray]:
    """The highest profile log-likelihood that is found from a start, and where."""
    chart = coordinates(model.parts)
    scale = 1.0 if sigma is None else sigma**2

    def downhill(at: np.ndarray) -> tuple[float, np.ndarray]:
        here = [scale * matrix for matrix in chart.matrices(at)]
        value, slopes = model.slope(here, sigma)
        if not np.isfinite(value):
            return 1e10, np.zeros(len(at))
        changes = gradient(chart.flat, at, np.full(len(at), 1e-4))
        return -value, -scale * changes @ np.concatenate([slope.ravel() for slope in slopes])

    found = optimize.minimize(
        downhill,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 200, "gtol": 1e-6, "ftol": 1e-13},
    )
    return -float(found.fun), found.x
