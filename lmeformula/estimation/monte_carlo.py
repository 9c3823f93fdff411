"""Monte Carlo EM of any model whose effects can be drawn: the run of the engine, and the fit that it makes.

What differs with the rows' density and the effects' prior is in `Drawn` and `End`; the way from a start to a
fit is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Floats, Mask
from lmeformula.checkpoint.journal import done
from lmeformula.checkpoint.memory import unremembered
from lmeformula.em.observed import Reported, reported
from lmeformula.em.progress import Progress
from lmeformula.em.types import Options, Problem, Solution
from lmeformula.estimation.claims import Evidence, certify
from lmeformula.estimation.common import (
    report_mc_error,
    stderr_of,
    timed_run,
    undetermined_of,
    watch,
    without_errors,
)
from lmeformula.estimation.coordinates import Arrival
from lmeformula.estimation.finish import Effects, Errors, Run, finish
from lmeformula.fit import FittedModel
from lmeformula.history import Ascent, LogLik, Seconds
from lmeformula.likelihood.singular import any_singular
from lmeformula.model.compile import Model
from lmeformula.model.orthogonal import at_rest
from lmeformula.sampling.edges import on_edges


class End(NamedTuple):
    """What is known of a model at the parameters where the engine ended.

    Attributes:
      effects: the random effects there, at their modes.
      log_likelihood: what the engine found, its options -> the log-likelihood there.
      errors: what the engine found, which (d,) are off their bounds -> standard errors; nan of the others.
      R: (p, p) upper triangular, with coefficients R beta of orthogonal columns.
      witness: where the fit ended, the facts -> what there is of evidence.
    """

    effects: Effects
    log_likelihood: Callable[[Solution, Options], LogLik]
    errors: Callable[[Solution, Mask], Errors]
    R: Floats
    witness: Callable[[Arrival, Facts], Evidence]


class Facts(NamedTuple):
    """What the draws say: what the engine found, the standard errors, and the log-likelihood."""

    solution: Solution
    errors: Errors
    loglik: LogLik


class Drawn(NamedTuple):
    """A model whose effects are drawn.

    Attributes:
      plan: layout of the effects.
      problem: the engine's, started where it is to start.
      roots: (k, k) of the columns of each term, in units of what is noticed: by these a covariance is singular.
      end: the model, parameters (d,) -> what is known there.
    """

    plan: Layout
    problem: Problem
    roots: Callable[[Floats], tuple[Floats, ...]]
    end: Callable[[Model, Floats], End]


def unit_roots(plan: Layout) -> Callable[[Floats], tuple[Floats, ...]]:
    """Roots of columns on the scale of a link, whatever the parameters."""
    return lambda psi: tuple(np.eye(k) for _, k in plan.sizes)


class Before(NamedTuple):
    """What there was before the run.

    Attributes:
      began: when the fit began.
      start: seconds that its start took.
      wait: seconds of waiting for what was compiled beside it.
      solver: "direct" or "iterative".
      ascent: of the start.
      laplace_values: (d,) the start on the reporting scale, where it is a Laplace fit.
    """

    began: float
    start: float = 0.0
    wait: float = 0.0
    solver: str = "direct"
    ascent: Ascent | None = None
    laplace_values: Floats | None = None


def run_mcem(
    of: Drawn,
    model: Model,
    seed: int,
    options: Options,
    progress: Progress | None,
    before: Before,
) -> FittedModel:
    """Run the engine, and put the fit together.

    Args:
      of: what is drawn.
      model: the model.
      seed: of all random numbers.
      options: of the engine.
      progress: shown its iterations.
      before: what there was before.
    """
    space, problem = model.space, of.problem
    names, positions = watch(model, of.plan.starts)
    settings = options._replace(watched=positions)
    solution, ran = timed_run(problem, settings, seed, model.dtype, progress)
    assert problem.edges is not None
    psi = solution.params
    # What is held on a boundary is there in the report; a stand-in close by is as good for all the rest.
    limit, inside = on_edges(space, psi, problem.edges(psi), solution.held)
    model = at_rest(model, psi, limit)
    params, end = space.to_natural(limit), of.end(model, psi)
    effects = end.effects
    if solution.info is not None:
        means = of.plan.split(np.asarray(solution.info.latent_mean, float))
        effects = effects._replace(modes=means)
    bridging = time.perf_counter()
    with unremembered(problem.memory):
        loglik = done("log-likelihood", psi, lambda: end.log_likelihood(solution, settings))
    bridge_seconds = time.perf_counter() - bridging
    errors = end.errors(solution, inside)
    undetermined = undetermined_of(model, of.plan, params.covariances)
    vcov = without_errors(errors.vcov, space.num_fixed, undetermined)
    information = np.zeros_like(vcov) if errors.information is None else errors.information
    at = Arrival(
        model,
        psi,
        inside,
        information,
        end.R,
        loglik.value,
        stderr_of(vcov),
        undetermined,
        solution.mc_covariance,
    )
    facts = Facts(solution, errors, loglik)
    # Degrees of freedom that end at the Gaussian's leave no covariance on its boundary.
    held = any(not name.startswith("df ") for name in solution.held)
    return finish(
        model,
        "mcem",
        params=params,
        values=space.to_report(limit),
        errors=errors._replace(vcov=vcov),
        mc_error=report_mc_error(model, psi, solution.mc_covariance),
        effects=effects,
        loglik=loglik,
        outcome=solution.outcome,
        certificate=certify(at, lambda at: end.witness(at, facts)),
        singular=held or any_singular(space, space.factors(psi), of.roots(psi)),
        seconds=Seconds(
            design=0.0,
            compile=before.wait + ran.compile,
            total=time.perf_counter() - before.began,
            start=before.start,
            whitening=ran.whitening,
            iterations=ran.iterations,
            bridge=bridge_seconds,
        ),
        solver=before.solver,
        ascent=before.ascent,
        run=Run(solution, options, names),
        laplace_values=before.laplace_values,
    )


def sampled_covariance(model: Model, solution: Solution) -> Reported | None:
    """The covariance from the engine's estimate of the information; None where it has none."""
    if solution.monte_carlo is None:
        return None
    try:
        return reported(
            solution.monte_carlo,
            model.space.report_jacobian,
            solution.params,
            solution.mc_covariance,
        )
    except np.linalg.LinAlgError:
        # Positive definite where the draws were taken, and not at the estimates.
        return None
