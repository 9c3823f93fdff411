"""Gaussian models with few random effects: everything dense, in a handful of products."""

from __future__ import annotations

import numpy as np
import scipy.linalg as sl
from scipy.linalg import lapack

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.small import DenseProducts, SmallFactor
from lmeformula.arrays import Floats
from lmeformula.likelihood.gaussian.from_residuals import (
    CLOSE,
    Rows,
    best_coefficients,
    least_of,
    leave_all,
)
from lmeformula.likelihood.gaussian.solution import Solution


def solve_small(
    plan: Layout,
    dense: DenseProducts,
    ZQ: Floats,
    Zy: Floats,
    yy: float,
    lambdas: tuple[Floats, ...],
    close: float = CLOSE,
) -> Solution[SmallFactor] | None:
    """Solve for the conditional modes and the fixed effects; None where these differences have no digits.

    Args:
      plan: layout of the random effects.
      dense: Z'WZ.
      ZQ: (q, p) Z' times the orthogonal columns of the fixed effects.
      Zy: (q,) Z' times the least-squares residual.
      yy: its sum of squares.
      lambdas: relative covariance factors in formula order.
      close: below this share of the whole a difference has no digits.
    """
    A, places = dense
    q, p = ZQ.shape
    spread = dense.spread(lambdas)
    right = np.empty((q, q + p + 1))
    right[:, :q], right[:, q : q + p], right[:, -1] = A, ZQ, Zy
    inward = spread.T @ right
    M = inward[:, :q] @ spread
    M.reshape(-1)[:: q + 1] += 1.0
    lower, status = lapack.dpotrf(M, lower=1, clean=0)
    if status != 0:
        return None
    half, _ = lapack.dtrtrs(lower, inward, lower=1)
    right -= half[:, :q].T @ half  # Z'V^-1 [Z, Q, y]
    inside, target = half[:, q:-1], half[:, -1]
    information, gamma = np.eye(p) - inside.T @ inside, np.zeros(0)
    if p:
        # LAPACK itself takes a third of the time of its wrappers, which is much where p is 2.
        root, gamma, status = lapack.dposv(information, -(inside.T @ target))
        if status != 0 or (root.diagonal() ** 2 < close).any():
            return None
    rest = target - inside @ gamma
    rss = float(yy + gamma @ gamma - rest @ rest)
    if rss < close * yy:
        return None
    outer, ZVQ = right[:, :q], right[:, q:-1]
    log_det = 2.0 * float(np.log(lower.diagonal()).sum())
    w = right[:, -1] - ZVQ @ gamma
    return Solution(
        factor=SmallFactor(plan, places, lambdas, log_det, outer),
        gamma=gamma,
        u=spread.T @ w,
        w=w,
        rss=rss,
        information=information,
        ZVQ=ZVQ,
        score=np.zeros(p),
    )


def solve_small_closely(
    plan: Layout, dense: DenseProducts, rows: Rows, lambdas: tuple[Floats, ...]
) -> Solution[SmallFactor]:
    """Solve for the same where differences of cross products are rounding; see `closely`.

    M is factored as R'R by the orthogonal decomposition of [B Lambda; I], B'B = Z'WZ, which does not square the
    sizes of the variances, and the modes of all columns of Z are corrected by their residuals.

    Args:
      plan: layout of the random effects.
      dense: Z'WZ.
      rows: residuals before there are effects.
      lambdas: relative covariance factors in formula order.
    """
    q, p = len(dense.matrix), rows.Q.shape[1]
    spread = dense.spread(lambdas)
    R = np.linalg.qr(np.vstack([dense.root() @ spread, np.eye(q)]), mode="r")

    def solve(columns: Floats) -> Floats:
        inner = sl.solve_triangular(R, columns, trans="T", check_finite=False)
        return np.asarray(sl.solve_triangular(R, inner, check_finite=False))

    found = leave_all(plan, rows, spread, solve)
    products = found.products
    outer, information = products[:q, :q], products[q:-1, q:-1]
    gamma = best_coefficients(information, products[q:-1, -1])
    to_residual = np.concatenate([np.zeros(q), -gamma, [1.0]])
    missed, u = found.along(to_residual)
    log_det = 2.0 * float(np.log(np.abs(np.diag(R))).sum())
    return Solution(
        factor=SmallFactor(plan, dense.places, lambdas, log_det, outer),
        gamma=gamma,
        u=u,
        w=found.residuals[:, :q].T @ missed + found.modes[:, :q].T @ u,
        rss=max(float(missed @ missed + u @ u), least_of(rows)),
        information=information,
        ZVQ=products[:q, q:-1],
        score=np.zeros(p),
        missed=float(missed @ missed),
    )
