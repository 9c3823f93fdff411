"""The Gaussian likelihood at given parameters once more, by other algebra than the optimiser's.

Everything is written in the relative covariances T = Lambda Lambda', which may be singular: with A = Z'WZ,
Q = Z'V^-1 Z sigma^2 solves (I + A T) Q = A, by LU of a matrix that is not symmetric, and log|V| comes from the
same factors. No Cholesky factor of T or of M is involved, and beta and sigma are as given, not profiled.
With more effects than a dense matrix holds the blocks' factor is taken, with beta and sigma as given: that
which the optimiser ended with, once products with M have shown that it is M's, or one that is made anew.

References: Searle, Casella, McCulloch (1992), Variance Components, section 6.6, for the derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from lmeformula.algebra.crossproducts import outer_changes
from lmeformula.algebra.factor import Factor
from lmeformula.algebra.precision import Exact
from lmeformula.algebra.small import DenseProducts, trace_products
from lmeformula.algebra.verified import log_det_by_products
from lmeformula.arrays import Floats, as_rows
from lmeformula.covariance.chart import pull_of
from lmeformula.likelihood.gaussian.from_residuals import JUDGED, Left, is_close, leave_all
from lmeformula.likelihood.gaussian.likelihood import MOST_DENSE, solve_exactly
from lmeformula.likelihood.gaussian.solution import Solution
from lmeformula.likelihood.gaussian.sums import Sums
from lmeformula.likelihood.singular import column_root
from lmeformula.model.params import Params, ParamSpace


class Witness(NamedTuple):
    """The likelihood at one place.

    Attributes:
      value: log-likelihood, or the restricted one.
      in_beta: (p,) its derivative in the fixed effects; for the restricted one, of their least squares.
      in_relative: (k, k) its derivative in each T.
      in_log_sigma: its derivative in log sigma, the covariances themselves held.
      outer: (q, q) Q; None with many effects.
      way: what it was worked out by, in words.
    """

    value: float
    in_beta: Floats
    in_relative: tuple[Floats, ...]
    in_log_sigma: float
    outer: Floats | None
    way: str = "a factorisation of another matrix"


def witness_at(
    data: Sums,
    params: Params,
    lambdas: tuple[Floats, ...],
    reml: bool,
    settled: tuple[Floats, ...] | None = None,
    ended: Solution[Exact] | None = None,
) -> Witness:
    """Work out the likelihood at parameters.

    Args:
      data: cross products of the design.
      params: fixed effects and sigma are read.
      lambdas: (k, k) relative factors, which may be singular where there are few effects.
      reml: the restricted likelihood.
      settled: (k, k) factors next to them that are not singular, where some are: of many effects derivatives
        are taken there.
      ended: what the optimiser ended with.
    """
    gamma = data.R @ (params.beta - data.ols)
    variance = params.residual_sd**2
    if data.dense is None:
        return _by_blocks(data, gamma, variance, lambdas, settled, reml, ended)
    places = data.dense.places
    q, p = data.ZQ.shape
    # Of orthogonal columns: of others, far from their origin, a determinant is a small difference.
    roots = tuple(column_root(products) for products in data.mean_products())
    turn = data.dense.spread(tuple(np.asarray(np.linalg.inv(root), float) for root in roots))
    A, ZQ, Zy = turn.T @ data.dense.matrix @ turn, turn.T @ data.ZQ, turn.T @ data.Zy
    relative = tuple(
        scaled @ scaled.T
        for scaled in (root @ factor for root, factor in zip(roots, lambdas, strict=True))
    )
    T = data.dense.spread(relative)
    inward = A @ T
    inward.reshape(-1)[:: q + 1] += 1.0
    upper, pivots = sl.lu_factor(inward, check_finite=False)
    solved = sl.lu_solve((upper, pivots), np.column_stack([A, ZQ, Zy]))
    outer, ZVQ, ZVy = solved[:, :q], solved[:, q : q + p], solved[:, -1]
    moved = T @ ZQ
    information = np.eye(p) - moved.T @ ZVQ
    score = -(moved.T @ ZVy) - information @ gamma
    w = ZVy - ZVQ @ gamma
    rss = float(data.yy + gamma @ gamma - (Zy - ZQ @ gamma) @ (T @ w))
    log_det = float(np.log(np.abs(upper.diagonal())).sum())
    if is_close(rss, data.yy, information, JUDGED) and data.n * q <= MOST_DENSE:
        left, log_det = _closely(data, data.dense, lambdas)
        products = left.products
        outer, information = turn.T @ products[:q, :q] @ turn, products[q:-1, q:-1]
        ZVQ = turn.T @ products[:q, q:-1]
        to_residual = np.concatenate([np.zeros(q), -gamma, [1.0]])
        missed, modes = left.along(to_residual)
        w, rss = turn.T @ (products[:q] @ to_residual), float(missed @ missed + modes @ modes)
        score = products[q:-1, -1] - information @ gamma
    pulls = []
    shares = data.plan.split(w)
    spread = outer if not reml else outer - ZVQ @ np.linalg.solve(information, ZVQ.T)
    for place, part in zip(places, shares, strict=True):
        total = spread.reshape(-1)[place].sum(axis=0)
        pulls.append(0.25 * ((part.T @ part) * (2.0 / variance) - total - total.T))
    back = data.dense.spread(roots)
    return Witness(
        value=_value(data, log_det, rss, variance, information, reml),
        in_beta=data.R.T @ score / variance,
        in_relative=tuple(root.T @ pull @ root for root, pull in zip(roots, pulls, strict=True)),
        in_log_sigma=_in_log_sigma(data, rss / variance, pulls, relative, reml),
        outer=back.T @ outer @ back,
    )


def _closely(data: Sums, dense: DenseProducts, lambdas: tuple[Floats, ...]) -> tuple[Left, float]:
    """What effects leave of all columns, and log |M|: by the singular values of B Lambda, B'B = Z'WZ, whose
    squares are not formed."""
    spread = dense.spread(lambdas)
    _, sizes, across = np.linalg.svd(dense.root() @ spread)
    M = 1.0 + np.square(np.append(sizes, np.zeros(len(spread) - len(sizes))))

    def solve(columns: Floats) -> Floats:
        return np.asarray(across.T @ ((across @ columns) / M[:, None]))

    return leave_all(data.plan, data.rows_here, spread, solve), float(np.log(M).sum())


def _by_blocks(
    data: Sums,
    gamma: Floats,
    variance: float,
    lambdas: tuple[Floats, ...],
    settled: tuple[Floats, ...] | None,
    reml: bool,
    ended: Solution[Exact] | None,
) -> Witness:
    proven = None if settled is not None else _proven(data, lambdas, ended)
    if proven is None:
        here = solve_exactly(data, lambdas, gamma)
        log_det, way = here.factor.log_det, "a factorisation that is made anew"
    else:
        here = solve_exactly(data, lambdas, gamma, proven[0])
        log_det, way = proven[1], "products with the matrix itself"
    found = here if settled is None else solve_exactly(data, settled, gamma)
    factors = found.factor.lambdas
    if settled is None:
        slopes = found.slopes(variance, reml)
        pulls = [-0.5 * pull_of(*each) for each in zip(factors, slopes, strict=True)]
    else:
        # The same without a division of differences by factors that are nearly singular.
        taken = found.fixed_sums() if reml else tuple(0.0 * factor for factor in factors)
        parts = zip(found.factor.outer_sums(), taken, data.plan.split(found.w), strict=True)
        pulls = [0.5 * ((w.T @ w) / variance - total + less) for total, less, w in parts]
    relative = tuple(factor @ factor.T for factor in factors)
    return Witness(
        value=_value(data, log_det, here.rss, variance, here.information, reml),
        in_beta=data.R.T @ here.score / variance,
        in_relative=tuple(pulls),
        in_log_sigma=_in_log_sigma(data, found.rss / variance, pulls, relative, reml),
        outer=None,
        way=way,
    )


def _proven(
    data: Sums, lambdas: tuple[Floats, ...], ended: Solution[Exact] | None
) -> tuple[Factor, float] | None:
    """The factor that the optimiser ended with, if it is that of M here, and log |M| by products with M."""
    factor = None if ended is None else ended.factor
    if not isinstance(factor, Factor) or factor.products is not data.products:
        return None
    pairs = zip(factor.lambdas, lambdas, strict=True)
    if not all(np.array_equal(one, other) for one, other in pairs):
        return None
    log_det = log_det_by_products(factor)
    return None if log_det is None else (factor, log_det)


def _value(
    data: Sums, log_det: float, rss: float, variance: float, information: Floats, reml: bool
) -> float:
    freedom = data.freedom(reml)
    value = log_det - data.log_weights + freedom * np.log(2 * np.pi * variance) + rss / variance
    if reml:
        value += np.linalg.slogdet(information)[1] + 2 * np.log(np.abs(np.diag(data.R))).sum()
    return -0.5 * float(value)


def _in_log_sigma(
    data: Sums, misfit: float, pulls: list[Floats], relative: tuple[Floats, ...], reml: bool
) -> float:
    freedom = data.freedom(reml)
    along = sum(float(np.vdot(a, b)) for a, b in zip(pulls, relative, strict=True))
    return misfit - freedom - 2.0 * along


def score(
    space: ParamSpace,
    data: Sums,
    found: Witness,
    psi: Floats,
    turned: Callable[[tuple[Floats, ...]], tuple[Floats, ...]] | None = None,
) -> tuple[Floats, Floats]:
    """The gradient of the log-likelihood in psi, and what the information of psi is measured by.

    Args:
      space: the parameter space.
      data: cross products.
      found: the likelihood at the parameters.
      psi: (d,) the same unconstrained; what is at a bound has a stand-in.
      turned: factors, or their derivatives, of the columns of the cross products from those of the model's;
        None where they are the same.
    Returns:
      gradient: (d,).
      expected: (d,) the expected information of each parameter by itself, were the fixed effects known;
        nan where there is none.
    """
    sigma = space.residual_sd(psi)
    gradient, expected = np.zeros(space.size), np.full(space.size, np.nan)
    gradient[: space.num_fixed] = found.in_beta
    factors, slopes = space.factors(psi), space.factor_changes(psi)
    if turned is not None:
        factors, slopes = turned(factors), turned(slopes)
    changes = tuple(
        outer_changes(slope / sigma, factor / sigma)
        for slope, factor in zip(slopes, factors, strict=True)
    )
    for place, change, pull in zip(space.theta_slices, changes, found.in_relative, strict=True):
        gradient[place] = as_rows(change) @ pull.ravel()
    if found.outer is not None:
        own = np.diag(trace_products(data.plan, found.outer, changes))
        expected[space.num_fixed : space.num_fixed + len(own)] = 0.5 * own
    gradient[space.own_slice] = found.in_log_sigma
    return gradient, expected
