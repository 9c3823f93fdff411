"""The fit of a simpler family as one of the family that ended there, its parameters at their limits."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.em.outcome import Outcome
from lmeformula.fit import FittedModel
from lmeformula.likelihood.laplace.limits import AtLimit, place_of
from lmeformula.model.compile import Model


def as_whole(model: Model, fit: FittedModel, at_limits: tuple[AtLimit, ...]) -> FittedModel:
    """Give a fit the own parameters that were held in it.

    Args:
      model: with all parameters.
      fit: of the model with some held.
      at_limits: these, in order of their places.
    Returns:
      The fit, with the parameters at their limits and without standard errors of them.
    """
    places = [place_of(model.space, one) for one in at_limits]
    limits = [one.limit.value for one in at_limits]
    nothing, missing = [0.0] * len(places), [np.nan] * len(places)
    with_values = functools.partial(_inserted, places)
    rows = with_values(fit.param_vcov, missing)
    sampling = fit.sampling
    if sampling is not None:
        sampling = sampling._replace(
            reduction=with_values(sampling.reduction, missing),
            last_step=with_values(sampling.last_step, nothing),
        )
    errors = fit.param_stderr_error
    return replace(
        fit,
        model=model,
        param_names=model.space.names,
        param_values=with_values(fit.param_values, limits),
        param_stderr=with_values(fit.param_stderr, missing),
        param_vcov=with_values(rows.T, missing).T,
        param_mc_error=with_values(fit.param_mc_error, nothing),
        param_stderr_error=None if errors is None else with_values(errors, missing),
        outcome=Outcome.BOUNDARY if fit.outcome is Outcome.CONVERGED else fit.outcome,
        loglik=fit.loglik._replace(df=model.space.size),
        iterations=tuple(
            one._replace(estimates=with_values(one.estimates, limits)) for one in fit.iterations
        ),
        sampling=sampling,
        laplace_values=None
        if fit.laplace_values is None
        else with_values(fit.laplace_values, limits),
    )


def _inserted(places: list[int], found: Floats, values: list[float]) -> Floats:
    """An array with values at these places of its first axis, in order."""
    for place, value in zip(places, values, strict=True):
        found = np.insert(np.asarray(found, float), place, value, axis=0)
    return found
