"""Gaussian models with few random effects: everything dense, in terms of Q = Z'V^-1 Z sigma^2.

A few dozen effects are sooner done with a handful of dense products than with blocks. Derivatives are taken in
T = Lambda Lambda', where d log|V| = tr(Q dT) needs no division by Lambda.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray
from scipy.linalg import lapack

from lmeformula.algebra.crossproducts import CrossProducts, Layout
from lmeformula.gaussian.from_residuals import CLOSE, Rows, best_coefficients, leave

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

# Most effects for which the dense products are faster than the blocks.
MOST_EFFECTS = 100


class DenseProducts(NamedTuple):
    """Z'WZ as one matrix.

    Attributes:
      matrix: (q, q).
      places: (l, k, k) of each term: flat places of its diagonal blocks in a (q, q) matrix.
    """

    matrix: Floats
    places: tuple[Places, ...]

    def spread(self, lambdas: tuple[Floats, ...]) -> Floats:
        """(q, q) Lambda, from the (k, k) factors of the terms."""
        found = np.zeros_like(self.matrix)
        flat = found.reshape(-1)
        for place, factor in zip(self.places, lambdas, strict=True):
            flat[place] = factor
        return found

    def root(self) -> Floats:
        """(r, q) B of full rank with B'B = Z'WZ."""
        values, vectors = np.linalg.eigh(self.matrix)
        has_some = values > len(values) * np.finfo(float).eps * values[-1]
        return np.asarray(np.sqrt(values[has_some])[:, None] * vectors[:, has_some].T)


class SmallFactor(NamedTuple):
    """What is kept of M = Lambda' Z'WZ Lambda + I: the relative covariance factors, and log |M|."""

    lambdas: tuple[Floats, ...]
    log_det: float


class SmallSolution(NamedTuple):
    """The penalised least squares problem solved at one Lambda; as `likelihood.Solution`, and with Q.

    Attributes:
      factor: of M.
      gamma: (p,) optimal coefficients of the orthogonal columns.
      w: (q,) Z'V^-1 r sigma^2.
      rss: penalised residual sum of squares.
      information: (p, p) of those coefficients, times sigma^2.
      ZVQ: (q, p) Z'V^-1 times those columns, times sigma^2.
      score: (p,) zeros.
      outer: (q, q) Q.
      sums: (k, k) sum of the diagonal blocks of Q over each term's levels.
      missed: residual sum of squares without the penalty; None where it was not worth a look.
    """

    factor: SmallFactor
    gamma: Floats
    w: Floats
    rss: float
    information: Floats
    ZVQ: Floats
    score: Floats
    outer: Floats
    sums: tuple[Floats, ...]
    missed: float | None = None


def dense_products(
    plan: Layout, products: CrossProducts, most: int = MOST_EFFECTS
) -> DenseProducts | None:
    """Write Z'WZ out; None where there are more effects than that: too many for it to be worth it."""
    q, size = plan.num_effects, plan.lead_size
    if q > most:
        return None
    places = []
    for (levels, k), start in zip(plan.sizes, plan.starts, strict=True):
        effects = start + np.arange(levels * k).reshape(levels, k)
        places.append(effects[:, :, None] * q + effects[:, None, :])
    matrix = np.zeros((q, q))
    matrix.reshape(-1)[places[plan.lead]] = products.lead
    between = products.between.toarray()
    matrix[:size, size:], matrix[size:, :size] = between, between.T
    matrix[size:, size:] = products.rest
    return DenseProducts(matrix, tuple(places))


def solve_small(
    dense: DenseProducts, ZQ: Floats, Zy: Floats, yy: float, lambdas: tuple[Floats, ...]
) -> SmallSolution | None:
    """Solve for the conditional modes and the fixed effects; None where these differences have no digits.

    Args:
      dense: Z'WZ.
      ZQ: (q, p) Z' times the orthogonal columns of the fixed effects.
      Zy: (q,) Z' times the least-squares residual.
      yy: its sum of squares.
      lambdas: relative covariance factors in formula order.
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
        if status != 0 or (root.diagonal() ** 2 < CLOSE).any():
            return None
    rest = target - inside @ gamma
    rss = float(yy + gamma @ gamma - rest @ rest)
    if rss < CLOSE * yy:
        return None
    outer, ZVQ = right[:, :q], right[:, q:-1]
    blocks = np.ascontiguousarray(outer).reshape(-1)
    return SmallSolution(
        factor=SmallFactor(lambdas, 2.0 * float(np.log(lower.diagonal()).sum())),
        gamma=gamma,
        w=right[:, -1] - ZVQ @ gamma,
        rss=rss,
        information=information,
        ZVQ=ZVQ,
        score=np.zeros(p),
        outer=outer,
        sums=tuple(blocks[place].sum(axis=0) for place in places),
    )


def solve_small_closely(
    plan: Layout, dense: DenseProducts, rows: Rows, lambdas: tuple[Floats, ...]
) -> SmallSolution:
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

    Z = rows.spread(plan, np.eye(q))
    found = leave(
        plan,
        rows,
        np.column_stack([Z, rows.Q, rows.residual]),
        outward=lambda columns: spread @ columns,
        inward=lambda columns: spread.T @ columns,
        solve=solve,
    )
    products = found.products
    outer, information = products[:q, :q], products[q:-1, q:-1]
    gamma = best_coefficients(information, products[q:-1, -1])
    to_residual = np.concatenate([np.zeros(q), -gamma, [1.0]])
    missed, u = found.residuals @ to_residual, found.modes @ to_residual
    blocks = np.ascontiguousarray(outer).reshape(-1)
    return SmallSolution(
        factor=SmallFactor(lambdas, 2.0 * float(np.log(np.abs(np.diag(R))).sum())),
        gamma=gamma,
        w=found.residuals[:, :q].T @ missed + found.modes[:, :q].T @ u,
        rss=max(float(missed @ missed + u @ u), rows.least),
        information=information,
        ZVQ=products[:q, q:-1],
        score=np.zeros(p),
        outer=outer,
        sums=tuple(blocks[place].sum(axis=0) for place in dense.places),
        missed=float(missed @ missed),
    )


def trace_products(plan: Layout, outer: Floats, changes: tuple[Floats, ...]) -> Floats:
    """tr(Q S_i Q S_j) for symmetric changes S (t, k, k) of each term's T; (t in all, t in all)."""
    starts = np.cumsum([0, *map(len, changes)])
    found = np.empty((starts[-1], starts[-1]))
    for i, (l_i, k_i) in enumerate(plan.sizes):
        for j, (l_j, k_j) in enumerate(plan.sizes[: i + 1]):
            block = outer[plan.place(i), plan.place(j)].reshape(l_i, k_i, l_j, k_j)
            flat = block.transpose(1, 3, 0, 2).reshape(k_i * k_j, -1)
            tensor = (flat @ flat.T).reshape(k_i, k_j, k_i, k_j).transpose(0, 2, 1, 3)
            left = changes[i].reshape(len(changes[i]), -1) @ tensor.reshape(k_i * k_i, -1)
            part = left @ changes[j].reshape(len(changes[j]), -1).T
            here, there = slice(starts[i], starts[i + 1]), slice(starts[j], starts[j + 1])
            found[here, there], found[there, here] = part, part.T
    return found
