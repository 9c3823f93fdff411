"""Models of the other families: by the Laplace approximation, or by Monte Carlo EM that starts there."""

from __future__ import annotations

import functools
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np

from lmeformula.algebra.crossproducts import layout
from lmeformula.arrays import Floats, Mask
from lmeformula.em.outcome import Outcome
from lmeformula.em.progress import Progress
from lmeformula.em.types import Options, Solution
from lmeformula.estimation.approximate import Start, failed_fit, start_of, whole
from lmeformula.estimation.at_limits import as_whole
from lmeformula.estimation.chains import Chains
from lmeformula.estimation.common import stderr_of, watch
from lmeformula.estimation.covariance import reported_covariance
from lmeformula.estimation.evidence.drawn import by_draws
from lmeformula.estimation.exact_start import exact_errors, exact_start
from lmeformula.estimation.finish import Effects, Errors
from lmeformula.estimation.monte_carlo import (
    Before,
    Drawn,
    End,
    run_mcem,
    sampled_covariance,
    unit_roots,
)
from lmeformula.estimation.monte_carlo_loglik import (
    by_blocks,
    laplace_reference,
    log_likelihood,
)
from lmeformula.fit import FittedModel
from lmeformula.history import Ascent
from lmeformula.likelihood.evaluation import CONVERGED_GAIN
from lmeformula.likelihood.laplace.fit import WHOLE, Care
from lmeformula.likelihood.laplace.iterative import DIFFERENCE
from lmeformula.likelihood.laplace.limits import held_model
from lmeformula.likelihood.laplace.modes import conditional, mode_at
from lmeformula.likelihood.laplace.observed import observed_information
from lmeformula.likelihood.reached import telling
from lmeformula.model.compile import Model
from lmeformula.watch import EVALUATIONS, watched

# Monte Carlo EM starts from a Laplace fit by the iterative solver that is this good, in standard errors.
START_TOLERANCE = 0.1
AT_FIRST = Care(CONVERGED_GAIN, looks_far=False, is_start=True)
# A Monte Carlo estimate of the standard errors is taken as it is where its error is below this fraction of
# them; a rougher one only if it differs from Laplace's by this many of its errors.
SHARP = 0.02
SIGNIFICANT = 2.0

# Outcomes of the approximation that leave Monte Carlo EM nothing to find at a finite place.
ENDLESS = (Outcome.SEPARATION, Outcome.PERFECT_FIT, Outcome.DIVERGED)


def estimate_laplace(
    model: Model,
    solver: str = "direct",
    seed: int = 0,
    options: Options | None = None,
    care: Care = WHOLE,
) -> FittedModel:
    """Maximise the Laplace approximation to the likelihood, or by `care` the likelihood itself.

    The iterative solver's probes take their seed, and `options` their tolerance.
    """
    began = time.perf_counter()
    settings = Options() if options is None else options
    # Responses out of all proportion overflow here and there: that ends in an outcome.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        try:
            with nullcontext() if model.design.shards is None else telling(model.space):
                start = start_of(model, solver, seed, settings, care)
                return whole(model, start, solver, seed, began)
        except np.linalg.LinAlgError:
            return failed_fit(model, care.marginal.method, solver, began)


def estimate_mcem(
    model: Model,
    seed: int,
    options: Options,
    progress: Progress | None,
    solver: str = "direct",
    chains: Chains | None = None,
) -> FittedModel:
    """Maximise the likelihood by Monte Carlo EM; the log-likelihood is bridged from the approximation.

    Standard errors are from the observed information as the last draws estimate it; where they say too little,
    from that of the approximation. Chains may walk with the workers of a cluster.
    """
    from lmeformula.sampling.laplace import laplace_problem

    began = time.perf_counter()
    options = options if chains is None else chains.options(options)
    settings = options._replace(watched=watch(model, layout(model.stack.terms).starts)[1])
    # One core compiles while the other one fits.
    with ThreadPoolExecutor(1) as beside:
        compiling = beside.submit(_precompile, model, settings, solver, chains)
        rough = options._replace(tolerance=START_TOLERANCE)
        try:
            with watched("start of Monte Carlo EM", of=EVALUATIONS):
                start = start_of(model, solver, seed, rough, AT_FIRST)
        except np.linalg.LinAlgError:
            return failed_fit(model, "mcem", solver, began)
        start_seconds = time.perf_counter() - began
        compiling.result()
    if start.at_limits and start.outcome not in ENDLESS:
        # The simpler family's, which knows nothing of what is held.
        simpler = held_model(model, start.at_limits)
        fit = estimate_mcem(simpler, seed, options, progress, solver, chains)
        return as_whole(model, fit, start.at_limits)
    known = None
    if start.outcome is Outcome.NONFINITE and solver == "direct" and model.penalty is None:
        # A density with several modes has a likelihood, though no approximation at one of them.
        arrays, nowhere = start.found.problem, np.zeros(start.found.problem.plan.num_effects)
        known = exact_start(model, arrays, start.psi, np.eye(len(start.psi)), nowhere)
    if start.outcome in ENDLESS or (start.outcome is Outcome.NONFINITE and known is None):
        # The approximation is all that is reported.
        start = start_of(model, solver, seed, rough, AT_FIRST._replace(is_start=False))
        return whole(model, start, solver, seed, began)
    wait_seconds = time.perf_counter() - began - start_seconds
    space, arrays = model.space, start.found.problem
    information = start.observed.matrix + np.diag(np.where(start.inside, 0.0, 1.0))
    first, at_start = start.psi, start.found.approximation.mode.u
    exact = known
    if known is None and model.penalty is None:
        exact = exact_start(model, arrays, first, information, at_start)
    if exact is not None:
        first, information, at_start = exact
    problem = laplace_problem(model, arrays, first, information, at_start)
    problem = problem if chains is None else chains.walking(model, problem)

    def end(model: Model, psi: Floats) -> End:
        mode = mode_at(model, arrays, psi, at_start)
        reference = functools.partial(laplace_reference, model, arrays, seed)
        exactly = by_blocks(model, arrays, mode)
        return End(
            Effects(*conditional(mode.factor, mode.u)),
            lambda solution, options: log_likelihood(
                model, problem, options, solution, seed, exactly, reference
            ),
            lambda solution, inside: _errors(model, start, solver, solution, inside, mode.u),
            model.triangle,
            lambda at, facts: by_draws(at, facts, problem, options.tolerance),
        )

    before = Before(
        began,
        start_seconds,
        wait_seconds,
        solver,
        Ascent(start.found.num_evaluations, start.found.gain),
        space.to_report(space.to_free(start.found.params)),
    )
    drawn = Drawn(arrays.plan, problem, unit_roots(arrays.plan), end)
    return run_mcem(drawn, model, seed, options, progress, before)


def _precompile(model: Model, options: Options, solver: str, chains: Chains | None) -> None:
    from lmeformula.em.programs import precompile
    from lmeformula.sampling.laplace import blank_problem

    if solver != "direct" or chains is not None:
        # How many directions its whitening has is known when it has been found; workers compile for themselves.
        return
    problem, blank = blank_problem(model)
    precompile(problem, options, model.dtype, blank)


def _errors(
    model: Model,
    start: Start,
    solver: str,
    solution: Solution,
    inside: Mask,
    mode: Floats,
) -> Errors:
    """The standard errors.

    The Monte Carlo estimate of the information is taken where it is sharp; otherwise quadrature where it
    reaches. Else it is the approximation's, with an error that covers what the draws say, unless they say that
    it is further off than noise explains.
    """
    space, psi, arrays = model.space, solution.params, start.found.problem
    outside = np.where(np.outer(inside, inside), 0.0, np.nan)
    sampled, error = sampled_covariance(model, solution), None
    if sampled is not None:
        error = np.where(inside, sampled.stderr_error, np.nan)
        relative = sampled.stderr_error[inside] / stderr_of(sampled.covariance)[inside]
        if relative.max(initial=0.0) < SHARP:
            return Errors("monte carlo", sampled.covariance + outside, error)
    exact = None
    if model.penalty is None:
        exact = exact_errors(model, arrays, psi, solution.mc_covariance, inside, mode)
    if exact is not None:
        return Errors("quadrature", exact[0] + outside, exact[1])
    # The start's may be for the lengths of steps alone.
    rough = None if solver == "direct" else DIFFERENCE
    observed = observed_information(model, arrays, psi, inside, mode, rough)
    approximate = reported_covariance(space, psi, observed) + outside
    if sampled is None or error is None:
        return Errors("laplace", approximate, None)
    difference = stderr_of(sampled.covariance) - stderr_of(approximate)
    if (np.abs(difference) > SIGNIFICANT * sampled.stderr_error)[inside].any():
        return Errors("monte carlo", sampled.covariance + outside, error)
    return Errors("laplace", approximate, np.hypot(difference, error))
