"""The Gaussian likelihood where sigma is zero, and effects alone account for the responses.

With as many effects as rows the covariance V has full rank without sigma^2, and the likelihood may be highest
there. On the scale of log sigma that maximum is at infinity: an ascent ends somewhere on the way, and where,
goes with the coding. In sigma^2 zero is an ordinary bound. Of the restricted likelihood only the part of V
that is orthogonal to the fixed effects' columns must have full rank.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.gaussian.likelihood import Sums

Floats = NDArray[np.float64]

# Rows beyond which matrices of rows by rows are not formed.
MOST_ROWS = 1000
# Least eigenvalue of a covariance of full rank, relative to its largest.
SINGULAR = 1e-12
# What stands for a sigma of zero, in units of the least sd that effects have in any direction.
STAND_IN = 1e-4


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
    rows, plan = data.rows, data.plan
    n, p = rows.Q.shape
    freedom = n - p if reml else n
    if n > MOST_ROWS or plan.num_effects < freedom or freedom == 0:
        return None
    Z, T = rows.spread(plan, np.eye(plan.num_effects)), np.zeros((plan.num_effects,) * 2)
    for j, ((levels, _), covariance) in enumerate(zip(plan.sizes, covariances, strict=True)):
        T[plan.place(j), plan.place(j)] = np.kron(np.eye(levels), covariance)
    # Of the restricted likelihood, contrasts of the rows that no fixed effect moves.
    contrasts = np.linalg.qr(rows.Q, mode="complete")[0][:, p:] if reml else np.eye(n)
    V = contrasts.T @ (Z @ T @ Z.T) @ contrasts
    sizes, vectors = np.linalg.eigh(0.5 * (V + V.T))
    if not sizes[0] > SINGULAR * sizes[-1]:
        return None
    half = (contrasts @ (vectors / np.sqrt(sizes))).T
    y = half @ rows.residual
    if not reml and p:
        X = half @ rows.Q
        y = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
    value = freedom * np.log(2.0 * np.pi) + np.log(sizes).sum() + y @ y - data.log_weights
    if reml:
        value += 2.0 * np.log(np.abs(np.diag(data.R))).sum()
    inverse = half.T @ y
    return NoResidual(
        value=-0.5 * float(value),
        rise=float(inverse @ inverse / (1.0 / sizes).sum()) - 1.0,
        stand_in=STAND_IN * float(np.sqrt(sizes[0])),
    )
