"""The Gaussian likelihood's gradient without a dense block: equations by conjugate gradients, traces by probes.

Symbols are those of likelihood.py. The penalised least squares problem is solved to rounding; only log |M| and
the traces of M^-1 are estimates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray

from lmeformula.algebra.conjugate import conjugate_gradients
from lmeformula.algebra.crossproducts import Layout, layout
from lmeformula.algebra.eliminated import Eliminated, eliminate, times_lambda
from lmeformula.algebra.probes import SOLVED, Probed, probe
from lmeformula.algebra.sparseproducts import (
    SparseProducts,
    find_meetings,
    sparse_products,
    times_products,
)
from lmeformula.design.design import Design
from lmeformula.gaussian.freedom import freedom_of
from lmeformula.gaussian.from_residuals import (
    Rows,
    best_coefficients,
    has_digits,
    is_small,
    solve_closely,
)
from lmeformula.model.params import ParamSpace

Floats = NDArray[np.float64]

# Relative residual of the equations for the average information, which only shapes the steps.
ROUGHLY = 1e-4


class SparseSums(NamedTuple):
    """What the likelihood needs of the data; X is replaced by Q of W^(1/2) X = Q R, y by what Q leaves of it.

    Attributes:
      plan: layout of the random effects.
      products: Z'WZ in sparse blocks.
      ZQ: (q, p), Z'W^(1/2) Q.
      Zy: (q,), Z'W^(1/2) times the least-squares residual.
      yy: residual sum of squares of the regression of y on X alone.
      R: (p, p) upper-triangular factor of W^(1/2) X.
      ols: (p,) coefficients of that regression.
      n: number of rows.
      log_weights: sum of the log prior weights.
      rows: Q and what it leaves of y.
    """

    plan: Layout
    products: SparseProducts
    ZQ: Floats
    Zy: Floats
    yy: float
    R: Floats
    ols: Floats
    n: int
    log_weights: float
    rows: Rows

    def column_scales(self) -> tuple[Floats, ...]:
        """(k,) root mean squares of the columns of each random-effects term."""
        roots = (np.sqrt(np.diag(products)) for products in self.mean_products())
        return tuple(np.where(root > 0, root, 1.0) for root in roots)

    def mean_products(self) -> tuple[Floats, ...]:
        """(k, k) mean products of the columns of each random-effects term."""
        blocks = {self.plan.lead: self.products.lead}
        blocks |= dict(zip(self.plan.rest, self.products.diagonal, strict=True))
        return tuple(blocks[j].sum(axis=0) / self.n for j in range(len(self.plan.sizes)))


class SparseSolution(NamedTuple):
    """The penalised least squares problem solved at one Lambda, and the probes' estimates there.

    Attributes:
      factor: M with its lead term eliminated.
      probed: traces of M^-1, and log |M|.
      gamma: (p,) coefficients of Q that were used: their optimum, or those of the beta asked for.
      u: (q,) conditional modes of the spherical effects.
      w: (q,) Z'V^-1 r sigma^2, with Lambda'w = u.
      rss: penalised residual sum of squares.
      information: (p, p) Q'V^-1 Q sigma^2.
      ZVQ: (q, p) Z'V^-1 Q sigma^2.
      score: (p,) Q'V^-1 r sigma^2; zero at the optimum.
      missed: residual sum of squares without the penalty; None where it was not worth a look.
      converged: whether all equations were solved to their tolerance.
    """

    factor: Eliminated
    probed: Probed
    gamma: Floats
    u: Floats
    w: Floats
    rss: float
    information: Floats
    ZVQ: Floats
    score: Floats
    missed: float | None
    converged: bool


def sparse_sums(design: Design) -> SparseSums:
    """Form the cross products of a design with a numeric response and at least one random term."""
    assert design.y is not None
    plan = layout(design.terms)
    root = None if design.weights is None else np.sqrt(design.weights)
    X = design.X if root is None else design.X * root[:, None]
    y = design.y - design.offset
    y = y if root is None else y * root
    Q, R = np.linalg.qr(X)
    Qy = Q.T @ y
    residual = y - Q @ Qy
    residual -= Q @ (Q.T @ residual)
    held = residual if root is None else residual * root
    carried = Q if root is None else Q * root[:, None]
    order = (plan.lead, *plan.rest)
    return SparseSums(
        plan=plan,
        products=sparse_products(find_meetings(plan, design.terms), design.weights),
        ZQ=np.concatenate([plan.transposed[j] @ carried for j in order]),
        Zy=np.concatenate([plan.transposed[j] @ held for j in order]),
        yy=float(residual @ residual),
        R=R,
        ols=sl.solve_triangular(R, Qy) if R.size else np.zeros(0),
        n=design.n,
        log_weights=0.0 if design.weights is None else float(np.log(design.weights).sum()),
        rows=Rows(Q, residual, root, float(np.linalg.norm(y))),
    )


def solve(
    data: SparseSums,
    lambdas: tuple[Floats, ...],
    signs: Floats,
    gamma: Floats | None = None,
) -> SparseSolution:
    """Solve for the conditional modes, and for the fixed effects unless `gamma` gives them.

    Args:
      data: the cross products.
      lambdas: relative covariance factors in formula order.
      signs: (r, m) probes.
      gamma: (p,) fixed coefficients of Q, or None to optimise them.
    Returns:
      The solution.
    """
    plan = data.plan
    factor = eliminate(plan, data.products, lambdas)
    right = turn(plan, lambdas, np.column_stack([data.ZQ, data.Zy]))
    half = factor.lower(right)
    probed = probe(factor, signs, half[plan.lead_size :])
    half[plan.lead_size :] = probed.solution
    full = factor.upper(half)
    inside, target = full[:, :-1], full[:, -1]
    information = np.eye(inside.shape[1]) - right[:, :-1].T @ inside
    pull = -(right[:, :-1].T @ target)
    best, is_told = gamma, has_digits(information)
    if best is None and is_told:
        best = best_coefficients(information, pull)
    rss, u = 0.0, target
    if best is not None:
        u = target - inside @ best
        rss = float(data.yy + best @ best - (right[:, -1] - right[:, :-1] @ best) @ u)
    if best is None or not is_told or is_small(rss, data.yy):
        closely = solve_closely(
            plan,
            data.rows,
            lambdas,
            outward=lambda columns: outward(plan, lambdas, columns),
            inward=lambda columns: turn(plan, lambdas, columns),
            solve=lambda columns: _solve_columns(factor, columns),
            gamma=gamma,
        )
        return SparseSolution(factor, probed, *closely, converged=probed.converged)
    spread = times_products(
        plan, data.products, outward(plan, lambdas, np.column_stack([inside, u]))
    )
    return SparseSolution(
        factor=factor,
        probed=probed,
        gamma=best,
        u=u,
        w=data.Zy - data.ZQ @ best - spread[:, -1],
        rss=rss,
        information=information,
        ZVQ=data.ZQ - spread[:, :-1],
        score=pull - information @ best,
        missed=None,
        converged=probed.converged,
    )


def _solve_columns(factor: Eliminated, columns: Floats) -> Floats:
    """M^-1 columns, (q, m)."""
    half = factor.lower(columns)
    size = factor.plan.lead_size
    tolerances = np.full(columns.shape[1], SOLVED)
    half[size:] = conjugate_gradients(factor.times, half[size:], tolerances).x
    return factor.upper(half)


def roughly(factor: Eliminated, right: Floats) -> Floats:
    """right' M^-1 right for right (q, m), to about four digits."""
    size = factor.plan.lead_size
    half = factor.lower(right)
    top, bottom = half[:size], half[size:]
    solved = conjugate_gradients(factor.times, bottom, np.full(right.shape[1], ROUGHLY))
    return np.asarray(top.T @ top + bottom.T @ solved.x)


def outward(plan: Layout, lambdas: tuple[Floats, ...], columns: Floats) -> Floats:
    """Lambda columns, for effects (q, m)."""
    found = np.empty_like(columns)
    for j, factor in enumerate(lambdas):
        found[plan.place(j)] = times_lambda(factor, columns[plan.place(j)])
    return found


def turn(plan: Layout, lambdas: tuple[Floats, ...], columns: Floats) -> Floats:
    """Lambda' columns, for effects (q, m)."""
    return outward(plan, tuple(factor.T for factor in lambdas), columns)


def fit_gradient(data: SparseSums, found: SparseSolution) -> tuple[Floats, ...]:
    """-d rss / 2 d Lambda_j: (k, k) for each term."""
    w, u = data.plan.split(found.w), data.plan.split(found.u)
    return tuple(a.T @ b for a, b in zip(w, u, strict=True))


def log_det_gradient(
    data: SparseSums, lambdas: tuple[Floats, ...], traces: tuple[Floats, ...]
) -> tuple[Floats, ...]:
    """d log|M| / 2 d Lambda_j = Lambda^-T (l I - trace), (..., k, k) for traces (..., k, k) of each term."""
    found = []
    for (levels, k), factor, trace in zip(data.plan.sizes, lambdas, traces, strict=True):
        missing = levels * np.eye(k) - trace
        found.append(np.asarray(np.linalg.solve(factor.T, missing), float))
    return tuple(found)


def fixed_gradient(data: SparseSums, found: SparseSolution) -> tuple[Floats, ...]:
    """-d log|X'V^-1 X| / 2 d Lambda_j, the further part of the REML deviance: (k, k) for each term."""
    blocks = data.plan.split(found.ZVQ)
    inverse = np.linalg.inv(found.information)
    return tuple(
        np.einsum("lap,pr,lbr->ab", block, inverse, block, optimize=True) @ factor
        for block, factor in zip(blocks, found.factor.lambdas, strict=True)
    )


def score(
    data: SparseSums, space: ParamSpace, psi: Floats, signs: Floats, reml: bool = False
) -> tuple[Floats, SparseSolution]:
    """The gradient of the marginal log-likelihood at any parameters, by each probe, not profiled.

    With `reml` that of the restricted likelihood, in which the fixed effects are no parameters.

    Args:
      data: the cross products.
      space: layout of psi.
      psi: (d,) unconstrained parameters; log sds must be finite.
      signs: (r, m) probes.
    Returns:
      scores: (m, d) estimates of the gradient in psi, whose mean is the one to use.
      solution: of the least squares problem there.
    """
    gamma = None if reml else data.R @ (psi[: space.num_fixed] - data.ols)
    found = solve(data, relative_factors(space, psi), signs, gamma)
    return scores_of(data, space, psi, found, reml), found


def relative_factors(space: ParamSpace, psi: Floats) -> tuple[Floats, ...]:
    """Lambda (k, k) of each term."""
    residual_sd = space.residual_sd(psi)
    return tuple(factor / residual_sd for factor in space.factors(psi))


def scores_of(
    data: SparseSums, space: ParamSpace, psi: Floats, found: SparseSolution, reml: bool = False
) -> Floats:
    """(m, d) the gradient by each probe, from the problem solved at psi; see `score`.

    With `reml` that of the restricted likelihood, where beta is at its optimum.
    """
    residual_sd = space.residual_sd(psi)
    variance, lambdas = residual_sd**2, found.factor.lambdas
    scores = np.zeros((len(found.probed.log_det_each), space.size))
    scores[:, : space.num_fixed] = data.R.T @ found.score / variance
    scale = 0.0
    spreads = log_det_gradient(data, lambdas, found.probed.each)
    fits = [fit / variance for fit in fit_gradient(data, found)]
    if reml:
        fits = [a + b for a, b in zip(fits, fixed_gradient(data, found), strict=True)]
    changes = space.factor_changes(psi)
    for j, (fit, spread) in enumerate(zip(fits, spreads, strict=True)):
        in_lambda = fit - spread
        slopes = np.einsum("tab,mab->mt", changes[j] / residual_sd, in_lambda)
        scores[:, space.theta_slices[j]] = slopes
        scale += np.einsum("mab,ab->m", in_lambda, lambdas[j])
    if space.estimates_sigma:
        freedom = freedom_of(data, reml)
        scores[:, -1] = -freedom + found.rss / variance - scale
    return scores


def pull_of_data(data: SparseSums, space: ParamSpace, psi: Floats, found: SparseSolution) -> Floats:
    """(d,) -d (r'V^-1 r) / 2 d theta, the part of the score that the data have; 0 for beta and sigma."""
    residual_sd = space.residual_sd(psi)
    pull = np.zeros(space.size)
    for fit, change, place in zip(
        fit_gradient(data, found), space.factor_changes(psi), space.theta_slices, strict=True
    ):
        pull[place] = np.einsum("tab,ab->t", change / residual_sd, fit) / residual_sd**2
    return pull
