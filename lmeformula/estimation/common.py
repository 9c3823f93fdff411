"""What the methods share: standard errors on the reporting scale, draws that are kept."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Floats, Mask
from lmeformula.em.progress import Progress
from lmeformula.em.types import Geometry, Options, Problem, Solution
from lmeformula.estimation.coordinates import (
    Arrival,
    determined_inverse,
    least_known,
)
from lmeformula.history import Probes, Sampling
from lmeformula.likelihood.confounded import alike
from lmeformula.likelihood.probing import ProbedFit
from lmeformula.model.compile import Model

# Draws of the first levels of each term are kept for trace plots.
WATCHED_LEVELS = 8
# Most probes of the iterative solver.
MAX_PROBES = 512


def report_vcov(at: Arrival, fixed_vcov: Floats) -> Floats:
    """The covariance (d, d) of the estimates on the reporting scale, by the delta method.

    Args:
      at: where the fit ended.
      fixed_vcov: (p, p) of the fixed effects, lme4's, from their own block of the information: then they are
        not correlated with the other parameters, as on average over data they are not.
    Returns:
      The covariance; nan for what is at a bound or not determined.
    """
    space, inside, p = at.model.space, at.inside, at.model.space.num_fixed
    found, loose = determined_inverse(at, least_known(space, at.psi))
    known = inside & ~loose
    use = np.ix_(known, known)
    jacobian = space.report_jacobian(at.psi)[use]
    covariance = np.full_like(found, np.nan)
    covariance[use] = jacobian @ found[use] @ jacobian.T
    covariance[:p, p:] = np.where(np.isnan(covariance[:p, p:]), np.nan, 0.0)
    covariance[p:, :p] = covariance[:p, p:].T
    covariance[:p, :p] = fixed_vcov
    return without_errors(covariance, p, at.undetermined)


def stderr_of(covariance: Floats) -> Floats:
    """(d,) roots of the diagonal; nan where it is negative, which no variance is."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(np.diag(covariance)))


def undetermined_of(model: Model, plan: Layout, covariances: tuple[Floats, ...]) -> Mask | None:
    """(t,) parameters of covariances (k, k) that the design does not tell apart; None where it tells all.

    Of effects by a t distribution, covariances of the predictors are not all that there is.
    """
    if not model.space.has_normal_priors:
        return None
    found = alike(plan, model.space, covariances)
    return None if found is None else found.undetermined


def without_errors(covariance: Floats, num_fixed: int, undetermined: Mask | None) -> Floats:
    """A covariance (d, d) with nan for parameters (t,) of random effects that are not determined, if some are.

    Example:
      >>> without_errors(np.eye(2), 1, np.array([True])).tolist()
      [[1.0, nan], [nan, nan]]
    """
    if undetermined is None:
        return covariance
    found = np.array(covariance)
    places = num_fixed + np.flatnonzero(undetermined)
    found[places], found[:, places] = np.nan, np.nan
    return found


def last_iteration(solution: Solution, num_chains: int) -> Sampling | None:
    """What the engine reported of its last iteration, or None where it had none."""
    info = solution.info
    if info is None:
        return None
    return Sampling(
        num_chains=num_chains,
        num_draws=solution.trace[-1].num_draws,
        acceptance=float(info.acceptance),
        divergences=int(info.divergences),
        rhat=float(info.rhat),
        effective=float(info.effective),
        reduction=np.asarray(info.reduction, float),
        last_step=np.asarray(info.distance, float) / np.asarray(info.stderr, float),
    )


class RunSeconds(NamedTuple):
    """Where the time of a run went: compiling, whitening, and the E- and M-steps besides."""

    compile: float
    whitening: float
    iterations: float


def timed_run(
    problem: Problem, options: Options, seed: int, dtype: str, progress: Progress | None
) -> tuple[Solution, RunSeconds]:
    """Run the engine on a problem that knows its geometry, on the clock."""
    from lmeformula.em.loop import run

    assert problem.geometry is not None
    whiten, spent = problem.geometry, 0.0

    def timed(psi: Floats) -> Geometry:
        nonlocal spent
        at = time.perf_counter()
        try:
            return whiten(psi)
        finally:
            spent += time.perf_counter() - at

    began, on_clock = time.perf_counter(), problem._replace(geometry=timed)
    solution = run(on_clock, options, seed=seed, dtype=dtype, progress=progress)
    rest = time.perf_counter() - began - spent - solution.compile_seconds
    return solution, RunSeconds(solution.compile_seconds, spent, max(0.0, rest))


def watch(
    model: Model, starts: tuple[int, ...]
) -> tuple[tuple[tuple[str, str, str], ...], tuple[int, ...]]:
    """Names and positions of the effects whose draws are kept."""
    names, positions = [], []
    for term, start in zip(model.design.terms, starts, strict=True):
        k = len(term.columns)
        for level, label in enumerate(term.levels[:WATCHED_LEVELS]):
            for a, column in enumerate(term.columns):
                names.append((term.name, label, column))
                positions.append(start + level * k + a)
    return tuple(names), tuple(positions)


def report_mc_error(model: Model, psi: Floats, mc_covariance: Floats | None) -> Floats:
    """(d,) Monte Carlo standard errors on the reporting scale, from the covariance (d, d) in psi, if any."""
    if mc_covariance is None:
        return np.zeros(model.space.size)
    jacobian = model.space.report_jacobian(psi)
    return stderr_of(jacobian @ mc_covariance @ jacobian.T)


def probes_of(last: ProbedFit[Any], seed: int) -> Probes:
    """What each probe said of the log-likelihood of a fit with this seed."""
    each = last.loglik + last.loglik_each - last.loglik_each.mean()
    return Probes(seed, tuple(map(float, each)))


def most_probes(options: Options) -> int:
    """Most probes of the iterative solver; options that ask for fewer draws lower it."""
    return min(MAX_PROBES, options.max_draws)
