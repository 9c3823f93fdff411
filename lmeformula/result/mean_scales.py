"""Result stage: the scales that marginal means are worked out on, and shown on.

Means are averaged, compared and tested on a working scale, and shown on it or brought outward from it:

    link              the linear predictor; of ordered categories measured from the mean of the thresholds
    response, where its mean depends on the predictor alone: the linear predictor, outward by the inverse link
    response, where own parameters enter a positive mean: the mean's logarithm, outward by exp
    response of ordered categories, or of any other mean: the mean itself
    response of h(y) with normal errors: h(y), outward by the inverse of h, which gives medians

On each the errors of all parameters that enter count, by the delta method, so that the intervals are those of
predictions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.formula.ir import Column
from lmeformula.formula.show import expression_text
from lmeformula.result.averaged import is_linear
from lmeformula.result.back_transform import BackTransform, back_transform
from lmeformula.result.grid import Cells
from lmeformula.result.mean_intervals import is_positive, leading_predictor, mean_slopes
from lmeformula.result.parameter_errors import (
    has_location,
    location_covariance,
    parameter_covariance,
)
from lmeformula.result.predictor import family_values, mean_response
from lmeformula.store.absent import has_rows

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]

# Predictors at which a mean is tried for being exponential or logistic in them, and how nearly.
TRIED, NEARLY = np.array([-2.0, -0.7, 0.4, 1.9]), 1e-9
ODDS, RATIO = "odds ratio", "ratio of means"


class Scale(NamedTuple):
    """What estimates are, in words, and how those of the working scale are shown.

    Attributes:
      mean: what a mean is called, such as "mean of log(y)".
      difference: what a difference on the working scale is called.
      ratio: what the exponential of a difference is called; "" where it is not shown.
      outward: working scale -> what is shown; None where they are the same.
      log_unit: what a difference is times to be one of natural logarithms.
      ends: least and largest mean that there is.
    """

    mean: str
    difference: str
    ratio: str = ""
    outward: Function | None = None
    log_unit: float = 1.0
    ends: tuple[float, float] = (-np.inf, np.inf)


class Working(NamedTuple):
    """Means on their working scale.

    Attributes:
      rows: (r, d) their derivatives in the parameters: the fixed effects, and what follows in `vcov`.
      values: (r,).
      missed: (r, c) what the data do not determine of them, as `Cells` has it; it cancels in contrasts where
        the means are linear in the fixed effects.
      vcov: (d, d); None for that of the fixed effects by the method for degrees of freedom.
      scale: what they are.
    """

    rows: Floats
    values: Floats
    missed: Floats
    vcov: Floats | None
    scale: Scale


def on_link(fit: FittedModel, cells: Cells) -> Working:
    """Means of the linear predictor."""
    values = cells.rows @ fit.params.beta + cells.offset
    if not has_location(fit):
        return Working(cells.rows, values, cells.missed, None, link_scale(fit))
    rows = np.column_stack([cells.rows, np.full(len(values), -1.0)])
    level = float(family_values(fit).mean())
    return Working(rows, values - level, cells.missed, location_covariance(fit), link_scale(fit))


def link_scale(fit: FittedModel) -> Scale:
    """What means of the linear predictor are called."""
    if _mean_is_linear(fit):
        return Scale("mean" + _of_text(fit), "difference" + _of_text(fit))
    of = f" of the linear predictor ({fit.model.family.link})"
    origin = ", from the mean of the thresholds" if has_location(fit) else ""
    return Scale(f"mean{of}{origin}", f"difference{of}")


def on_response(fit: FittedModel, cells: Cells) -> Working:
    """Means of the response, on the scale that they are worked out on.

    Raises:
      ModelError: for a transformed response whose transform cannot be undone, or a family without a mean.
    """
    family = fit.model.family
    if family.categories is not None:
        return _of_categories(fit, cells)
    eta = cells.rows @ fit.params.beta + cells.offset
    if is_linear(fit, TRIED):
        return Working(cells.rows, eta, cells.missed, None, _undone(fit))
    slopes = mean_slopes(fit, eta)
    name = "mean" + _of_text(fit)
    if leading_predictor(slopes) is not None:

        def outward(values: Floats) -> Floats:
            return np.asarray(mean_response(fit, values))

        scale = Scale(name, link_scale(fit).difference, _ratio(fit), outward)
        return Working(cells.rows, eta, cells.missed, None, scale)
    values, vcov = slopes.values[:, 0], parameter_covariance(fit)
    rows = np.column_stack([slopes.in_eta[0] * cells.rows, slopes.in_own[:, :, 0].T])
    missed = np.diag(np.abs(cells.missed).max(axis=1, initial=0.0))
    if is_positive(fit):
        if _ratio(fit) == RATIO:
            missed = cells.missed
        scale = Scale(name, "difference of log means", RATIO, np.exp)
        return Working(rows / values[:, None], np.log(values), missed, vcov, scale)
    return Working(rows, values, missed, vcov, Scale(name, "difference of means"))


def _of_categories(fit: FittedModel, cells: Cells) -> Working:
    """Mean numbers of categories: averages of those of the grid, since no link brings averages to averages."""
    r, m, p = cells.grid.shape
    X = cells.grid.reshape(r * m, p)
    slopes = mean_slopes(fit, X @ fit.params.beta + cells.grid_offset.reshape(-1))
    moves = np.column_stack([slopes.in_eta[0] * X, slopes.in_own[:, :, 0].T])
    rows = np.einsum("rmd,rm->rd", moves.reshape(r, m, -1), cells.share)
    values = (slopes.values[:, 0].reshape(r, m) * cells.share).sum(axis=1)
    probabilities = fit.model.family.probabilities
    assert probabilities is not None
    last = float(probabilities(np.zeros(1), family_values(fit)).shape[1])
    scale = Scale("mean category", "difference of mean categories", ends=(1.0, last))
    each = np.where(cells.share > 0.0, np.abs(cells.grid_missed).max(axis=2, initial=0.0), 0.0)
    missed = np.diag(each.max(axis=1, initial=0.0))
    return Working(rows, values, missed, parameter_covariance(fit), scale)


def _ratio(fit: FittedModel) -> str:
    """What differences of the predictor are logarithms of, wherever they are: of the mean, or of its odds."""
    mean = np.asarray(fit.model.family.mean(TRIED, family_values(fit)), float)
    with np.errstate(all="ignore"):
        tried = {RATIO: np.log(mean), ODDS: np.log(mean) - np.log1p(-mean)}
    for name, values in tried.items():
        apart = values - TRIED
        if np.isfinite(apart).all() and np.ptp(apart) <= NEARLY:
            return name
    return ""


def _undone(fit: FittedModel) -> Scale:
    """The scale of a mean that is the predictor itself: of y, or of h(y) with the way back from it."""
    back = back_of(fit)
    if back is None:
        return Scale("mean", "difference")
    difference = f"difference of {back.text}"
    if back.is_linear:
        return Scale(f"mean of {back.column}", difference, outward=back.inverse)
    name = f"median of {back.column}, from means of {back.text}"
    if back.log_unit is None:
        return Scale(name, difference, outward=back.inverse)
    return Scale(name, difference, "ratio of medians", back.inverse, back.log_unit)


def back_of(fit: FittedModel) -> BackTransform | None:
    """The way back from a transformed response; None where the response is a column.

    Raises:
      ModelError: where there is none.
    """
    response = fit.formula.response
    if response is None or isinstance(response.expression, Column):
        return None
    design = fit.model.design
    values = np.zeros(0)
    if has_rows(design) and design.response is not None:
        values = design.response.values
    found = back_transform(response.expression, values)
    if found is None:
        raise ModelError(
            f"the response {_text(fit)} cannot be brought back to the scale of a column",
            hint='Leave type="response" out: means are then of the response as it is written.',
        )
    return found


def _text(fit: FittedModel) -> str:
    response = fit.formula.response
    return "" if response is None else expression_text(response.expression)


def _of_text(fit: FittedModel) -> str:
    """ " of log(y)" where the response of a model of numbers is not a column."""
    response, family = fit.formula.response, fit.model.family
    is_plain = response is None or isinstance(response.expression, Column)
    return "" if is_plain or family.has_trials or not _has_numbers(fit) else f" of {_text(fit)}"


def _has_numbers(fit: FittedModel) -> bool:
    return fit.model.family.measure != "classes" and fit.model.family.categories is None


def _mean_is_linear(fit: FittedModel) -> bool:
    try:
        return is_linear(fit, TRIED)
    except ModelError:  # a family of the user's without a mean
        return False
