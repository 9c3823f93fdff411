"""How good predicted chances of ordered categories are, of rows that a fit has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Ints
from lmeformula.design.rebuild import rebuild
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.prediction.normal_points import normal_average
from lmeformula.prediction.normal_posterior import unseen_covariances
from lmeformula.prediction.posterior import normal_posterior_of
from lmeformula.prediction.predictor import linear_predictor


class Scores(NamedTuple):
    """Mean scores of predicted chances.

    Attributes:
      log_score: minus the mean logarithm of the chance that the observed category had; smaller is better.
      ranked: mean ranked probability score, the sum over the categories but the last of the squared distance of
        the chance of it or a lower one from whether that was so; smaller is better.
      each: (n, 2) the two scores of each row.
    """

    log_score: float
    ranked: float
    each: Floats


def category_chances(
    fit: FittedModel, newdata: object, values: Sequence[float] | None = None
) -> Floats:
    """Predict the chances of ordered categories, the predictor's uncertainty averaged over.

    Fixed and random effects are taken as normal about their estimates; the effect of a level that the fit has
    not seen as normal about zero, with the variance of its term.

    Args:
      fit: of ordered categories; or a Gaussian one, to numbers that stand for them.
      newdata: a data frame with the columns of the formula but for the response.
      values: (K,) for a Gaussian fit the numbers of the categories, ascending: each has the chance of what is
        nearer to it than to the others.
    Returns:
      chances: (n, K).
    Raises:
      ModelError: if the family has no such chances.
    """
    family, rows = fit.model.family, rebuild(fit.model.design, newdata)
    if family.probabilities is None and (not family.is_normal or values is None):
        raise ModelError(
            f"the {family.name} family has no chances of categories",
            hint="Give a fit of ordered categories, or a Gaussian one with their numbers as `values`.",
        )
    eta = linear_predictor(fit, rows)
    spread = normal_posterior_of(fit).covariances(rows)
    spread += unseen_covariances(fit, rows)
    if family.probabilities is None:
        assert values is not None
        numbers = np.asarray(values, float)
        midpoints = (numbers[1:] + numbers[:-1]) / 2.0
        sds = np.sqrt(spread[:, 0] + fit.params.residual_sd**2)
        away = (midpoints - eta.T) / sds
        ends = np.zeros((len(sds), 1))
        return np.diff(np.hstack([ends, scipy.special.ndtr(away), ends + 1.0]), axis=1)
    return normal_average(fit, "prob", eta, spread)


def score(chances: Floats, codes: Ints) -> Scores:
    """Score predicted chances.

    Args:
      chances: (n, K) of the categories, in order.
      codes: (n,) the categories observed, from 0.
    Returns:
      scores: their means, and those of each row.
    References:
      Gneiting, Raftery (2007), Strictly proper scoring rules, prediction, and estimation, JASA 102, 359-378.
    Example:
      >>> found = score(np.array([[0.5, 0.25, 0.25]]), np.array([1]))
      >>> round(found.log_score, 4), found.ranked
      (1.3863, 0.3125)
    """
    at_most = np.cumsum(chances, axis=1)[:, :-1]
    was = codes[:, None] <= np.arange(at_most.shape[1])
    each = np.column_stack(
        [-np.log(chances[np.arange(len(codes)), codes]), ((at_most - was) ** 2).sum(axis=1)]
    )
    return Scores(float(each[:, 0].mean()), float(each[:, 1].mean()), each)
