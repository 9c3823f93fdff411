"""What may be asked of cross-validation: metrics that the family has, and a method that fits it."""

from __future__ import annotations

from collections.abc import Sequence

from lmeformula.errors import ModelError
from lmeformula.estimation.student_effects import refuse
from lmeformula.fit import FittedModel
from lmeformula.prediction.posterior import check_direct

METRICS = ("elpd", "rmse", "ranked")
FIT_METHODS = ("exact", "quadrature", "laplace", "mcem")


def what_is_scored(
    fit: FittedModel, metrics: Sequence[str] | str | None, method: str | None
) -> tuple[tuple[str, ...], str]:
    """The metrics and the method, from what was asked."""
    possible = metrics_of(fit)
    asked = (metrics,) if isinstance(metrics, str) else metrics
    chosen = possible if asked is None else tuple(asked)
    for name in chosen:
        if name not in possible:
            why = f"; {name!r} is of ordered categories" if name in METRICS else ""
            raise ModelError(
                f"metrics has {name!r}", hint=f"Choose from {', '.join(possible)}{why}."
            )
    how = method
    if not fit.model.space.has_normal_priors:
        if how is not None:
            refuse(how, fit.solver, fit.model.dtype)
        how = "mcem"
    if how is None:
        how = "exact" if fit.model.family.is_normal else fit.marginal.method
    if not fit.is_factored:
        raise ModelError(
            "no cross-validation of a model fitted by the iterative solver",
            hint="It would be fitted many times over. Fit some of the rows, and predict the others.",
        )
    check_direct(fit, "held-out predictions")
    return tuple(chosen), how


def metrics_of(fit: FittedModel) -> tuple[str, ...]:
    """Those that the family has: categories without an order have no mean, and only ordered ones have ranks."""
    if fit.model.family.is_unordered:
        return METRICS[:1]
    return METRICS if fit.model.family.categories is not None else METRICS[:2]
