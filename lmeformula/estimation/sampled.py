"""The fit that a Monte Carlo run makes of a model whose likelihood is bridged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmeformula.certificate import Certificate
from lmeformula.em.observed import Reported, reported
from lmeformula.em.types import Solution
from lmeformula.estimation.common import report_mc_error
from lmeformula.estimation.finish import Effects, Errors, Run, finish
from lmeformula.fit import FittedModel
from lmeformula.history import Ascent, LogLik, Seconds
from lmeformula.model.compile import Model
from lmeformula.model.factors import any_singular

Floats = NDArray[np.float64]


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


def fit_of_run(
    model: Model,
    run: Run,
    *,
    limit: Floats,
    held: bool,
    effects: Effects,
    loglik: LogLik,
    errors: Errors,
    certificate: Certificate,
    seconds: Seconds,
    solver: str = "direct",
    ascent: Ascent | None = None,
    laplace_values: Floats | None = None,
) -> FittedModel:
    """Put the fit together.

    Args:
      model: the model.
      run: of the engine.
      limit: (d,) the estimates, unconstrained; those on a boundary are there.
      held: whether a covariance ended on its boundary.
      effects: the random effects.
      loglik: bridged.
      errors: the standard errors.
      certificate: what was examined.
      seconds: where the time went.
      solver, ascent, laplace_values: of the approximation that it started from.
    """
    space, solution = model.space, run.solution
    psi = solution.params
    return finish(
        model,
        "mcem",
        params=space.to_natural(limit),
        values=space.to_report(limit),
        errors=errors,
        mc_error=report_mc_error(model, psi, solution.mc_covariance),
        effects=effects,
        loglik=loglik,
        outcome=solution.outcome,
        certificate=certificate,
        singular=held
        or any_singular(space.factors(psi), tuple(np.eye(len(t.columns)) for t in space.terms)),
        seconds=seconds,
        solver=solver,
        ascent=ascent,
        run=run,
        laplace_values=laplace_values,
    )
