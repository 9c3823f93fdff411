"""How well a fit predicts rows that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.design.rebuild import rebuild
from lmeformula.fit import FittedModel, of_observations
from lmeformula.prediction.predictor import (
    has_new_level,
    linear_predictor,
    mean_response,
    of_population,
)
from lmeformula.prediction.residuals import observed_mean


@dataclass(frozen=True, slots=True, eq=False)
class Holdout:
    """Predictions of held-out rows, and how far they are off.

    Attributes:
      num_rows: held-out rows that could be predicted (those without missing values).
      num_new_levels: of these, rows with a level of a grouping factor that the fit has not seen; its
        effect is taken as zero.
      residuals: (num_rows,) observed minus predicted, random effects included.
      rmse: root mean squared error of the model.
      rmse_fixed: that of its fixed effects alone.
      rmse_mean: that of the mean response of the fitted rows.
    """

    num_rows: int
    num_new_levels: int
    residuals: Floats
    rmse: float
    rmse_fixed: float
    rmse_mean: float


def split_rows(num_rows: int, *, fraction: float = 0.2, seed: int = 0) -> tuple[Ints, Ints]:
    """Split row positions at random into those to fit and those to hold out.

    Args:
      num_rows: rows in all.
      fraction: share to hold out, strictly between 0 and 1.
      seed: of the random choice; the same seed gives the same split.
    Returns:
      fit_rows: positions to fit, ascending.
      test_rows: positions held out, ascending.
    Raises:
      ValueError: if the fraction leaves either part empty.
    Example:
      >>> fit_rows, test_rows = split_rows(10, fraction=0.2)
      >>> len(fit_rows), len(test_rows)
      (8, 2)
    """
    num_test = round(fraction * num_rows)
    if not 0 < num_test < num_rows:
        raise ValueError(f"holding out {fraction:g} of {num_rows} rows leaves one part empty")
    order = np.random.default_rng(seed).permutation(num_rows)
    return np.sort(order[num_test:]), np.sort(order[:num_test])


@of_observations
def holdout(fit: FittedModel, newdata: object) -> Holdout:
    """Compare a fit's predictions of rows that it has not seen with what was observed there.

    Args:
      fit: a model fitted to other rows.
      newdata: a data frame with all columns of the formula, the response included.
    Returns:
      holdout: residuals and root mean squared errors; unseen levels are predicted at the population.
    Raises:
      FormulaDataError: if `newdata` lacks a column.
    """
    rows = rebuild(fit.model.design, newdata, response=True)
    observed, _ = observed_mean(fit.model.family, rows)
    trained, weights = observed_mean(fit.model.family, fit.model.design)
    residuals = observed - mean_response(fit, linear_predictor(fit, rows))
    alone = mean_response(fit, linear_predictor(fit, rows, with_random=of_population(rows)))
    return Holdout(
        num_rows=len(observed),
        num_new_levels=int(has_new_level(rows).sum()),
        residuals=residuals,
        rmse=_rms(residuals),
        rmse_fixed=_rms(observed - alone),
        rmse_mean=_rms(observed - np.average(trained, weights=weights)),
    )


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))
