"""Exact maximum likelihood and REML for Gaussian models, profiled over the fixed effects and sigma."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray

from lmeformula.gaussian.information import profile_information
from lmeformula.gaussian.likelihood import (
    Solution,
    Sums,
    fit_gradient,
    fixed_gradient,
    log_det_gradient,
    solve,
)
from lmeformula.model.params import Params, ParamSpace

Floats = NDArray[np.float64]

# Relative sds are kept at or above this while optimising; what ends there is reported as zero. Its effect
# on the deviance is of the order of its square times the number of rows per level.
SMALLEST = 1e-6
# Below this a relative sd that still falls is tried at zero.
NEAR_ZERO = 1e-3
# Where the optimiser starts: the relative sd of every coefficient.
FIRST_SD = 0.4
# Steps in log sds and in the elements below the diagonal are at most this long.
LONGEST_STEP = 1.5
MAX_STEPS = 100
# A further step that promises less than this in log-likelihood is not taken.
NEGLIGIBLE_GAIN = 1e-9
# The score in log sd at SMALLEST that counts as rising, over SMALLEST^2 n: rounding stays below it.
FREEING_SCORE = 1e-4


class ExactFit(NamedTuple):
    """The optimum.

    Attributes:
      params: estimates on the natural scale; a variance on the boundary is exactly zero.
      solution: the penalised least squares problem at the optimum.
      loglik: maximised log-likelihood (or REML criterion), on R's constants.
      gain: rise of the log-likelihood that another step promises.
      converged: whether that is nil.
      singular: whether some covariance matrix is singular.
      num_evaluations: how often the likelihood was evaluated.
    """

    params: Params
    solution: Solution
    loglik: float
    gain: float
    converged: bool
    singular: bool
    num_evaluations: int


class _Point(NamedTuple):
    """The likelihood at one vector of elements of the relative factors.

    Attributes:
      elements: coefficients of the structures' bases: the free elements of each Lambda.
      value: deviance.
      score: derivative of the log-likelihood in the coordinates of `_coordinates`.
      information: average information there.
      solution: the penalised least squares problem.
    """

    elements: Floats
    value: float
    score: Floats
    information: Floats
    solution: Solution


def fit_exact(data: Sums, space: ParamSpace, *, reml: bool = False) -> ExactFit:
    """Maximise the Gaussian likelihood over the relative covariance factors.

    Newton's method with the average information in place of the Hessian, in the logarithms of the
    factors' diagonal elements, each step shortened until the likelihood rises. A diagonal element on its
    way to zero is taken there, and set free again if the likelihood rises with the variance.

    Args:
      data: cross products of the design.
      space: the model's parameter space.
      reml: maximise the restricted likelihood instead.
    Returns:
      The optimum, whether or not the optimiser converged.
    References:
      Gilmour, Thompson, Cullis (1995), Biometrics 51, 1440-1450.
    """
    bases = tuple(term.structure.basis(len(term.columns)) for term in space.terms)
    on_diagonal = np.concatenate([np.trace(basis, axis1=1, axis2=2) > 0 for basis in bases])
    count = 0

    def evaluate(elements: Floats) -> _Point:
        nonlocal count
        count += 1
        return _evaluate(data, space, bases, on_diagonal, elements, reml)

    point = evaluate(np.where(on_diagonal, FIRST_SD, 0.0))
    gain = np.inf
    for _ in range(MAX_STEPS):
        frozen = on_diagonal & (point.elements <= SMALLEST)
        # At zero the log-likelihood is quadratic in the sd: it rises there if it rises with the variance.
        rising = frozen & (point.score > FREEING_SCORE * SMALLEST**2 * data.n)
        if rising.any():
            point = evaluate(np.where(rising, 100 * NEAR_ZERO, point.elements))
            continue
        step = _step(point, ~frozen)
        gain = float(point.score @ step)
        if gain < NEGLIGIBLE_GAIN:
            break
        following = _line_search(evaluate, point, step, on_diagonal, gain)
        if following is None:
            break
        near = on_diagonal & (following.elements < NEAR_ZERO) & (following.score < 0) & ~frozen
        if near.any():
            at_zero = evaluate(np.where(near, SMALLEST, following.elements))
            following = at_zero if at_zero.value <= following.value else following
        point = following
    elements = np.where(on_diagonal & (point.elements <= SMALLEST), 0.0, point.elements)
    lambdas = _factors(bases, elements)
    solution = solve(data, lambdas)
    return ExactFit(
        params=natural(data, space, solution, reml),
        solution=solution,
        loglik=-0.5 * profile(data, solution, space.fixed_sigma, reml),
        gain=gain,
        converged=gain < 1e-6,
        singular=any(is_singular(factor) for factor in lambdas),
        num_evaluations=count,
    )


def _factors(bases: tuple[Floats, ...], elements: Floats) -> tuple[Floats, ...]:
    ends = np.cumsum([0, *(len(basis) for basis in bases)])
    return tuple(
        np.tensordot(elements[a:b], basis, 1)
        for a, b, basis in zip(ends[:-1], ends[1:], bases, strict=True)
    )


def _evaluate(
    data: Sums,
    space: ParamSpace,
    bases: tuple[Floats, ...],
    on_diagonal: NDArray[np.bool_],
    elements: Floats,
    reml: bool,
) -> _Point:
    value, pulls, found = deviance(data, _factors(bases, elements), space.fixed_sigma, reml)
    score = -0.5 * np.concatenate(
        [np.einsum("tab,ab->t", basis, pull) for basis, pull in zip(bases, pulls, strict=True)]
    )
    information = profile_information(data, found, bases, space.fixed_sigma, reml)
    scale = np.where(on_diagonal, elements, 1.0)  # d element / d coordinate
    return _Point(elements, value, scale * score, information * np.outer(scale, scale), found)


def _step(point: _Point, free: NDArray[np.bool_]) -> Floats:
    """Newton's step in the free coordinates, at most LONGEST_STEP in each."""
    step = np.zeros(len(free))
    information = point.information[np.ix_(free, free)]
    # The average information is positive semidefinite; it vanishes with a variance.
    ridge = 1e-8 * np.trace(information) / max(len(information), 1) + 1e-12
    step[free] = np.linalg.solve(information + ridge * np.eye(len(information)), point.score[free])
    return step / max(1.0, float(np.abs(step).max(initial=0.0)) / LONGEST_STEP)


def _line_search(
    evaluate: Callable[[Floats], _Point],
    point: _Point,
    step: Floats,
    on_diagonal: NDArray[np.bool_],
    gain: float,
) -> _Point | None:
    """The first of the step, its half, its quarter ... that raises the likelihood enough."""
    for halvings in range(20):
        share = 0.5**halvings
        moved = np.where(
            on_diagonal,
            np.maximum(point.elements * np.exp(np.where(on_diagonal, share * step, 0.0)), SMALLEST),
            point.elements + share * step,
        )
        following = evaluate(moved)
        # Rounding in the deviance is about 1e-12 of it.
        rounding = 1e-12 * abs(point.value)
        if following.value <= point.value - 2e-4 * share * gain + rounding:
            return following
    return None


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
