"""The fit of a simpler family as one of the family that ended there, its parameters at their limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.em.outcome import Outcome
from lmeformula.fit import FittedModel
from lmeformula.likelihood.laplace.limits import AtLimit
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
    first = model.space.own_slice.start
    places = [first + one.place for one in at_limits]
    limits = [one.limit.value for one in at_limits]

    def with_values(vector: Floats, values: list[float]) -> Floats:
        found = np.asarray(vector, float)
        for place, value in zip(places, values, strict=True):
            found = np.insert(found, place, value)
        return found

    def with_nan(matrix: Floats) -> Floats:
        found = np.asarray(matrix, float)
        for place in places:
            found = np.insert(np.insert(found, place, np.nan, axis=0), place, np.nan, axis=1)
        return found

    own = np.array(fit.params.own, float)
    for one in at_limits:
        own = np.insert(own, one.place, one.stand_in)
    nothing, missing = [0.0] * len(places), [np.nan] * len(places)
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
        params=fit.params._replace(own=own),
        param_names=model.space.names,
        param_values=with_values(fit.param_values, limits),
        param_stderr=with_values(fit.param_stderr, missing),
        param_vcov=with_nan(fit.param_vcov),
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
