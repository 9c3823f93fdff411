"""The end of every fit: what a method found, as the record that all statistics read."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.certificate import Certificate
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options, Solution
from lmeformula.estimation.claims import ending
from lmeformula.estimation.common import last_iteration, stderr_of
from lmeformula.fit import FittedModel, Information
from lmeformula.history import Ascent, LogLik, Seconds, Watched
from lmeformula.model.compile import Model
from lmeformula.model.params import Params


class Effects(NamedTuple):
    """The random effects given the estimates: means (l, k) and covariances (l, k, k) of each term."""

    modes: tuple[Floats, ...]
    covariances: tuple[Floats, ...]


class Errors(NamedTuple):
    """Where the standard errors come from, and what they are.

    Attributes:
      source: "exact", "monte carlo", "laplace" or "quadrature".
      vcov: (d, d) covariance of what is reported; nan on boundaries.
      stderr_error: (d,) Monte Carlo errors of the standard errors; None for those that have none.
      fixed_vcov: (p, p) of the fixed effects, where it is another than that of all parameters.
      information: (d, d) of the unconstrained parameters, where they are from one that is exact.
    """

    source: Information
    vcov: Floats
    stderr_error: Floats | None = None
    fixed_vcov: Floats | None = None
    information: Floats | None = None


class Run(NamedTuple):
    """A run of Monte Carlo EM: what the engine found, its options, and the names of the effects it watched."""

    solution: Solution
    options: Options
    watched: tuple[tuple[str, str, str], ...]


def since(began: float) -> Seconds:
    """The time of a fit that is all of one part, since it began."""
    seconds = time.perf_counter() - began
    return Seconds(0.0, 0.0, seconds, start=seconds)


def finish(
    model: Model,
    method: str,
    *,
    params: Params,
    errors: Errors,
    effects: Effects,
    loglik: LogLik,
    outcome: Outcome,
    certificate: Certificate | None,
    singular: bool,
    seconds: Seconds,
    values: Floats | None = None,
    mc_error: Floats | None = None,
    solver: str = "direct",
    reml: bool = False,
    ascent: Ascent | None = None,
    run: Run | None = None,
    laplace_values: Floats | None = None,
) -> FittedModel:
    """Put a fit together.

    Args:
      model: the model, in whose space parameters are reported.
      errors: the standard errors.
      effects: the random effects.
      outcome: by the optimiser; what the certificate knows better counts.
      certificate: what was examined; None where nothing could be.
      values: (d,) the estimates on the reporting scale, where they are not those of `params`.
      mc_error: (d,) Monte Carlo errors of the estimates on the reporting scale; None where there are none.
      run: of Monte Carlo EM.
      method, params, loglik, singular, seconds, solver, reml, ascent, laplace_values: as of `FittedModel`.
    """
    space, vcov = model.space, errors.vcov
    own, watched = errors.fixed_vcov, None
    if run is not None and run.solution.draws.size:
        watched = Watched(run.watched, run.solution.draws)
    return FittedModel(
        model=model,
        method=method,
        reml=reml,
        params=params,
        param_names=space.names,
        param_values=space.to_report(space.to_free(params)) if values is None else values,
        param_stderr=stderr_of(vcov),
        param_vcov=vcov,
        param_mc_error=np.zeros(space.size) if mc_error is None else mc_error,
        fixed_vcov=vcov[: space.num_fixed, : space.num_fixed] if own is None else own,
        modes=effects.modes,
        mode_cov=effects.covariances,
        outcome=outcome if certificate is None else ending(outcome, certificate),
        singular=singular,
        loglik=loglik,
        iterations=() if run is None else run.solution.trace,
        watched=watched,
        seconds=seconds,
        ascent=ascent,
        sampling=None if run is None else last_iteration(run.solution, run.options.num_chains),
        laplace_values=laplace_values,
        solver=solver,
        information=errors.source,
        param_stderr_error=errors.stderr_error,
        certificate=certificate,
    )
