"""Models of the other families: by the Laplace approximation, or by Monte Carlo EM that starts there."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.algebra.crossproducts import layout
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options, Solution
from lmeformula.estimation.bridged import log_likelihood
from lmeformula.estimation.certify import certify_laplace
from lmeformula.estimation.certify_probed import certify_probed_laplace
from lmeformula.estimation.certify_sampled import certify_sampled
from lmeformula.estimation.claims import ending
from lmeformula.estimation.common import (
    BOUNDARY_SD,
    most_probes,
    report_mc_error,
    report_vcov,
    stderr_of,
    timed_run,
    watch,
)
from lmeformula.estimation.exact_start import exact_start
from lmeformula.estimation.sampled import Errors, fit_of_run, sampled_covariance
from lmeformula.estimation.separation import separated
from lmeformula.fit import Fit
from lmeformula.history import Ascent, LogLik, Seconds
from lmeformula.laplace.fit import (
    LaplaceFit,
    conditional,
    fit_laplace,
    mode_at,
    observed_information,
)
from lmeformula.laplace.iterative import IterativeLaplace, fit_iteratively
from lmeformula.model.ascent import CONVERGED_GAIN, NEGLIGIBLE_GAIN
from lmeformula.model.bounds import off_bounds
from lmeformula.model.compile import Model

if TYPE_CHECKING:
    from lmeformula.em.loop import Progress

Floats = NDArray[np.float64]

# Monte Carlo EM starts from a Laplace fit by the iterative solver that is this good, in standard errors.
START_TOLERANCE = 0.1
# A Monte Carlo estimate of the standard errors is taken as it is where its error is below this fraction of
# them; a rougher one only if it differs from Laplace's by this many of its errors.
SHARP = 0.02
# Error of the observed information by differences, relative to its diagonal.
INFORMATION_NOISE = 1e-6
SIGNIFICANT = 2.0


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
    probed: IterativeLaplace | None = None


def estimate_laplace(
    model: Model, solver: str = "direct", seed: int = 0, options: Options | None = None
) -> Fit:
    """Maximise the Laplace approximation to the likelihood.

    The iterative solver's probes take their seed, and `options` their tolerance.
    """
    began = time.perf_counter()
    settings = Options() if options is None else options
    start = _start(model, BOUNDARY_SD, solver, seed, settings)
    return _of_start(model, start, solver, seed, began)


def _of_start(model: Model, start: _Start, solver: str, seed: int, began: float) -> Fit:
    """The Laplace fit itself."""
    found, space = start.found, model.space
    mode = found.approximation.mode
    modes, mode_cov = conditional(mode.factor, mode.u)
    vcov = report_vcov(
        model,
        start.psi,
        start.information,
        start.inside,
        start.fixed_vcov,
        model.stack.orthogonal()[1],
    )
    stderr = stderr_of(vcov)
    certificate = None
    if start.probed is None:
        certificate = certify_laplace(
            model, found, start.psi, start.inside, start.information, stderr, INFORMATION_NOISE
        )
    elif not start.probed.interrupted:
        certificate = certify_probed_laplace(model, start.probed, stderr, seed)
    seconds = time.perf_counter() - began
    return Fit(
        model=model,
        method="laplace",
        reml=False,
        params=found.params,
        param_names=space.names,
        param_values=space.to_report(space.to_free(found.params)),
        param_stderr=stderr,
        param_vcov=vcov,
        param_mc_error=report_mc_error(model, start.psi, start.mc_covariance),
        fixed_vcov=start.fixed_vcov,
        modes=modes,
        mode_cov=mode_cov,
        outcome=start.outcome if certificate is None else ending(start.outcome, certificate),
        singular=found.singular,
        loglik=LogLik(start.loglik, start.loglik_error, space.size, model.design.n),
        iterations=(),
        watched=None,
        seconds=Seconds(0.0, 0.0, seconds, start=seconds),
        ascent=Ascent(found.num_evaluations, found.gain),
        sampling=None,
        laplace_values=None,
        solver=solver,
        information="laplace",
        certificate=certificate,
    )


def estimate_mcem(
    model: Model,
    seed: int,
    options: Options,
    progress: Progress | None,
    solver: str = "direct",
) -> Fit:
    """Maximise the likelihood by Monte Carlo EM; the log-likelihood is bridged from the approximation.

    Standard errors are from the observed information as the last draws estimate it; where they say too little,
    from that of the approximation.
    """
    from lmeformula.sampling.edges import on_edges
    from lmeformula.sampling.laplace import laplace_problem

    began = time.perf_counter()
    watched, positions = watch(model, layout(model.stack.terms).starts)
    settings = options._replace(watched=positions)
    # One core compiles while the other one fits.
    with ThreadPoolExecutor(1) as beside:
        compiling = beside.submit(_compile_ahead, model, settings, solver)
        rough = options._replace(tolerance=START_TOLERANCE)
        start = _start(model, BOUNDARY_SD, solver, seed, rough, CONVERGED_GAIN)
        start_seconds = time.perf_counter() - began
        compiling.result()
    if start.outcome is Outcome.SEPARATION:
        # Nothing that Monte Carlo EM could find is at a finite place.
        return _of_start(model, start, solver, seed, began)
    wait_seconds = time.perf_counter() - began - start_seconds
    space, arrays = model.space, start.found.problem
    information = start.information + np.diag(np.where(start.inside, 0.0, 1.0))
    first, at_start = start.psi, start.found.approximation.mode.u
    exact = exact_start(model, arrays, first, information, at_start)
    if exact is not None:
        first, information, at_start = exact
    problem = laplace_problem(model, arrays, first, information, at_start)
    assert problem.edges is not None
    solution, ran = timed_run(problem, settings, seed, model.dtype, progress)
    psi = solution.params
    # What is held on a boundary is there in the report; a stand-in close by is as good for all the rest.
    limit, inside = on_edges(space, psi, problem.edges(psi), solution.held)
    mode = mode_at(model, arrays, psi, at_start)
    modes, mode_cov = conditional(mode.factor, mode.u)
    if solution.info is not None:
        modes = arrays.plan.split(np.asarray(solution.info.latent_mean, float))
    bridging = time.perf_counter()
    loglik = log_likelihood(model, arrays, problem, settings, solution, mode, seed)
    bridge_seconds = time.perf_counter() - bridging
    exact_information = None if exact is None else information
    errors = _errors(model, start, solver, solution, inside, mode.u, exact_information)
    fit = fit_of_run(
        model,
        solution,
        options,
        limit=limit,
        held=bool(solution.held),
        modes=modes,
        mode_cov=mode_cov,
        loglik=loglik,
        errors=errors,
        watched=watched,
        seconds=Seconds(
            design=0.0,
            compile=wait_seconds + ran.compile,
            total=time.perf_counter() - began,
            start=start_seconds,
            whitening=ran.whitening,
            iterations=ran.iterations,
            bridge=bridge_seconds,
        ),
    )
    certificate = certify_sampled(
        space, problem, solution, errors.vcov, inside, loglik, options.tolerance
    )
    return replace(
        fit,
        certificate=certificate,
        outcome=ending(fit.outcome, certificate),
        ascent=Ascent(start.found.num_evaluations, start.found.gain),
        laplace_values=space.to_report(space.to_free(start.found.params)),
        solver=solver,
    )


def _compile_ahead(model: Model, options: Options, solver: str) -> None:
    from lmeformula.em.ahead import compile_ahead
    from lmeformula.em.types import Geometry
    from lmeformula.sampling.laplace import blank_whitening
    from lmeformula.sampling.problem import whitened_problem

    if solver != "direct":
        # How many directions its whitening has is known when it has been found.
        return
    plan = layout(model.stack.terms)
    blank = Geometry(blank_whitening(model, plan))
    problem = whitened_problem(model, plan, np.zeros(model.space.size), lambda psi: blank)
    compile_ahead(problem, options, model.dtype, blank.arrays)


def _errors(
    model: Model,
    start: _Start,
    solver: str,
    solution: Solution,
    inside: NDArray[np.bool_],
    mode: Floats,
    exact: Floats | None,
) -> Errors:
    """The standard errors.

    The Monte Carlo estimate of the information is taken where it is sharp, or where it differs from that of
    the Laplace approximation by more than its own error; otherwise that of the approximation, or the exact
    one where the run started from the exact maximum.
    """
    space, psi, arrays = model.space, solution.params, start.found.problem
    outside = np.where(np.outer(inside, inside), 0.0, np.nan)
    sampled, error = sampled_covariance(model, solution), None
    if sampled is not None:
        error = np.where(inside, sampled.stderr_error, np.nan)
        relative = sampled.stderr_error[inside] / stderr_of(sampled.covariance)[inside]
        if relative.max(initial=0.0) < SHARP:
            return Errors("monte carlo", sampled.covariance + outside, error)
    information = start.information if exact is None else exact
    if solver == "direct" and exact is None:
        information = observed_information(model, arrays, psi, inside, mode)
    free = np.ix_(inside, inside)
    approximate = np.full_like(information, np.nan)
    jacobian = space.report_jacobian(psi)[free]
    approximate[free] = jacobian @ np.linalg.pinv(information[free], hermitian=True) @ jacobian.T
    if exact is not None:
        return Errors("quadrature", approximate, None)
    if sampled is not None:
        difference = stderr_of(sampled.covariance) - stderr_of(approximate)
        if (np.abs(difference) > SIGNIFICANT * sampled.stderr_error)[inside].any():
            return Errors("monte carlo", sampled.covariance + outside, error)
    return Errors("laplace", approximate, None)


def _start(
    model: Model,
    boundary_sd: float,
    solver: str,
    seed: int,
    options: Options,
    negligible: float = NEGLIGIBLE_GAIN,
) -> _Start:
    if solver == "iterative":
        return _iterative_start(model, boundary_sd, seed, options)
    found = fit_laplace(model, negligible=negligible)
    space = model.space
    psi, inside = off_bounds(space, space.to_free(found.params), boundary_sd)
    endless = separated(model, found)
    inside &= ~endless
    # What has no finite estimate may have no curvature at all; it takes no part in what follows.
    with np.errstate(divide="ignore", invalid="ignore"):
        information = observed_information(
            model, found.problem, psi, inside, found.approximation.mode.u
        )
    outcome = Outcome.CONVERGED if found.converged else Outcome.OPTIMIZER_STALLED
    return _Start(
        found=found,
        psi=psi,
        inside=inside,
        information=information,
        fixed_vcov=_fixed_vcov(information, inside, space.num_fixed),
        mc_covariance=np.zeros_like(information),
        loglik=found.approximation.value,
        loglik_error=0.0,
        outcome=Outcome.SEPARATION if endless.any() else outcome,
    )


def _fixed_vcov(information: Floats, inside: NDArray[np.bool_], p: int) -> Floats:
    """(p, p) covariance of the fixed effects; nan outside."""
    covariance = np.full_like(information, np.nan)
    use = np.ix_(inside, inside)
    covariance[use] = np.linalg.inv(information[use])
    return covariance[:p, :p]


def _iterative_start(model: Model, boundary_sd: float, seed: int, options: Options) -> _Start:
    last = fit_iteratively(
        model,
        boundary_sd,
        seed=seed,
        tolerance=options.tolerance,
        max_probes=most_probes(options),
    )
    outcome = Outcome.CONVERGED if last.is_sharp else Outcome.DRAWS_EXHAUSTED
    if not last.found.converged:
        outcome = Outcome.OPTIMIZER_STALLED
    endless = separated(model, last.found)
    inside = last.inside & ~endless
    outcome = Outcome.SEPARATION if endless.any() else outcome
    return _Start(
        found=last.found,
        psi=last.psi,
        inside=inside,
        information=last.information,
        fixed_vcov=_fixed_vcov(last.information, inside, model.space.num_fixed),
        mc_covariance=last.mc_covariance,
        loglik=last.loglik,
        loglik_error=last.loglik_error,
        outcome=Outcome.INTERRUPTED if last.interrupted else outcome,
        probed=last,
    )
