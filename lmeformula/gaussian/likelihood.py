"""The Gaussian marginal log-likelihood and its gradient, from cross products that are formed once.

With V = sigma^2 (W^-1 + Z Lambda Lambda' Z'), r = y - X beta and M = Lambda' Z'WZ Lambda + I:
log |V| comes from log |M|, and r' V^-1 r sigma^2 is the penalised residual sum of squares at the conditional
modes. No array here has n rows but X, in its orthogonal decomposition, and the residuals of the regression on
it, which are only looked at where a fit comes close to its responses.

References: Bates, Maechler, Bolker, Walker (2015), J. Stat. Softw. 67(1), sections 3 and 5.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp
from numpy.typing import NDArray

from lmeformula.algebra.crossproducts import CrossProducts, Layout, layout
from lmeformula.algebra.factor import Factor, apply_lambda, factorize
from lmeformula.algebra.incidence import find_incidence
from lmeformula.algebra.memory import check_dense
from lmeformula.design.design import Design
from lmeformula.gaussian.dense import (
    DenseProducts,
    SmallSolution,
    dense_products,
    solve_small,
    solve_small_closely,
)
from lmeformula.gaussian.from_residuals import (
    Rows,
    best_coefficients,
    has_digits,
    is_small,
    solve_closely,
)
from lmeformula.model.params import ParamSpace

Floats = NDArray[np.float64]

# Largest number of elements of Z as a dense matrix.
MOST_DENSE = 10_000_000


class Sums(NamedTuple):
    """What the likelihood needs of the data.

    X is replaced by Q of W^(1/2) X = Q R and y by what Q leaves of it, so that large means or scales of
    the columns cost no digits.

    Attributes:
      plan: layout of the random effects.
      products: Z'WZ in blocks.
      ZQ: (q, p), Z'W^(1/2) Q.
      Zy: (q,), Z'W^(1/2) times the least-squares residual.
      yy: residual sum of squares of the regression of y on X alone.
      R: (p, p) upper-triangular factor of W^(1/2) X.
      ols: (p,) coefficients of that regression.
      n: number of rows.
      log_weights: sum of the log prior weights.
      rows: Q and what it leaves of y.
      dense: Z'WZ as one matrix, where there are few effects.
    """

    plan: Layout
    products: CrossProducts
    ZQ: Floats
    Zy: Floats
    yy: float
    R: Floats
    ols: Floats
    n: int
    log_weights: float
    rows: Rows
    dense: DenseProducts | None = None


class Carrier(NamedTuple):
    """What `Sums` has of a design without its response: formed once for many responses.

    Attributes:
      plan, products, ZQ, R, n, log_weights, dense: as in `Sums`.
      Q: (n, p) of W^(1/2) X = Q R.
      root: (n,) W^(1/2), or None.
      gather: (l k, n) sparse Z' of each term, lead first.
      offset: (n,).
    """

    plan: Layout
    products: CrossProducts
    ZQ: Floats
    R: Floats
    n: int
    log_weights: float
    Q: Floats
    root: Floats | None
    gather: tuple[sp.csc_array, ...]
    offset: Floats
    dense: DenseProducts | None


def prepare(design: Design) -> Carrier:
    """Form the cross products of a design with at least one random term."""
    plan = layout(design.terms)
    root = None if design.weights is None else np.sqrt(design.weights)
    Q, R = np.linalg.qr(design.X if root is None else design.X * root[:, None])
    carried = Q if root is None else Q * root[:, None]
    gather = tuple(plan.transposed[j] for j in (plan.lead, *plan.rest))
    check_dense(plan.num_effects - plan.lead_size)
    # Where elements can meet is the design's to say, not the numbers': a column may sum to zero in a level.
    weights = np.ones(design.n) if design.weights is None else design.weights
    products = find_incidence(plan).products(weights)
    dense = dense_products(plan, products)
    return Carrier(
        plan=plan,
        products=products,
        ZQ=np.concatenate([matrix @ carried for matrix in gather]),
        R=R,
        n=design.n,
        log_weights=0.0 if design.weights is None else float(np.log(design.weights).sum()),
        Q=Q,
        root=root,
        gather=gather,
        offset=design.offset,
        dense=dense,
    )


def respond(carrier: Carrier, y: Floats) -> Sums:
    """Add a response (n,) to a design's cross products."""
    root = carrier.root
    y = y - carrier.offset
    y = y if root is None else y * root
    Qy = carrier.Q.T @ y
    residual = y - carrier.Q @ Qy
    # Once more: of a large mean the first residual keeps the rounding, which is in the columns' span.
    residual -= carrier.Q @ (carrier.Q.T @ residual)
    scaled = residual if root is None else residual * root
    return Sums(
        plan=carrier.plan,
        products=carrier.products,
        ZQ=carrier.ZQ,
        Zy=np.concatenate([matrix @ scaled for matrix in carrier.gather]),
        yy=float(residual @ residual),
        R=carrier.R,
        ols=np.asarray(np.linalg.solve(carrier.R, Qy), float),
        n=carrier.n,
        log_weights=carrier.log_weights,
        rows=Rows(carrier.Q, residual, root, float(np.linalg.norm(y))),
        dense=carrier.dense,
    )


def sums(design: Design) -> Sums:
    """Form the cross products of a design with a numeric response and at least one random term."""
    assert design.y is not None
    return respond(prepare(design), design.y)


class Solution(NamedTuple):
    """The penalised least squares problem solved at one Lambda.

    Attributes:
      factor: of M.
      gamma: (p,) coefficients of Q that were used: their optimum, or those of the beta asked for.
      u: (q,) conditional modes of the spherical effects.
      w: (q,) Z'V^-1 r sigma^2, with Lambda'w = u.
      rss: penalised residual sum of squares.
      information: (p, p) Q'V^-1 Q sigma^2.
      ZVQ: (q, p) Z'V^-1 Q sigma^2.
      score: (p,) Q'V^-1 r sigma^2; zero at the optimum.
      missed: residual sum of squares without the penalty; None where it was not worth a look.
    """

    factor: Factor
    gamma: Floats
    u: Floats
    w: Floats
    rss: float
    information: Floats
    ZVQ: Floats
    score: Floats
    missed: float | None = None


Solved: TypeAlias = Solution | SmallSolution


def solve_quickly(data: Sums, lambdas: tuple[Floats, ...]) -> Solved:
    """Solve with optimal fixed effects, densely where there are few effects and the fit is not too close."""
    if data.dense is None:
        return solve(data, lambdas)
    found = solve_small(data.dense, data.ZQ, data.Zy, data.yy, lambdas)
    if found is not None:
        return found
    if data.n * data.plan.num_effects > MOST_DENSE:
        return solve(data, lambdas)
    return solve_small_closely(data.plan, data.dense, data.rows, lambdas)


def solve(
    data: Sums,
    lambdas: tuple[Floats, ...],
    gamma: Floats | None = None,
    factor: Factor | None = None,
) -> Solution:
    """Solve for the conditional modes, and for the fixed effects unless `gamma` gives them.

    Args:
      data: the cross products.
      lambdas: relative covariance factors in formula order.
      gamma: (p,) fixed coefficients of Q, or None to optimise them.
      factor: of M at these, if it is at hand.
    Returns:
      The solution.
    """
    plan = data.plan
    if factor is None:
        factor = factorize(plan, data.products, lambdas)
    right = apply_lambda(plan, lambdas, np.column_stack([data.ZQ, data.Zy]), transpose=True)
    half = factor.solve_lower(right)
    inside, target = half[:, :-1], half[:, -1]
    information = np.eye(data.ZQ.shape[1]) - inside.T @ inside
    pull = -(inside.T @ target)
    full = factor.solve_upper(half)
    best, is_told = gamma, has_digits(information)
    if best is None and is_told:
        best = best_coefficients(information, pull)
    rss = 0.0
    if best is not None:
        rest = target - inside @ best
        rss = float(data.yy + best @ best - rest @ rest)
    if best is None or not is_told or is_small(rss, data.yy):
        closely = solve_closely(
            plan,
            data.rows,
            lambdas,
            outward=lambda columns: apply_lambda(plan, lambdas, columns),
            inward=lambda columns: apply_lambda(plan, lambdas, columns, transpose=True),
            solve=lambda columns: factor.solve_upper(factor.solve_lower(columns)),
            gamma=gamma,
        )
        return Solution(factor, *closely)
    u = full[:, -1] - full[:, :-1] @ best
    spread = data.products.times(apply_lambda(plan, lambdas, np.column_stack([full, u])))
    return Solution(
        factor=factor,
        gamma=best,
        u=u,
        w=data.Zy - data.ZQ @ best - spread[:, -1],
        rss=rss,
        information=information,
        ZVQ=data.ZQ - spread[:, : data.ZQ.shape[1]],
        score=pull - information @ best,
    )


def log_det_gradient(data: Sums, solution: Solved) -> tuple[Floats, ...]:
    """d log|M| / 2 d Lambda_j: (k, k) for each term.

    It is Lambda^-T (l I - sum of the diagonal blocks of M^-1), which loses digits only where Lambda is
    nearly singular; the optimiser keeps its diagonal away from zero by more than that.
    """
    if isinstance(solution, SmallSolution):
        return tuple(
            total @ factor
            for total, factor in zip(solution.sums, solution.factor.lambdas, strict=True)
        )
    traces = solution.factor.inverse_traces()
    found = []
    for j, (levels, k) in enumerate(data.plan.sizes):
        missing = levels * np.eye(k) - traces[j]
        found.append(
            sl.solve_triangular(solution.factor.lambdas[j], missing, lower=True, trans="T")
        )
    return tuple(found)


def fit_gradient(data: Sums, solution: Solved) -> tuple[Floats, ...]:
    """-d rss / 2 d Lambda_j: (k, k) for each term."""
    w = data.plan.split(solution.w)
    if isinstance(solution, SmallSolution):
        return tuple(a.T @ a @ b for a, b in zip(w, solution.factor.lambdas, strict=True))
    return tuple(a.T @ b for a, b in zip(w, data.plan.split(solution.u), strict=True))


def fixed_gradient(data: Sums, solution: Solved) -> tuple[Floats, ...]:
    """-d log|X'V^-1 X| / 2 d Lambda_j, the further part of the REML deviance: (k, k) for each term."""
    blocks = data.plan.split(solution.ZVQ)
    inverse = np.linalg.inv(solution.information)
    lambdas = solution.factor.lambdas
    return tuple(
        np.einsum("lap,pr,lbr->ab", block, inverse, block) @ factor
        for block, factor in zip(blocks, lambdas, strict=True)
    )


def log_likelihood(data: Sums, space: ParamSpace, psi: Floats) -> tuple[float, Floats, Solution]:
    """The marginal log-likelihood and its gradient at any parameters, not profiled.

    Args:
      data: the cross products.
      space: layout of psi.
      psi: (d,) unconstrained parameters; log sds must be finite.
    Returns:
      value: log-likelihood, on R's constants.
      gradient: (d,) its derivative in psi.
      solution: of the least squares problem there.
    """
    residual_sd = space.residual_sd(psi)
    beta = psi[: space.num_fixed]
    lambdas = tuple(factor / residual_sd for factor in space.factors(psi))
    found = solve(data, lambdas, data.R @ (beta - data.ols))
    variance = residual_sd**2
    value = -0.5 * (
        found.factor.log_det
        + data.n * np.log(2 * np.pi * variance)
        - data.log_weights
        + found.rss / variance
    )
    gradient = np.empty(space.size)
    gradient[: space.num_fixed] = data.R.T @ found.score / variance
    spread, fit = log_det_gradient(data, found), fit_gradient(data, found)
    scale = 0.0
    changes = space.factor_changes(psi)
    for j, place in enumerate(space.theta_slices):
        in_lambda = fit[j] / variance - spread[j]
        gradient[place] = np.einsum("tab,ab->t", changes[j] / residual_sd, in_lambda)
        scale += float(np.vdot(in_lambda, lambdas[j]))
    if space.estimates_sigma:
        gradient[-1] = -data.n + found.rss / variance - scale
    return float(value), gradient, found
