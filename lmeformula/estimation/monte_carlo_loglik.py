"""The log-likelihood of a Monte Carlo fit: by quadrature where effects are few a block, or else bridged."""

from __future__ import annotations

import numpy as np

from lmeformula.algebra.factor import Factor
from lmeformula.em.types import Options, Problem, Solution
from lmeformula.history import LogLik
from lmeformula.likelihood.laplace.likelihood import Mode
from lmeformula.likelihood.laplace.likelihood import Problem as Arrays
from lmeformula.likelihood.laplace.modes import mode_at
from lmeformula.model.compile import Model
from lmeformula.sampling.blocks import blocks_of

# Densities whose log ratio spreads by more than this share next to nothing: no bridge is tried.
FAR_APART = 4.0
# With more rows than these each draw is dear, and means are worth more than overlap.
MANY_ROWS = 20_000


def log_likelihood(
    model: Model,
    arrays: Arrays,
    problem: Problem,
    options: Options,
    solution: Solution,
    mode: Mode,
    seed: int,
) -> LogLik:
    """The log-likelihood at the estimates, with the error that it has as the maximum.

    Args:
      model: with Gaussian effects.
      arrays: its arrays.
      problem: what the engine was given.
      options: of the run.
      solution: what the engine found.
      mode: the conditional mode at the estimates.
      seed: of the bridge's draws.
    """
    from lmeformula.sampling.quadrature import integrand, integrate

    if solution.geometry is None:
        return unknown(model)
    blocks = blocks_of(model, arrays.plan)
    of = integrand(model, arrays.plan, blocks)
    if of is not None:
        found = integrate(of, solution.params, mode.u, arrays.rows.held(mode.weights))
        return of_value(model, solution, found.value, found.error)
    value, error = _bridged(model, arrays, problem, options, solution, seed)
    return of_value(model, solution, value, error)


def unknown(model: Model) -> LogLik:
    """Nothing is known of it."""
    return LogLik(float("nan"), float("nan"), model.space.size, model.design.n)


def of_value(model: Model, solution: Solution, value: float, error: float) -> LogLik:
    """The record; its error is also that of the estimates, which are a little below the maximum."""
    error = float(np.hypot(error, shortfall(solution)))
    return LogLik(float(value), error, model.space.size, model.design.n)


def shortfall(solution: Solution) -> float:
    """Root mean square of what the log-likelihood at estimates with Monte Carlo errors lacks of the maximum.

    It is half a sum of squares of normal numbers, whose variances are the eigenvalues of the information times
    the Monte Carlo covariance.
    """
    product = solution.information @ solution.mc_covariance
    trace, squares = float(np.trace(product)), float(np.trace(product @ product))
    return 0.5 * float(np.sqrt(max(trace**2 + 2.0 * squares, 0.0)))


def _bridged(
    model: Model,
    arrays: Arrays,
    problem: Problem,
    options: Options,
    solution: Solution,
    seed: int,
) -> tuple[float, float]:
    """From a Gaussian near the posterior, at the parameters of the last E-step."""
    from lmeformula.em.bridge import MOST_DRAWS, LogRatio, bridge
    from lmeformula.em.path import along_path
    from lmeformula.em.path_integral import integral_along
    from lmeformula.em.programs import engine_of, num_rows
    from lmeformula.sampling.laplace import directions_of, whitening_factor
    from lmeformula.sampling.reference import excess_over, reference_at, whitening_of

    geometry, excess = solution.geometry, solution.excess
    assert geometry is not None
    at = mode_at(model, arrays, solution.sampled_at, geometry.arrays.modes)
    log_det = whitening_factor(at.factor, directions_of(geometry.arrays)).log_det
    if isinstance(at.factor, Factor):
        reference = reference_at(arrays, at)
        kept = solution.positions[:MOST_DRAWS]
        excess = excess_over(reference, at, kept, excess[: len(kept)])
        white = whitening_of(reference, arrays, at, geometry.arrays)
        geometry, log_det = geometry._replace(arrays=white), reference.factor.log_det
    engine, psi = engine_of(problem, options, model.dtype, seed), solution.sampled_at
    correction = LogRatio(float("nan"), float("nan"))
    if excess.std() < FAR_APART:
        correction = bridge(engine, psi, geometry, excess)
    # One bridge does not reach: a path does, or says that it does not.
    if not np.isfinite(correction.mc_error) and num_rows(problem.data) > MANY_ROWS:
        correction = integral_along(engine, psi, geometry, excess)
    if not np.isfinite(correction.mc_error):
        correction = along_path(engine, psi, geometry)
    # The density in the reference's coordinates lacks only the determinant of the whitening.
    return correction.value - 0.5 * log_det, correction.mc_error
