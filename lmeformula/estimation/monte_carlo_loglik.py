"""The log-likelihood of a Monte Carlo fit: by quadrature where effects are few a block, or else by draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.em.types import Geometry, Options, Problem, Solution
from lmeformula.history import LogLik
from lmeformula.likelihood.laplace.likelihood import Mode
from lmeformula.likelihood.laplace.likelihood import Problem as Arrays
from lmeformula.likelihood.laplace.modes import gradient, mode_at
from lmeformula.likelihood.quadrature.integral import InPsi
from lmeformula.likelihood.quadrature.integrand import integrand
from lmeformula.likelihood.quadrature.marginal import Quadrature
from lmeformula.model.compile import Model

if TYPE_CHECKING:
    from lmeformula.em.bridge import LogRatio

# With so many draws of each chain a bridge is as good as control variates, which are worked out row by row.
MANY_DRAWS = 500
# Control variates leave less error than this, or else the two densities are too far apart for them.
SHARP = 0.1
# Densities whose log ratio spreads by more than this share next to nothing: no bridge is tried.
FAR_APART = 4.0
# With more rows than these each draw is dear, and means are worth more than overlap.
MANY_ROWS = 20_000


class Reference(NamedTuple):
    """A Gaussian near the posterior of the effects, at the parameters of the last E-step.

    Attributes:
      geometry: its coordinates.
      excess: (m, c) log density over that of N(0, I) there, without its constant, at draws of the posterior.
      log_det: of its precision.
      known: the log of the density's integral over the Gaussian's, where it is known already.
    """

    geometry: Geometry
    excess: Floats
    log_det: float
    known: LogRatio | None = None


# Parameters (d,) -> the log-likelihood by quadrature; None where that does not reach.
Exactly = Callable[[Floats], InPsi] | None


def log_likelihood(
    model: Model,
    problem: Problem,
    options: Options,
    solution: Solution,
    seed: int,
    exactly: Exactly,
    reference: Callable[[Solution, Geometry], Reference],
) -> LogLik:
    """The log-likelihood at the estimates; its error is also theirs, which are a little below the maximum.

    Args:
      model, problem, options, solution: what the engine was given, and found.
      seed: of the bridge's draws.
      exactly: quadrature, where it reaches.
      reference: what the engine found, the geometry there -> what the log-likelihood is bridged from.
    """
    value = error = float("nan")
    if solution.geometry is not None:
        # At a posterior mode the likelihood rises as the priors fall.
        rise = np.zeros(model.space.size)
        if model.penalty is not None:
            rise = -model.penalty.in_psi(solution.params)[1]
        if exactly is not None:
            value, error = exactly(solution.params)[:2]
        else:
            there, of = reference(solution, solution.geometry), (problem, options, model.dtype)
            value, error = _bridged(of, there, solution.sampled_at, seed)
            value += float(rise @ (solution.params - solution.sampled_at))
        error = float(np.hypot(error, shortfall(solution)))
        error = float(
            np.hypot(error, np.sqrt(max(float(rise @ solution.mc_covariance @ rise), 0.0)))
        )
    return LogLik(float(value), error, model.space.size, model.design.num_observations)


def by_blocks(model: Model, arrays: Arrays, mode: Mode) -> Exactly:
    """Of Gaussian effects, where few are in a block: about their mode."""
    inside = integrand(model, arrays.plan)
    if inside is None:
        return None

    def exactly(psi: Floats) -> InPsi:
        found = Quadrature(inside).integral(arrays, mode)
        return InPsi(found.value, found.error, gradient(model.space, psi, found))

    return exactly


def laplace_reference(
    model: Model, arrays: Arrays, seed: int, solution: Solution, geometry: Geometry
) -> Reference:
    """By the mode of Gaussian effects; see `log_likelihood`."""
    from lmeformula.em.bridge import MOST_DRAWS
    from lmeformula.sampling.controlled import controlled_integral
    from lmeformula.sampling.laplace import directions_of
    from lmeformula.sampling.reference import excess_over, reference_at, whitening_of

    at = mode_at(model, arrays, solution.sampled_at, geometry.arrays.modes)
    directions = directions_of(geometry.arrays)
    reference = reference_at(arrays, at, directions)
    log_det = reference.factor.log_det
    if len(solution.excess) < MANY_DRAWS:
        known = controlled_integral(arrays, at, reference, solution.positions, seed, directions)
        # Of many rows a bridge between so few draws knows less, or nothing.
        least = SHARP if len(at.eta) <= MANY_ROWS else np.inf
        if known.mc_error < least:
            return Reference(geometry, solution.excess, log_det, known)
    kept = solution.positions[:MOST_DRAWS]
    return Reference(
        geometry._replace(arrays=whitening_of(reference, arrays, at, geometry.arrays)),
        excess_over(reference, at, kept, solution.excess[: len(kept)], directions),
        log_det,
    )


def shortfall(solution: Solution) -> float:
    """Root mean square of what the log-likelihood at estimates with Monte Carlo errors lacks of the maximum.

    It is half a sum of squares of normal numbers, whose variances are the eigenvalues of the information times
    the Monte Carlo covariance.
    """
    product = solution.information @ solution.mc_covariance
    trace, squares = float(np.trace(product)), float(np.trace(product @ product))
    return 0.5 * float(np.sqrt(max(trace**2 + 2.0 * squares, 0.0)))


def _bridged(
    of: tuple[Problem, Options, str], reference: Reference, psi: Floats, seed: int
) -> tuple[float, float]:
    from lmeformula.em.bridge import LogRatio, bridge
    from lmeformula.em.path import along_path
    from lmeformula.em.path_integral import integral_along
    from lmeformula.em.programs import engine_of, num_rows

    geometry, excess, log_det, known = reference
    if known is not None:
        return known.value - 0.5 * log_det, known.mc_error
    engine = engine_of(*of, seed)
    correction = LogRatio(float("nan"), float("nan"))
    if excess.std() < FAR_APART:
        correction = bridge(engine, psi, geometry, excess)
    # One bridge does not reach: a path does, or says that it does not.
    if not np.isfinite(correction.mc_error) and num_rows(engine.problem.data) > MANY_ROWS:
        correction = integral_along(engine, psi, geometry, excess)
    if not np.isfinite(correction.mc_error):
        correction = along_path(engine, psi, geometry)
    # The density in the reference's coordinates lacks only the determinant of the whitening.
    return correction.value - 0.5 * log_det, correction.mc_error
