"""Every parameter of a fit as one record, on the scale on which it is reported."""

from __future__ import annotations

from dataclasses import dataclass

from lmeformula.covariance.student import LEAST_FREEDOM
from lmeformula.family.bounded import Bounded
from lmeformula.family.own import Positive
from lmeformula.family.thresholds import Patterned
from lmeformula.family.user_family import Bijected
from lmeformula.fit import FittedModel
from lmeformula.model.params import term_shape

ANYTHING = (-float("inf"), float("inf"))
POSITIVE = (0.0, float("inf"))
BOUNDS = {
    "loading": ANYTHING,
    "sd": POSITIVE,
    "range": POSITIVE,
    "smoothness": POSITIVE,
    "df": (LEAST_FREEDOM, float("inf")),
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One estimated parameter.

    Attributes:
      name: as in `fit.param_names`, such as "service", "sd(students)" or "sigma".
      effect: "fixed", "sd", "cor", "df" of effects by a t distribution, "residual", or "family" for
        thresholds, a dispersion, ....
      group: display name of the grouping factor, "Residual" for sigma, "" for a fixed effect.
      term: the coefficient; two, joined by a comma, for a correlation; "" for sigma and for a
        standard deviation or correlation shared by all coefficients.
      estimate: on the reporting scale: the coefficient, standard deviation or correlation itself.
      std_error: its standard error; NaN on the boundary of the parameter space.
      mc_error: Monte Carlo standard error of `estimate`; zero where the answer is exact.
      bounds: between which it lies: infinite for a fixed effect, 0 and infinity for a standard deviation,
        -1 and 1 for a correlation; correlations that are all one (cs) of k coefficients are at least
        -1 / (k - 1).
    """

    name: str
    effect: str
    group: str
    term: str
    estimate: float
    std_error: float
    mc_error: float
    bounds: tuple[float, float]

    @property
    def statistic(self) -> float:
        """Estimate over its standard error."""
        return self.estimate / self.std_error if self.std_error > 0 else float("nan")


def parameters(fit: FittedModel) -> tuple[Parameter, ...]:
    """List the parameters of a fit in the order of `fit.param_names`.

    Args:
      fit: a fitted model.
    Returns:
      parameters: fixed effects, then standard deviations and correlations term by term, then sigma
        where it was estimated, or other parameters of the family's own.
    """
    labels: list[tuple[str, str, str, tuple[float, float]]] = [
        ("fixed", "", name, ANYTHING) for name in fit.model.design.names
    ]
    for block in fit.model.design.terms:
        structure = term_shape(block).structure
        least = structure.least_correlation(len(block.columns))
        labels += [
            (effect, block.group, term, BOUNDS.get(effect, (least, 1.0)))
            for effect, term in structure.labels(block.columns)
        ]
    own = fit.model.space.own
    bounds = POSITIVE if isinstance(own.scale, Positive) else ANYTHING
    if fit.model.family.is_normal:
        labels += [("residual", "Residual", "", bounds)] * (len(fit.param_names) - len(labels))
    else:
        each = (
            own.scale.bounds
            if isinstance(own.scale, Bijected | Bounded | Patterned)
            else (bounds,) * own.size
        )
        labels += [("family", "", name, ends) for name, ends in zip(own.names, each, strict=True)]
    numbers = zip(fit.param_values, fit.param_stderr, fit.param_mc_error, strict=True)
    return tuple(
        Parameter(
            name, effect, group, term, float(estimate), float(std_error), float(mc_error), bounds
        )
        for name, (effect, group, term, bounds), (estimate, std_error, mc_error) in zip(
            fit.param_names, labels, numbers, strict=True
        )
    )
