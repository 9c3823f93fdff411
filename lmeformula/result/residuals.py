"""Result stage: residuals of the fitted rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmeformula.design.design import Design, NewRows
from lmeformula.errors import ModelError
from lmeformula.model.family import Family
from lmeformula.model.family.categories import category_numbers
from lmeformula.result.predict import family_values, linear_predictor, mean_response

if TYPE_CHECKING:
    from lmeformula.fit import Fit

Floats = NDArray[np.float64]
ResidualKind: TypeAlias = Literal["response", "pearson"]


def residuals(fit: Fit, kind: ResidualKind = "response") -> pd.Series:
    """Compute the residuals of the fitted rows.

    Args:
      fit: a fitted model.
      kind: "response" for observed minus fitted; "pearson" divides that by the square root of the
        family's variance function and multiplies it by the square root of the row's weight, and, as
        R does, not by the residual sd.
    Returns:
      residuals: (n,) indexed by the positions of the rows in the data.
    Raises:
      ModelError: if the kind is unknown, or the family has no such residual.
    References:
      McCullagh, Nelder (1989), Generalized Linear Models, 2nd ed., section 2.4.
    """
    if kind not in ("response", "pearson"):
        raise ModelError(f"kind is {kind!r}", hint="Choose one of 'response', 'pearson'.")
    design, family = fit.model.design, fit.model.family
    mu = mean_response(fit, linear_predictor(fit, design))
    observed, weights = observed_mean(family, design)
    values = observed - mu
    if kind == "pearson":
        if family.variance is None:
            raise ModelError(
                f"the {family.name} family has no Pearson residuals here",
                hint='Use kind="response".',
            )
        values = values * np.sqrt(weights / family.variance(mu, family_values(fit)))
    return pd.Series(values, index=pd.Index(design.rows), name="residual")


def observed_mean(family: Family, rows: Design | NewRows) -> tuple[Floats, Floats]:
    """Bring the response to the scale of its mean: a proportion where it counts successes.

    Args:
      family: whose mean it is compared with.
      rows: with a response of numbers, of two categories, or of successes and failures.
    Returns:
      observed: (n,) the response.
      weights: (n,) prior weights times numbers of trials.
    Raises:
      ModelError: if the response has no mean to compare with, or there is none.
    """
    response = rows.response
    if response is None or (response.values.ndim == 2 and response.values.shape[1] != 2):
        raise ModelError("there are no residuals: the formula has no response with a mean")
    weights = np.ones(len(rows.offset)) if rows.weights is None else rows.weights
    if family.categories is not None:
        return category_numbers(response), weights
    if response.values.ndim == 2:
        trials = response.values.sum(axis=1)
        return response.values[:, 0] / trials, weights * trials
    if response.trials is not None:
        return response.values / response.trials, weights * response.trials
    return response.values, weights
