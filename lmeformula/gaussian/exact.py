"""Exact maximum likelihood and REML for Gaussian models, profiled over the fixed effects and sigma."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg as sl
import scipy.optimize as so
from numpy.typing import NDArray

from lmeformula.algebra.factor import apply_lambda
from lmeformula.gaussian.likelihood import (
    Solution,
    Sums,
    fit_gradient,
    fixed_gradient,
    log_det_gradient,
    log_likelihood,
    solve,
)
from lmeformula.model.params import Params, ParamSpace

Floats = NDArray[np.float64]

# Relative sds are kept at or above this while optimising; what ends there is reported as zero. Its effect on
# the deviance is of the order of its square times the number of rows per level.
SMALLEST = 1e-6


class ExactFit(NamedTuple):
    """The optimum.

    Attributes:
      params: estimates on the natural scale; a variance on the boundary is exactly zero.
      solution: the penalised least squares problem at the optimum.
      loglik: maximised log-likelihood (or REML criterion), on R's constants.
      gradient_norm: largest element of the gradient of the deviance, where not at a bound.
      converged: whether that is zero to rounding.
      singular: whether some covariance matrix is singular.
      deviances: deviance at each evaluation.
      path: (evaluations, d) unconstrained parameters at each evaluation.
    """

    params: Params
    solution: Solution
    loglik: float
    gradient_norm: float
    converged: bool
    singular: bool
    deviances: Floats
    path: Floats


def fit_exact(data: Sums, space: ParamSpace, *, reml: bool = False) -> ExactFit:
    """Maximise the Gaussian likelihood over the relative covariance factors.

    Args:
      data: cross products of the design.
      space: the model's parameter space.
      reml: maximise the restricted likelihood instead.
    Returns:
      The optimum, whether or not the optimiser converged.
    """
    bases = [term.structure.basis(len(term.columns)) for term in space.terms]
    ends = np.cumsum([0, *(len(basis) for basis in bases)])
    on_diagonal = np.concatenate([np.trace(basis, axis1=1, axis2=2) > 0 for basis in bases])
    lower = np.where(on_diagonal, SMALLEST, -np.inf)
    deviances: list[float] = []
    path: list[Floats] = []

    def factors(elements: Floats) -> tuple[Floats, ...]:
        return tuple(
            np.tensordot(elements[a:b], basis, 1)
            for a, b, basis in zip(ends[:-1], ends[1:], bases, strict=True)
        )

    def objective(elements: Floats) -> tuple[float, Floats]:
        value, pull, found = deviance(data, factors(elements), space.fixed_sigma, reml)
        slope = np.concatenate(
            [np.einsum("tab,ab->t", b, p) for b, p in zip(bases, pull, strict=True)]
        )
        deviances.append(value)
        path.append(space.to_free(natural(data, space, found, reml)))
        return value, slope

    best = so.minimize(
        objective,
        on_diagonal.astype(float),
        jac=True,
        method="L-BFGS-B",
        bounds=[(low, None) for low in lower],
        options={"ftol": 1e-15, "gtol": 1e-9 * data.n, "maxiter": 500, "maxcor": 20},
    )
    elements = np.asarray(best.x)
    at_bound = elements <= 2 * SMALLEST
    elements = np.where(on_diagonal & at_bound, 0.0, elements)
    _, slope = objective(np.maximum(elements, lower))
    free = ~(on_diagonal & at_bound)
    norm = float(np.abs(slope[free] * np.maximum(elements[free], 0.1)).max(initial=0.0))
    lambdas = factors(elements)
    solution = solve(data, lambdas)
    return ExactFit(
        params=natural(data, space, solution, reml),
        solution=solution,
        loglik=-0.5 * profile(data, solution, space.fixed_sigma, reml),
        gradient_norm=norm,
        # A deviance of this slope is within rounding of its optimum: its curvature is of the order of n.
        converged=norm < 1e-3 * np.sqrt(data.n),
        singular=any(is_singular(factor) for factor in lambdas),
        deviances=np.array(deviances),
        path=np.array(path),
    )


def profile(data: Sums, found: Solution, sigma: float | None, reml: bool) -> float:
    """Deviance (-2 log-likelihood) at the optimal fixed effects and, unless given, sigma."""
    freedom = data.n - len(data.ols) if reml else data.n
    variance = found.rss / freedom if sigma is None else sigma**2
    value = found.factor.log_det - data.log_weights
    value += freedom * np.log(2 * np.pi * variance) + found.rss / variance
    if reml:
        value += np.linalg.slogdet(found.information)[1] + 2 * np.log(np.abs(np.diag(data.R))).sum()
    return float(value)


def deviance(
    data: Sums, lambdas: tuple[Floats, ...], sigma: float | None, reml: bool
) -> tuple[float, tuple[Floats, ...], Solution]:
    """The profiled deviance, its (k, k) derivatives in the elements of each Lambda, and the solution."""
    found = solve(data, lambdas)
    freedom = data.n - len(data.ols) if reml else data.n
    variance = found.rss / freedom if sigma is None else sigma**2
    pulls = []
    further = (
        fixed_gradient(data, found) if reml else tuple(np.zeros_like(factor) for factor in lambdas)
    )
    for spread, fit, fixed in zip(
        log_det_gradient(data, found), fit_gradient(data, found), further, strict=True
    ):
        pulls.append(2.0 * (spread - fit / variance - fixed))
    return profile(data, found, sigma, reml), tuple(pulls), found


def natural(data: Sums, space: ParamSpace, found: Solution, reml: bool) -> Params:
    """Parameters on their natural scale from a solved problem."""
    freedom = data.n - len(data.ols) if reml else data.n
    sigma = space.fixed_sigma or float(np.sqrt(found.rss / freedom))
    beta = data.ols + (sl.solve_triangular(data.R, found.gamma) if data.R.size else found.gamma)
    covariances = tuple(sigma**2 * (factor @ factor.T) for factor in found.factor.lambdas)
    return Params(beta, covariances, sigma)


def is_singular(factor: Floats, tolerance: float = 1e-4) -> bool:
    """Whether a relative covariance factor is singular, to lme4's tolerance for its diagonal."""
    return bool((np.abs(np.diag(factor)) < tolerance).any())


def fixed_covariance(data: Sums, found: Solution, sigma: float) -> Floats:
    """(p, p) covariance of the fixed effects, sigma^2 (X'V^-1 X)^-1 at the estimated covariances."""
    if not data.R.size:
        return np.zeros((0, 0))
    root = sl.solve_triangular(data.R, sl.inv(sl.cholesky(found.information)))
    return np.asarray(sigma**2 * root @ root.T)


def observed_information(
    data: Sums, space: ParamSpace, psi: Floats, free: NDArray[np.bool_]
) -> Floats:
    """(d, d) observed information of psi, by central differences of the analytic score.

    Args:
      data: cross products.
      space: parameter space.
      psi: (d,) the maximum; boundary parameters hold a finite stand-in.
      free: (d,) which parameters are inside their boundary; the others get zero rows.
    """
    d, p = space.size, space.num_fixed
    information = np.zeros((d, d))

    def score(at: Floats) -> Floats:
        return log_likelihood(data, space, at, space.fixed_sigma)[1]

    sigma = float(np.exp(psi[-1])) if space.estimates_sigma else space.fixed_sigma
    assert sigma is not None
    found = solve(
        data, tuple(sl.cholesky(c, lower=True) / sigma for c in space.to_natural(psi).covariances)
    )
    information[:p, :p] = data.R.T @ found.information @ data.R / sigma**2
    for j in range(p, d):
        if free[j]:
            step = np.zeros(d)
            step[j] = 1e-4
            column = (score(psi - step) - score(psi + step)) / 2e-4
            information[:, j] = column
            information[j, :p] = column[:p]
    rest = information[p:, p:]
    information[p:, p:] = 0.5 * (rest + rest.T)
    information[~free] = 0.0
    information[:, ~free] = 0.0
    return information


def conditional(
    data: Sums, found: Solution, sigma: float
) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
    """Conditional modes (l, k) and covariances (l, k, k) of the random effects given y, for each term."""
    lambdas = found.factor.lambdas
    modes = data.plan.split(apply_lambda(data.plan, lambdas, found.u))
    blocks = found.factor.inverse_blocks()
    covariances = tuple(
        sigma**2 * (factor @ block @ factor.T)
        for factor, block in zip(lambdas, blocks, strict=True)
    )
    return modes, covariances
