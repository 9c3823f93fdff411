"""The Gaussian marginal log-likelihood and its gradient, from cross products that are formed once.

With V = sigma^2 (W^-1 + Z Lambda Lambda' Z'), r = y - X beta and M = Lambda' Z'WZ Lambda + I:
log |V| comes from log |M|, and r' V^-1 r sigma^2 is the penalised residual sum of squares at the conditional
modes. No array here has n rows but X, in its orthogonal decomposition, and the residuals of the regression on
it, which are only looked at where a fit comes close to its responses. Who holds M, one matrix, blocks or
products alone, makes no difference: see `algebra.precision`.

References: Bates, Maechler, Bolker, Walker (2015), J. Stat. Softw. 67(1), sections 3 and 5.
"""

from __future__ import annotations

from typing import TypeAlias, TypeVar, cast

import numpy as np

from lmeformula.algebra.crossproducts import CrossProducts
from lmeformula.algebra.eliminated import eliminate
from lmeformula.algebra.factor import factorize
from lmeformula.algebra.general import Whole
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.meetings import Factored
from lmeformula.algebra.precision import Exact, Precision
from lmeformula.algebra.probed import ProbedFactor
from lmeformula.algebra.sparse_factor import SparseWhole
from lmeformula.arrays import Floats
from lmeformula.likelihood.gaussian.dense import solve_small, solve_small_closely
from lmeformula.likelihood.gaussian.from_residuals import (
    CLOSE,
    best_coefficients,
    has_digits,
    is_small,
    solve_closely,
)
from lmeformula.likelihood.gaussian.solution import Solution
from lmeformula.likelihood.gaussian.sums import Sums
from lmeformula.model.params import ParamSpace

# Largest number of elements of Z as a dense matrix.
MOST_DENSE = 10_000_000

P = TypeVar("P", bound=Precision)
# Solved without an estimate.
Solved: TypeAlias = Solution[Exact]


def precision(data: Sums, lambdas: tuple[Floats, ...]) -> Factored | ProbedFactor:
    """M at relative covariance factors: factored, or probed where the products are not in blocks."""
    if isinstance(data.products, Whole | SparseWhole):
        return data.products.factor(data.plan, lambdas)
    if isinstance(data.products, CrossProducts):
        return factorize(data.plan, data.products, lambdas)
    assert data.signs is not None
    return ProbedFactor(eliminate(data.plan, data.products, lambdas), data.signs)


def solve_quickly(
    data: Sums, lambdas: tuple[Floats, ...], close: float = CLOSE
) -> Solution[Precision]:
    """Solve with optimal fixed effects, densely where there are few effects and the fit is not too close."""
    if data.dense is None:
        return solve(data, lambdas)
    found = solve_small(data.plan, data.dense, data.ZQ, data.Zy, data.yy, lambdas, close)
    if found is not None:
        return found
    if data.n * data.plan.num_effects > MOST_DENSE:
        return solve(data, lambdas)
    return solve_small_closely(data.plan, data.dense, data.rows_here, lambdas)


def solve_exactly_quickly(data: Sums, lambdas: tuple[Floats, ...], close: float = CLOSE) -> Solved:
    """The same of products that can be factored, so that nothing is an estimate."""
    assert isinstance(data.products, CrossProducts | Whole | SparseWhole)
    return cast(Solved, solve_quickly(data, lambdas, close))


def solve(
    data: Sums,
    lambdas: tuple[Floats, ...],
    gamma: Floats | None = None,
    factor: Factored | ProbedFactor | None = None,
) -> Solution[Factored | ProbedFactor]:
    """Solve for the conditional modes, and for the fixed effects unless `gamma` gives them.

    Args:
      data: the cross products.
      lambdas: relative covariance factors in formula order.
      gamma: (p,) fixed coefficients of Q, or None to optimise them.
      factor: M at these, if it is at hand.
    Returns:
      The solution.
    """
    plan, p = data.plan, data.ZQ.shape[1]
    if factor is None:
        factor = precision(data, lambdas)
    right = apply_lambda(plan, lambdas, np.column_stack([data.ZQ, data.Zy]), transpose=True)
    factor, found = factor.solve_columns(right)
    fixed, last = slice(0, p), p
    information = np.eye(p) - found.form(fixed, fixed)
    pull = -found.form(fixed, last)
    best, is_told = gamma, has_digits(information)
    if best is None and is_told:
        best = best_coefficients(information, pull)
    rss, rest = 0.0, found
    if best is not None:
        rest = found.less(best)
        rss = float(data.yy + best @ best - rest.left @ rest.right)
    if best is None or not is_told or is_small(rss, data.yy):
        return solve_closely(data.rows, factor, gamma)
    spread = data.products.times(
        apply_lambda(plan, lambdas, np.column_stack([found.solved, rest.solved]))
    )
    return Solution(
        factor=factor,
        gamma=best,
        u=rest.solved,
        w=data.Zy - data.ZQ @ best - spread[:, -1],
        rss=rss,
        information=information,
        ZVQ=data.ZQ - spread[:, :p],
        score=pull - information @ best,
    )


def solve_exactly(
    data: Sums,
    lambdas: tuple[Floats, ...],
    gamma: Floats | None = None,
    factor: Factored | None = None,
) -> Solution[Factored]:
    """Solve by blocks; see `solve`."""
    found = solve(data, lambdas, gamma, factor)
    assert not isinstance(found.factor, ProbedFactor)
    return cast(Solution[Factored], found)


def score(
    data: Sums, space: ParamSpace, psi: Floats, reml: bool = False
) -> tuple[Floats, Solution[Factored | ProbedFactor]]:
    """The gradient of the marginal log-likelihood at any parameters, by each probe, not profiled.

    Args:
      data: the cross products.
      space: layout of psi.
      psi: (d,) unconstrained parameters; log sds must be finite.
      reml: that of the restricted likelihood, in which the fixed effects are no parameters.
    Returns:
      scores: (m, d) estimates of the gradient in psi, whose mean is the one to use; one, exact, where M is
        factored.
      solution: of the least squares problem there.
    """
    gamma = None if reml else data.R @ (psi[: space.num_fixed] - data.ols)
    found = solve(data, relative_factors(space, psi), gamma)
    return scores_of(data, space, psi, found, reml), found


def relative_factors(space: ParamSpace, psi: Floats) -> tuple[Floats, ...]:
    """Lambda (k, k) of each term."""
    residual_sd = space.residual_sd(psi)
    return tuple(factor / residual_sd for factor in space.factors(psi))


def scores_of(
    data: Sums,
    space: ParamSpace,
    psi: Floats,
    found: Solution[Factored | ProbedFactor],
    reml: bool = False,
) -> Floats:
    """(m, d) the gradient by each probe, from the problem solved at psi; see `score`."""
    residual_sd = space.residual_sd(psi)
    variance, factor = residual_sd**2, found.factor
    spreads = factor.log_det_slopes_each()
    scores = np.zeros((len(spreads[0]), space.size))
    scores[:, : space.num_fixed] = data.R.T @ found.score / variance
    scale = 0.0
    fits = tuple(fit / variance for fit in found.fit_slopes())
    if reml:
        fits = tuple(a + b for a, b in zip(fits, found.fixed_slopes(), strict=True))
    changes = space.factor_changes(psi)
    for j, (fit, spread) in enumerate(zip(fits, spreads, strict=True)):
        in_lambda = fit - spread
        scores[:, space.theta_slices[j]] = np.einsum(
            "tab,mab->mt", changes[j] / residual_sd, in_lambda
        )
        scale += np.einsum("mab,ab->m", in_lambda, factor.lambdas[j])
    in_sigma = -data.freedom(reml) + found.rss / variance - scale
    scores[:, space.own_slice] = np.reshape(in_sigma, (-1, 1))
    return scores


def log_likelihood(
    data: Sums, space: ParamSpace, psi: Floats
) -> tuple[float, Floats, Solution[Factored]]:
    """The marginal log-likelihood and its gradient at any parameters, not profiled.

    Args:
      data: the cross products, in blocks.
      space: layout of psi.
      psi: (d,) unconstrained parameters; log sds must be finite.
    Returns:
      value: log-likelihood, on R's constants.
      gradient: (d,) its derivative in psi.
      solution: of the least squares problem there.
    """
    scores, found = score(data, space, psi)
    return (
        log_likelihood_of(data, found, space.residual_sd(psi) ** 2),
        scores[0],
        cast(Solution[Factored], found),
    )


def log_likelihood_of(
    data: Sums, found: Solution[Precision], variance: float, reml: bool = False
) -> float:
    """The log-likelihood, or the restricted one, of a solved problem, on R's constants.

    Args:
      data: the cross products.
      found: the penalised least squares problem, solved.
      variance: of the residuals.
      reml: the restricted likelihood.
    """
    value = found.factor.log_det - data.log_weights
    value += data.freedom(reml) * np.log(2 * np.pi * variance) + found.rss / variance
    if reml:
        value += np.linalg.slogdet(found.information)[1] + 2 * np.log(np.abs(np.diag(data.R))).sum()
    return float(-0.5 * value)


def variance_of(data: Sums, found: Solution[Precision], sigma: float | None, reml: bool) -> float:
    """The residual variance at its optimum, unless it is given."""
    return found.rss / data.freedom(reml) if sigma is None else sigma**2


def pull_of_data(space: ParamSpace, psi: Floats, found: Solution[Precision]) -> Floats:
    """(d,) -d (r'V^-1 r) / 2 d theta, the part of the score that the data have; 0 for beta and sigma."""
    residual_sd = space.residual_sd(psi)
    return space.pull_back(psi, found.fit_slopes(), residual_sd) / residual_sd**2
