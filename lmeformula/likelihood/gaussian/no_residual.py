"""The Gaussian likelihood where sigma is zero, and effects alone account for the responses.

With as many effects as rows the covariance V has full rank without sigma^2, and the likelihood may be highest
there. On the scale of log sigma that maximum is at infinity: an ascent ends somewhere on the way, and where,
goes with the coding. In sigma^2 zero is an ordinary bound. Of the restricted likelihood only the part of V
that is orthogonal to the fixed effects' columns must have full rank.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.likelihood.gaussian.sums import Sums

# Rows beyond which matrices of rows by rows are not formed.
MOST_ROWS = 1000
# Terms of which every choice is looked at, at most.
MOST_TERMS = 5
# Least eigenvalue of a covariance of full rank, relative to its largest.
SINGULAR = 1e-12
# What stands for a sigma of zero, in units of the least sd that effects have in any direction.
STAND_IN = 3e-4
# A sigma that is further on, as a share of the one where an ascent ended.
FURTHER = 0.1


class NoResidual(NamedTuple):
    """The likelihood at a sigma of zero.

    Attributes:
      value: log-likelihood, or the restricted one, the fixed effects at their best.
      rise: its derivative in sigma^2 as a share of what the determinant alone takes off: from -1, where effects
        leave nothing to sigma; 0 where sigma^2 is no better and no worse than effects.
      stand_in: a sigma that makes no difference to the covariance.
    """

    value: float
    rise: float
    stand_in: float


def may_lack_residual(data: Sums) -> bool:
    """Whether few rows have effects enough for the likelihood to have a maximum at a sigma of zero."""
    n, p = data.n, int(data.rows_here.Q.shape[1])
    return 0 < n <= min(data.plan.num_effects + p, MOST_ROWS)


def without_residual(data: Sums, covariances: tuple[Floats, ...], reml: bool) -> NoResidual | None:
    """Work out the likelihood without residuals.

    Args:
      data: cross products, and the rows.
      covariances: (k, k) of each term, as they are, not relative to sigma.
      reml: the restricted likelihood.
    Returns:
      The likelihood there; None where the covariance is singular, so that there is none, and where there are
      too many rows to see.
    """
    n, p = data.n, data.rows_here.Q.shape[1]
    if not 0 < n - p * reml <= min(data.plan.num_effects, MOST_ROWS):
        return None
    alone = _alone(data, covariances, reml)
    if not alone.sizes[0] > SINGULAR * alone.sizes[-1]:
        return None
    value, inverse = alone.best(alone.sizes)
    return NoResidual(
        value=value,
        rise=float(inverse @ inverse / (1.0 / alone.sizes).sum()) - 1.0,
        stand_in=STAND_IN * float(np.sqrt(alone.sizes[0])),
    )


def runs_away(data: Sums, covariances: tuple[Floats, ...], sigma: float, reml: bool) -> bool:
    """Whether the likelihood grows without limit as sigma goes on to zero, from where an ascent came to.

    Where the covariance of the effects is singular, but no residual lies where it is, each of the m missing
    dimensions adds -log(sigma). An ascent runs after that until numbers end, at some place or other.

    Args:
      data, covariances, reml: as in `without_residual`.
      sigma: where the ascent ended.
    """
    if not may_lack_residual(data):
        return False
    alone = _alone(data, covariances, reml)
    is_missing = alone.sizes <= SINGULAR * alone.sizes[-1]
    sizes = np.where(is_missing, 0.0, alone.sizes)
    rise = alone.best(sizes + (FURTHER * sigma) ** 2)[0] - alone.best(sizes + sigma**2)[0]
    return bool(is_missing.any()) and rise > -0.5 * np.log(FURTHER) * float(is_missing.sum())


def without_limit(data: Sums) -> tuple[int, ...]:
    """Terms that can meet any responses exactly, together with the fixed effects but not by themselves.

    Where only these vary, their covariance misses dimensions, and the fixed effects leave no residual in them:
    the likelihood grows without limit as sigma goes to zero, whatever else it does elsewhere.

    Args:
      data: cross products, and the rows.
    Returns:
      Positions of the terms; () where there are none, and where there are too many rows to see.
    """
    plan, n, p = data.plan, data.n, data.rows_here.Q.shape[1]
    if not (p and may_lack_residual(data)) or len(plan.sizes) > MOST_TERMS:
        return ()
    Z, Q = _one_by_one(
        data, data.rows_here.spread(plan, np.eye(plan.num_effects)), data.rows_here.Q
    )
    for count in range(1, len(plan.sizes) + 1):
        for terms in combinations(range(len(plan.sizes)), count):
            columns = np.hstack([Z[:, plan.place(j)] for j in terms])
            if columns.shape[1] + p < n or np.linalg.matrix_rank(columns) >= n:
                continue
            if np.linalg.matrix_rank(np.hstack([columns, Q])) == n:
                return terms
    return ()


class _Alone(NamedTuple):
    """What effects alone make of the rows, or of contrasts, along the eigenvectors of their covariance.

    Attributes:
      sizes: (m,) its eigenvalues, in increasing order.
      y: (m,) responses, less offset and regression.
      X: (m, p) columns of the fixed effects; none for contrasts.
      constant: of the deviance.
    """

    sizes: Floats
    y: Floats
    X: Floats
    constant: float

    def best(self, variances: Floats) -> tuple[float, Floats]:
        """The log-likelihood with other variances (m,), and V^-1 times the residuals (m,)."""
        root = np.sqrt(variances)
        left = self.y / root
        if self.X.size:
            X = self.X / root[:, None]
            left = left - X @ np.linalg.lstsq(X, left, rcond=None)[0]
        value = self.constant + np.log(variances).sum() + left @ left
        return -0.5 * float(value), np.asarray(left / root)


def _alone(data: Sums, covariances: tuple[Floats, ...], reml: bool) -> _Alone:
    plan, T = data.plan, np.zeros((data.plan.num_effects,) * 2)
    Z, Q, residual = _one_by_one(
        data,
        data.rows_here.spread(plan, np.eye(plan.num_effects)),
        data.rows_here.Q,
        data.rows_here.residual,
    )
    n, p = Q.shape
    for j, ((levels, _), covariance) in enumerate(zip(plan.sizes, covariances, strict=True)):
        T[plan.place(j), plan.place(j)] = np.kron(np.eye(levels), covariance)
    # Of the restricted likelihood, contrasts of the rows that no fixed effect moves.
    contrasts = np.linalg.qr(Q, mode="complete")[0][:, p:] if reml else np.eye(n)
    V = contrasts.T @ (Z @ T @ Z.T) @ contrasts
    sizes, vectors = np.linalg.eigh(0.5 * (V + V.T))
    across = (contrasts @ vectors).T
    constant = len(sizes) * np.log(2.0 * np.pi) - data.log_weights
    if reml:
        constant += 2.0 * float(np.log(np.abs(np.diag(data.R))).sum())
    X = across[:, :0] if reml else across @ Q
    return _Alone(sizes, across @ residual, X, constant)


def _one_by_one(data: Sums, *arrays: Floats) -> tuple[Floats, ...]:
    """Arrays of rows (n, ...), with a row for each observation."""
    if data.times is None:
        return arrays
    each = np.repeat(np.arange(len(data.times)), data.times.astype(np.int64))
    return tuple((array.T / np.sqrt(data.times)).T[each] for array in arrays)
