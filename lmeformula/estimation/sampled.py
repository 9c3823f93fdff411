"""The fit that a Monte Carlo run makes of a model whose likelihood is bridged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.em.observed import Reported, reported
from lmeformula.em.types import Options, Solution
from lmeformula.estimation.common import (
    last_iteration,
    report_mc_error,
    stderr_of,
    watched_draws,
)
from lmeformula.fit import FittedModel, Information
from lmeformula.history import LogLik, Seconds
from lmeformula.model.compile import Model
from lmeformula.model.factors import any_singular

Floats = NDArray[np.float64]


class Errors(NamedTuple):
    """Where the standard errors come from, and what they are.

    Attributes:
      source: "monte carlo", "laplace" or "quadrature".
      vcov: (d, d) covariance of what is reported; nan on boundaries.
      stderr_error: (d,) Monte Carlo errors of the standard errors; None for those of an approximation.
    """

    source: Information
    vcov: Floats
    stderr_error: Floats | None


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
    solution: Solution,
    options: Options,
    *,
    limit: Floats,
    held: bool,
    modes: tuple[Floats, ...],
    mode_cov: tuple[Floats, ...],
    loglik: LogLik,
    errors: Errors,
    watched: tuple[tuple[str, str, str], ...],
    seconds: Seconds,
) -> FittedModel:
    """Put the fit together.

    Args:
      model: the model.
      solution: what the engine found.
      options: of the run.
      limit: (d,) the estimates, unconstrained; those on a boundary are there.
      held: whether a covariance ended on its boundary.
      modes, mode_cov: of the effects.
      loglik: bridged.
      errors: the standard errors.
      watched: names of the effects whose draws are kept.
      seconds: where the time went.
    """
    space, psi = model.space, solution.params
    return FittedModel(
        model=model,
        method="mcem",
        reml=False,
        params=space.to_natural(limit),
        param_names=space.names,
        param_values=space.to_report(limit),
        param_stderr=stderr_of(errors.vcov),
        param_vcov=errors.vcov,
        param_mc_error=report_mc_error(model, psi, solution.mc_covariance),
        fixed_vcov=errors.vcov[: space.num_fixed, : space.num_fixed],
        modes=modes,
        mode_cov=mode_cov,
        outcome=solution.outcome,
        singular=held
        or any_singular(space.factors(psi), tuple(np.eye(len(t.columns)) for t in space.terms)),
        loglik=loglik,
        iterations=solution.trace,
        watched=watched_draws(watched, solution),
        seconds=seconds,
        ascent=None,
        sampling=last_iteration(solution, options.num_chains),
        laplace_values=None,
        information=errors.source,
        param_stderr_error=errors.stderr_error,
    )
