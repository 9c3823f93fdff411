"""Errors of mean responses and of chances of categories, by the delta method over all parameters.

A mean m(eta, phi) of predictors eta = x'beta + z'b and own parameters phi has the variance

    a'C a + sum_kl m_k m_l V_kl,   a = sum_k m_k d eta_k / d psi + d m / d psi,

where m_k is its derivative in predictor k, psi = (beta, phi) with covariance C, and V holds the variances of
the effects given psi. So the same model has the same error, however its columns are written.

References: Oehlert (1992), A note on the delta method, The American Statistician 46, 27-29; Lenth, the R
package emmeans, whose intervals of chances and of mean categories are these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from lmeformula.arrays import Floats, Mask
from lmeformula.fit import FittedModel
from lmeformula.prediction.freedom import ROUNDING, with_errors
from lmeformula.prediction.parameter_errors import own_changes
from lmeformula.prediction.predictor import chances_at, mean_response, predicted_at

COLUMNS = ("estimate", "lower", "upper")
# Steps of central differences: in predictors, absolute and relative to them, and in own parameters.
STEP, RELATIVE_STEP, OWN_STEP = 1e-4, 1e-6, 1e-5
# Predictors at which a mean that cannot be negative shows it.
FAR = 30.0


class MeanSlopes(NamedTuple):
    """Means and their derivatives, of n rows; c is 1 for mean responses, else the number of categories.

    Attributes:
      values: (n, c).
      in_eta: (K, n, c) derivatives in the linear predictors.
      in_own: (f, n, c) derivatives in the family's own parameters, unconstrained.
    """

    values: Floats
    in_eta: Floats
    in_own: Floats


def mean_slopes(fit: FittedModel, eta: Floats, kind: str = "response") -> MeanSlopes:
    """Means, or chances, at linear predictors and at the estimates, with their derivatives.

    Args:
      fit: a fitted model.
      eta: (K, n) linear predictors.
      kind: "response" or "prob".
    Raises:
      ModelError: if the family has no mean, or no chances.
    """

    def at(eta: Floats, own: Floats) -> Floats:
        return predicted_at(fit, kind, eta, own)

    own, slopes = fit.params.own, []
    for k in range(len(eta)):
        step = np.maximum(STEP, RELATIVE_STEP * np.abs(eta[k]))
        moved = np.zeros_like(eta)
        moved[k] = step
        ahead, behind = (eta + moved, eta - moved)
        # What was added and taken away in the end, not what should have been.
        width = (ahead - behind)[k]
        slopes.append((at(ahead, own) - at(behind, own)) / width[:, None])
    changes = own_changes(fit, OWN_STEP)
    in_own = [(at(eta, high) - at(eta, low)) / (2.0 * OWN_STEP) for high, low in changes]
    values = at(eta, own)
    return MeanSlopes(values, np.array(slopes), np.array(in_own).reshape(-1, *values.shape))


def mean_variances(slopes: MeanSlopes, loads: Floats, vcov: Floats, effects: Floats) -> Floats:
    """(n, c) variances of the means' errors.

    Args:
      slopes: of the means.
      loads: (K, n, d) derivatives of the predictors in the parameters.
      vcov: (d, d) covariance of the parameters.
      effects: (n, K, K) covariances of the predictors' errors, the parameters known.
    """
    n, c = slopes.values.shape
    d = len(vcov)
    moves = np.zeros((n, c, d))
    for slope, load in zip(slopes.in_eta, loads, strict=True):
        moves += slope[:, :, None] * load[:, None, :]
    f = len(slopes.in_own)
    if f:
        moves[:, :, d - f :] += np.moveaxis(slopes.in_own, 0, -1)
    known = np.where(np.isnan(vcov), 0.0, vcov)
    found = np.einsum("ncd,de,nce->nc", moves, known, moves, optimize=True)
    found[moved_by(slopes, [with_errors(load, vcov)[2] for load in loads])] = np.nan
    found += np.einsum("knc,nkl,lnc->nc", slopes.in_eta, effects, slopes.in_eta, optimize=True)
    # Rounding may leave a variance of zero below it.
    return np.asarray(np.maximum(found, 0.0))


def moved_by(slopes: MeanSlopes, lost: Sequence[Mask]) -> Mask:
    """(n, c) which means move with a predictor that has no errors, as one on its way to infinity has none.

    Most stand still there: a chance of zeros that is nothing moves no mean.

    Args:
      slopes: of the means.
      lost: for each predictor (n,) which rows have no errors.
    """
    sizes = np.abs(slopes.in_eta)
    moves = sizes >= ROUNDING * sizes.max(axis=0)
    return np.asarray((moves & np.array(lost)[:, :, None]).any(axis=0))


def leading_predictor(slopes: MeanSlopes) -> int | None:
    """The one predictor that a mean depends on, where it depends on nothing else."""
    used = [k for k, slope in enumerate(slopes.in_eta) if np.any(slope != 0.0)]
    return used[0] if len(used) == 1 and not np.any(slopes.in_own != 0.0) else None


def transformed(fit: FittedModel, eta: Floats, k: int, away: Floats) -> Floats:
    """(n, 3) means and intervals: those of the one predictor that counts, brought to the response.

    Args:
      fit: a fitted model.
      eta: (K, n) its predictors.
      k: the one.
      away: (2, n) how far from it the ends of its intervals are.
    """
    low, high = moves = np.zeros((2, *eta.shape))
    moves[:, k] = away
    ends = [mean_response(fit, part) for part in (eta, eta + low, eta + high)]
    return np.column_stack([ends[0], np.minimum(*ends[1:]), np.maximum(*ends[1:])])


def by_delta(fit: FittedModel, kind: str, values: Floats, away: Floats) -> Floats:
    """(n, c, 3) means and intervals: linear within the bounds of categories, and in logs of positive means.

    Args:
      fit: a fitted model.
      kind: "response" or "prob".
      values: (n, c) means.
      away: (2, n, c) how far from them the ends of their intervals are, were they linear in all errors.
    """
    below, above = away
    family = fit.model.family
    if family.categories is not None:
        low, high = (0.0, 1.0) if kind == "prob" else (1.0, float(num_categories(fit)))
        ends = np.clip(values + below, low, high), np.clip(values + above, low, high)
    elif is_positive(fit):
        with np.errstate(over="ignore"):
            ends = values * np.exp(below / values), values * np.exp(above / values)
    else:
        ends = values + below, values + above
    return np.stack([values, *ends], axis=-1)


def num_categories(fit: FittedModel) -> int:
    """How many categories the response has."""
    at = np.zeros((fit.model.design.num_predictors, 1))
    return int(chances_at(fit, at).shape[1])


def is_positive(fit: FittedModel) -> bool:
    """Whether the mean of the response is positive at any predictor."""
    at = np.zeros((fit.model.design.num_predictors, 2))
    at[0] = [-FAR, FAR]
    return bool((np.asarray(mean_response(fit, at)) > 0.0).all())


def framed_by_name(each: Floats, names: Sequence[str]) -> pd.DataFrame:
    """Of each category or predictor (n, K, 3) the columns estimate, lower, upper, below its name."""
    columns = pd.MultiIndex.from_product([list(names), COLUMNS])
    return pd.DataFrame(each.reshape(len(each), -1), columns=columns)
