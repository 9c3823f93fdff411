"""Models of the other families: by the Laplace approximation, or by Monte Carlo EM that starts there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options
from lmeformula.estimation.common import (
    BOUNDARY_SD,
    Timed,
    iteration_seconds,
    last_iteration,
    report_mc_error,
    report_vcov,
    stderr_of,
    watch,
    watched_draws,
)
from lmeformula.fit import Ascent, Fit, LogLik, Seconds
from lmeformula.laplace.fit import (
    LaplaceFit,
    conditional,
    fit_laplace,
    mode_at,
    observed_information,
    term_factors,
)
from lmeformula.laplace.iterative import fit_iteratively
from lmeformula.model.bounds import off_bounds
from lmeformula.model.compile import Model
from lmeformula.model.factors import any_singular

if TYPE_CHECKING:
    from lmeformula.em.loop import Progress

Floats = NDArray[np.float64]

# Monte Carlo EM starts standard deviations that the approximation put at zero from here, and calls them
# singular if it ends below.
SMALL_SD = 0.02
# Monte Carlo EM starts from a Laplace fit by the iterative solver that is this good, in standard errors.
START_TOLERANCE = 0.1
# Most probes of the iterative solver; options that ask for fewer draws lower it.
MAX_PROBES = 512


class _Start(NamedTuple):
    """The Laplace fit with what both methods need of it."""

    found: LaplaceFit
    psi: Floats
    inside: NDArray[np.bool_]
    information: Floats
    fixed_vcov: Floats
    mc_covariance: Floats
    loglik: float
    loglik_error: float
    outcome: Outcome


def estimate_laplace(
    model: Model, solver: str = "direct", seed: int = 0, options: Options | None = None
) -> Fit:
    """Maximise the Laplace approximation to the likelihood.

    The iterative solver's probes take their seed, and `options` their tolerance.
    """
    began = time.perf_counter()
    settings = Options() if options is None else options
    start = _start(model, BOUNDARY_SD, solver, seed, settings)
    found, space = start.found, model.space
    mode = found.approximation.mode
    modes, mode_cov = conditional(mode.factor, mode.u)
    vcov = report_vcov(model, start.psi, start.information, start.inside, start.fixed_vcov)
    jacobian = space.report_jacobian(start.psi)
    seconds = time.perf_counter() - began
    return Fit(
        model=model,
        method="laplace",
        reml=False,
        params=found.params,
        param_names=space.names,
        param_values=space.to_report(space.to_free(found.params)),
        param_stderr=stderr_of(vcov),
        param_vcov=vcov,
        param_mc_error=stderr_of(jacobian @ start.mc_covariance @ jacobian.T),
        fixed_vcov=start.fixed_vcov,
        modes=modes,
        mode_cov=mode_cov,
        outcome=start.outcome,
        singular=found.singular,
        loglik=LogLik(start.loglik, start.loglik_error, space.size, model.design.n),
        iterations=(),
        watched=None,
        seconds=Seconds(0.0, 0.0, seconds, start=seconds),
        ascent=Ascent(found.num_evaluations, found.gain),
        sampling=None,
        laplace_values=None,
        solver=solver,
    )


def estimate_mcem(
    model: Model,
    seed: int,
    options: Options,
    progress: Progress | None,
    solver: str = "direct",
) -> Fit:
    """Maximise the likelihood by Monte Carlo EM; the log-likelihood is bridged from the approximation.

    Standard errors are from the second derivative of the Laplace approximation at its maximum.
    """
    from lmeformula.em.bridge import bridge
    from lmeformula.em.loop import run
    from lmeformula.sampling.laplace import laplace_problem, whitening_log_det

    began = time.perf_counter()
    start = _start(model, SMALL_SD, solver, seed, options._replace(tolerance=START_TOLERANCE))
    start_seconds = time.perf_counter() - began
    space, arrays = model.space, start.found.problem
    watched, positions = watch(model, arrays.plan.starts)
    information = start.information + np.diag(np.where(start.inside, 0.0, 1.0))
    problem = laplace_problem(model, arrays, start.psi, information)
    assert problem.geometry is not None
    whitening = Timed(problem.geometry)
    solution = run(
        problem._replace(geometry=whitening),
        options._replace(watched=positions),
        seed=seed,
        dtype=model.dtype,
        progress=progress,
    )
    psi = solution.params
    mode = mode_at(model, arrays, psi, start.found.approximation.mode.u)
    modes, mode_cov = conditional(mode.factor, mode.u)
    bridging = time.perf_counter()
    loglik = LogLik(float("nan"), float("nan"), space.size, model.design.n)
    if solution.info is not None:
        modes = arrays.plan.split(np.asarray(solution.info.latent_mean, float))
        geometry = problem.geometry(solution.sampled_at)
        correction = bridge(
            problem,
            solution.sampled_at,
            geometry,
            solution.excess,
            seed=seed,
            dtype=model.dtype,
        )
        # The density in the sampler's coordinates lacks only the determinant of the whitening.
        at = mode_at(model, arrays, solution.sampled_at, mode.u)
        value = correction.value - 0.5 * whitening_log_det(at.factor)
        loglik = LogLik(value, correction.mc_error, space.size, model.design.n)
    bridge_seconds = time.perf_counter() - bridging
    params = space.to_natural(psi)
    vcov = report_vcov(model, psi, information, start.inside, start.fixed_vcov)
    return Fit(
        model=model,
        method="mcem",
        reml=False,
        params=params,
        param_names=space.names,
        param_values=space.to_report(psi),
        param_stderr=stderr_of(vcov),
        param_vcov=vcov,
        param_mc_error=report_mc_error(model, psi, solution),
        fixed_vcov=start.fixed_vcov,
        modes=modes,
        mode_cov=mode_cov,
        outcome=solution.outcome,
        singular=any_singular(
            term_factors(space, psi), tuple(np.ones(len(t.columns)) for t in space.terms)
        )
        or bool((~start.inside).any() and start.found.singular),
        loglik=loglik,
        iterations=solution.trace,
        watched=watched_draws(watched, solution),
        seconds=Seconds(
            design=0.0,
            compile=solution.compile_seconds,
            total=time.perf_counter() - began,
            start=start_seconds,
            whitening=whitening.seconds,
            iterations=iteration_seconds(solution),
            bridge=bridge_seconds,
        ),
        ascent=Ascent(start.found.num_evaluations, start.found.gain),
        sampling=last_iteration(solution, options.num_chains),
        laplace_values=space.to_report(space.to_free(start.found.params)),
        solver=solver,
    )


def _start(model: Model, boundary_sd: float, solver: str, seed: int, options: Options) -> _Start:
    if solver == "iterative":
        return _iterative_start(model, boundary_sd, seed, options)
    found = fit_laplace(model)
    space = model.space
    psi, inside = off_bounds(space, space.to_free(found.params), boundary_sd)
    information = observed_information(
        model, found.problem, psi, inside, found.approximation.mode.u
    )
    covariance = np.asarray(np.linalg.inv(information[np.ix_(inside, inside)]), float)
    p = space.num_fixed
    return _Start(
        found=found,
        psi=psi,
        inside=inside,
        information=information,
        fixed_vcov=covariance[:p, :p],
        mc_covariance=np.zeros_like(information),
        loglik=found.approximation.value,
        loglik_error=0.0,
        outcome=Outcome.CONVERGED if found.converged else Outcome.OPTIMIZER_STALLED,
    )


def _iterative_start(model: Model, boundary_sd: float, seed: int, options: Options) -> _Start:
    last = fit_iteratively(
        model,
        boundary_sd,
        seed=seed,
        tolerance=options.tolerance,
        max_probes=min(MAX_PROBES, options.max_draws),
    )
    outcome = Outcome.CONVERGED if last.is_sharp else Outcome.DRAWS_EXHAUSTED
    if not last.found.converged:
        outcome = Outcome.OPTIMIZER_STALLED
    p = model.space.num_fixed
    use = np.ix_(last.inside, last.inside)
    return _Start(
        found=last.found,
        psi=last.psi,
        inside=last.inside,
        information=last.information,
        fixed_vcov=np.asarray(np.linalg.inv(last.information[use]), float)[:p, :p],
        mc_covariance=last.mc_covariance,
        loglik=last.loglik,
        loglik_error=last.loglik_error,
        outcome=Outcome.INTERRUPTED if last.interrupted else outcome,
    )
