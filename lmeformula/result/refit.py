"""The same model fitted to another response."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.design.checks import check_response
from lmeformula.design.respond import with_response
from lmeformula.em.types import Options
from lmeformula.estimation.dispatch import estimate
from lmeformula.estimation.gaussian import estimate_exact
from lmeformula.fit import Fit
from lmeformula.gaussian.likelihood import Carrier, prepare, respond
from lmeformula.model.compile import Model

if TYPE_CHECKING:
    from lmeformula.em.loop import Progress

# What does not depend on the response, kept for as long as the model is in use.
_carriers: WeakKeyDictionary[Model, Carrier] = WeakKeyDictionary()


def refit(
    fit: Fit,
    y: Any,
    *,
    seed: int = 0,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Fit a model to another response, by the same method, from the estimates at hand.

    What depends on the predictors and groups alone is worked out once for all refits of a Gaussian model.

    Args:
      fit: of the model.
      y: a value of the response for each row that the fit used, or for each row of its data; on the scale of
        the formula's left-hand side, such as log(y).
      seed: of Monte Carlo fits.
      options: of the Monte Carlo EM engine.
      progress: shown the iterations of the engine.
    Returns:
      The fit; that of `lmeformula.fit` to data with this response.
    Raises:
      FormulaDataError: if the values do not fit the rows or the first response's kind.
      ModelError: if the family does not take them.
    Example:
      >>> import lmeformula as lf
      >>> fitted = lf.fit("Reaction ~ Days + (Days|Subject)", lf.datasets.load("sleepstudy"))
      >>> twice = fitted.refit(2.0 * fitted.model.design.y)
      >>> twice.fixef.round(2).to_dict()
      {'Intercept': 502.81, 'Days': 20.93}
    """
    began = time.perf_counter()
    old = fit.model
    design = with_response(old.design, y)
    check_response(design)
    old.family.response(design)
    model = replace(old, design=design)
    if fit.method == "exact" and fit.solver == "direct":
        found = _refit_exactly(fit, model)
    else:
        if not fit.singular:  # on a boundary there is no direction to go
            vars(model)["start"] = fit.params
        found = estimate(
            model,
            method=fit.method,
            seed=seed,
            reml=fit.reml,
            solver=fit.solver,
            options=options,
            progress=progress,
        )
    return replace(found, seconds=found.seconds._replace(total=time.perf_counter() - began))


def _refit_exactly(fit: Fit, model: Model) -> Fit:
    carrier = _carriers.get(fit.model)
    if carrier is None:
        carrier = _carriers[fit.model] = prepare(fit.model.design)
    _carriers[model] = carrier
    assert model.design.y is not None
    with one_blas_thread():
        data = respond(carrier, model.design.y)
        return estimate_exact(
            model, fit.reml, data=data, start=None if fit.singular else fit.params
        )
