"""The model of a fit, fitted to its design with another response."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.design.checks import check_response
from lmeformula.design.design import Design
from lmeformula.em.types import Options
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.estimation.check_numbers import check_response_size
from lmeformula.estimation.dispatch import estimate
from lmeformula.estimation.exact import estimate_exact
from lmeformula.fit import FittedModel
from lmeformula.likelihood.gaussian.sums import Carrier, prepare, respond
from lmeformula.model.compile import Model
from lmeformula.model.params import Params
from lmeformula.prediction.own_limits import own_at_limits
from lmeformula.prediction.predictor import category_names

if TYPE_CHECKING:
    from lmeformula.em.progress import Progress

# What does not depend on the response, kept for as long as the model is in use.
_carriers: WeakKeyDictionary[Model, Carrier] = WeakKeyDictionary()


def refit_alone(
    fit: FittedModel,
    design: Design,
    seed: int = 0,
    options: Options | None = None,
    progress: Progress | None = None,
) -> FittedModel:
    """Fit the model of a fit to its design with another response, which it takes, from the estimates at hand.

    What depends on the predictors and groups alone is worked out once for all refits of a Gaussian model.

    Args:
      fit: of the model.
      design: its design with that response.
      seed: of Monte Carlo fits.
      options: of the Monte Carlo EM engine.
      progress: shown the iterations of the engine.
    """
    model = replace(fit.model, design=design)
    is_profiled = not (fit.has_priors or model.space.has_known_scale)
    if fit.is_exact and fit.is_factored and is_profiled:
        return refit_exactly(fit, model)
    return estimate(
        model,
        method=fit.method,
        seed=seed,
        reml=fit.reml,
        solver=fit.solver,
        options=options,
        progress=progress,
        start=start_from(fit, model),
    )


def start_from(fit: FittedModel, model: Model) -> Params | None:
    """The estimates of a fit as a start for another, where there is a direction to go from them; else None.

    A singular covariance has none, and the model keeps its own start. Nor has an own parameter of the family
    that ended at its limit: it starts where it always does.

    Args:
      fit: of a model with the same parameters.
      model: the one to be fitted.
    """
    if fit.singular:
        return None
    resting = own_at_limits(fit)
    if not resting.any():
        return fit.params
    own = np.where(resting, model.space.own.start, fit.params.own)
    return fit.params._replace(own=own)


def check_refit(fit: FittedModel, design: Design) -> None:
    """Refuse a design whose response the model of a fit cannot be fitted to.

    Args:
      fit: of the model.
      design: its design with another response.
    Raises:
      FormulaDataError: for a constant, and for numbers that an exact fit cannot square.
      ModelError: if the family does not take the response, or no row has one of the categories.
    """
    check_response(design)
    if fit.is_exact:
        check_response_size(design)
    family = fit.model.family
    values = family.response(design)[0]
    if family.categories is None:
        return
    names = category_names(fit)
    counts = np.bincount(values.astype(np.int64), minlength=len(names))
    if len(counts) > len(names) or not counts.all():
        absent = [name for name, count in zip(names, counts, strict=False) if not count]
        wrong = f"has no {absent[0]}" if absent else f"goes up to {len(counts)}"
        raise ModelError(
            f"the new response {wrong}, and the model's categories are {', '.join(names)}",
            hint="A category without rows has no threshold: fit the formula to the data anew.",
        )


def has_estimates(fit: FittedModel, design: Design) -> bool:
    """Whether `check_refit` takes a design: its response is no constant, and lacks no category."""
    try:
        check_refit(fit, design)
    except (FormulaDataError, ModelError):
        return False
    return True


def carrier_of(model: Model) -> Carrier:
    """What the cross products of a Gaussian model's design have without its response, formed once."""
    if model not in _carriers:
        _carriers[model] = prepare(model.design)
    return _carriers[model]


def refit_exactly(fit: FittedModel, model: Model) -> FittedModel:
    """Fit a Gaussian model exactly that differs from that of a fit in its response only."""
    carrier = _carriers[model] = carrier_of(fit.model)
    assert model.design.y is not None
    with one_blas_thread():
        data = respond(carrier, model.design.y)
        # Of a single term the moments of the new response are nearer to its maximum.
        has_moments = len(model.design.terms) == 1
        start = None if fit.singular or has_moments else fit.params
        return estimate_exact(model, fit.reml, data=data, start=start)
