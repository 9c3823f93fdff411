"""The scales that marginal means are worked out on, and shown on.

Means are averaged, compared and tested on a working scale, and shown on it or brought outward from it:

    link              the linear predictor; of ordered categories measured from the mean of the thresholds
    response, where its mean depends on the predictor alone: the linear predictor, outward by the inverse link
    response, where own parameters enter a positive mean: the mean's logarithm, outward by exp
    response of ordered categories, or of any other mean: the mean itself
    response of h(y) with normal errors: h(y), outward by the inverse of h, which gives medians
    response of one of several predictors: that predictor, outward by its own inverse link
    response of categories without an order: their chances
    mean              the mean response on the grid, of whatever enters it: its logarithm where it is positive

On each the errors of all parameters that enter count, by the delta method, so that the intervals are those of
predictions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.absent import has_rows
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.formula.ir import Column
from lmeformula.formula.show import expression_text
from lmeformula.inference.back_transform import BackTransform, back_transform
from lmeformula.inference.grid import Cells
from lmeformula.prediction.averaged import OTHERS, TRIED, is_linear, tried
from lmeformula.prediction.mean_intervals import (
    is_positive,
    leading_predictor,
    mean_slopes,
    num_categories,
)
from lmeformula.prediction.named_predictor import NamedPredictor, link_of
from lmeformula.prediction.parameter_errors import (
    has_thresholds,
    location_covariance,
    parameter_covariance,
)
from lmeformula.prediction.predictor import category_names, mean_response

Function = Callable[[Floats], Floats]

# How nearly a mean that is tried is exponential or logistic in the predictor.
NEARLY = 1e-9
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


def on_link(fit: FittedModel, cells: Cells, part: NamedPredictor) -> Working:
    """Means of a linear predictor."""
    values = cells.predictors(fit.params.beta)
    scale = link_scale(fit, part)
    if not _is_located(fit, part):
        return Working(cells.rows, values, cells.missed, None, scale)
    rows = np.column_stack([cells.rows, np.full(len(values), -1.0)])
    level = float(fit.params.own.mean())
    return Working(rows, values - level, cells.missed, location_covariance(fit), scale)


def _is_located(fit: FittedModel, part: NamedPredictor) -> bool:
    """Whether the predictor is measured from thresholds."""
    return has_thresholds(fit) and part.number == 0


def link_scale(fit: FittedModel, part: NamedPredictor) -> Scale:
    """What means of a linear predictor are called."""
    if fit.model.family.is_unordered:
        of = f" of the log odds of {part.name} against {category_names(fit)[0]}"
        return Scale(f"mean{of}", f"difference{of}")
    if part.number == 0 and mean_is_linear(fit):
        return Scale("mean" + _of_text(fit), "difference" + _of_text(fit))
    name = f"{part.name}, " if fit.model.family.is_distributional else ""
    of = f" of the linear predictor ({name}{link_of(fit, part)[0]})"
    origin = ", from the mean of the thresholds" if _is_located(fit, part) else ""
    return Scale(f"mean{of}{origin}", f"difference{of}")


def on_response(fit: FittedModel, cells: Cells, part: NamedPredictor, *, alone: bool) -> Working:
    """Means of the response, or of a parameter of its distribution, on the scale that they are worked out on.

    Args:
      fit: a fitted model.
      cells: of the predictor; of a model that `needs_all` of them, of all.
      part: the predictor.
      alone: whether it is brought back by its own inverse link, whatever else enters the mean.
    Raises:
      ModelError: for a transformed response whose transform cannot be undone, or a family without a mean.
    """
    if part.number > 0 or fit.model.family.is_unordered:
        return _of_parameter(fit, cells, part)
    if fit.model.family.categories is not None:
        return averaged_means(fit, cells, "response")
    eta = cells.predictors(fit.params.beta)
    if is_linear(fit):
        return Working(cells.rows, eta, cells.missed, None, _undone(fit))
    if needs_all(fit, part, alone=alone):
        return averaged_means(fit, cells, "response")
    if alone:
        return _of_parameter(fit, cells, part)
    slopes = mean_slopes(fit, eta[None])
    name = "mean" + _of_text(fit)
    if leading_predictor(slopes) is not None:

        def outward(values: Floats) -> Floats:
            return np.asarray(mean_response(fit, values[None]))

        scale = Scale(name, link_scale(fit, part).difference, _ratio(fit), outward)
        return Working(cells.rows, eta, cells.missed, None, scale)
    values, vcov = slopes.values[:, 0], parameter_covariance(fit)
    rows = np.column_stack([slopes.in_eta[0] * cells.rows, slopes.in_own[:, :, 0].T])
    missed = np.diag(np.abs(cells.missed).max(axis=1, initial=0.0))
    if is_positive(fit) and _ratio(fit) == RATIO:
        missed = cells.missed
    return _of_means(fit, rows, values, missed, vcov)


def needs_all(fit: FittedModel, part: NamedPredictor, *, alone: bool) -> bool:
    """Whether the mean on the response's scale is worked out of all predictors.

    Such are mean categories, and means that no inverse link gives of the predictor: of a lognormal response
    the predictor is the mean of the logarithm, whose scale it has no link to leave.
    """
    if part.number > 0 or fit.model.family.is_unordered:
        return False
    if fit.model.family.categories is not None:
        return True
    link, inverse = link_of(fit, part)
    return alone and not mean_is_linear(fit) and (inverse is None or link == "identity")


def _of_parameter(fit: FittedModel, cells: Cells, part: NamedPredictor) -> Working:
    """What a linear predictor is the link of, whatever the other predictors are."""
    eta = cells.predictors(fit.params.beta)
    link, inverse = link_of(fit, part)
    assert inverse is not None
    difference, ratio = link_scale(fit, part).difference, ""
    if fit.model.family.is_unordered:
        name = f"odds of {part.name} against {category_names(fit)[0]}"
        return Working(cells.rows, eta, cells.missed, None, Scale(name, difference, ODDS, inverse))
    name = f"{part.name}, by the inverse of its link ({link})"
    if part.number == 0 and _is_mean(fit, inverse):
        name, ratio = "mean" + _of_text(fit), RATIO if link == "log" else ""
    elif link == "log":
        ratio = f"ratio of {part.name}"
    if link == "logit":
        ratio = ODDS
    return Working(cells.rows, eta, cells.missed, None, Scale(name, difference, ratio, inverse))


def _is_mean(fit: FittedModel, inverse: Function) -> bool:
    """Whether the inverse link of the first predictor is the mean response, whatever the others are."""
    return all(
        np.allclose(mean_response(fit, tried(fit, others)), inverse(TRIED), rtol=NEARLY, atol=0.0)
        for others in OTHERS
    )


def averaged_means(fit: FittedModel, cells: Cells, kind: str) -> Working:
    """Averages of the means of the grid, since no link brings averages of predictors to averages of means.

    Args:
      fit: a fitted model.
      cells: of all its predictors.
      kind: "response" for mean responses, of ordered categories their numbers; "prob" for the chances of
        categories, a row for each, those of one combination of the variables side by side.
    """
    r, m, p = cells.grid.shape
    X = cells.grid.reshape(r * m, p)
    of = np.array(fit.model.design.column_predictors, int)
    offsets = cells.grid_offsets.reshape(len(cells.grid_offsets), -1)
    eta = np.array([(X * (of == k)) @ fit.params.beta + offset for k, offset in enumerate(offsets)])
    slopes = mean_slopes(fit, eta, kind)
    c = slopes.values.shape[1]
    # (r m, c, d): each coefficient moves the mean by its own predictor.
    in_beta = slopes.in_eta[of].transpose(1, 2, 0) * X[:, None, :]
    moves = np.concatenate([in_beta, np.moveaxis(slopes.in_own, 0, -1)], axis=-1)
    rows = np.einsum("rmcd,rm->rcd", moves.reshape(r, m, c, -1), cells.share).reshape(r * c, -1)
    values = (slopes.values.reshape(r, m, c) * cells.share[..., None]).sum(axis=1).reshape(-1)
    each = np.where(cells.share > 0.0, np.abs(cells.grid_missed).max(axis=2, initial=0.0), 0.0)
    missed = np.repeat(np.diag(each.max(axis=1, initial=0.0)), c, axis=0)
    vcov = parameter_covariance(fit)
    family = fit.model.family
    if kind == "prob":
        scale = Scale("chance", "difference of chances", ends=(0.0, 1.0))
    elif family.categories is not None:
        ends = (1.0, float(num_categories(fit)))
        scale = Scale("mean category", "difference of mean categories", ends=ends)
    else:
        return _of_means(fit, rows, values, missed, vcov)
    return Working(rows, values, missed, vcov, scale)


def _of_means(
    fit: FittedModel, rows: Floats, values: Floats, missed: Floats, vcov: Floats
) -> Working:
    """Means of numbers and their derivatives: where they are positive their logarithms."""
    name = "mean" + _of_text(fit)
    if not is_positive(fit):
        return Working(rows, values, missed, vcov, Scale(name, "difference of means"))
    scale = Scale(name, "difference of log means", RATIO, np.exp)
    return Working(rows / values[:, None], np.log(values), missed, vcov, scale)


def _ratio(fit: FittedModel) -> str:
    """What differences of the predictor are logarithms of, wherever they are: of the mean, or of its odds."""
    mean = np.asarray(mean_response(fit, TRIED[None]), float)
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
            hint='Leave kind="response" out: means are then of the response as it is written.',
        )
    return found


def _text(fit: FittedModel) -> str:
    response = fit.formula.response
    return "" if response is None else expression_text(response.expression)


def _of_text(fit: FittedModel) -> str:
    """ " of log(y)" where the response of a model of numbers is not a column."""
    response, family = fit.formula.response, fit.model.family
    is_plain = response is None or isinstance(response.expression, Column)
    has_numbers = family.measure != "classes" and family.categories is None
    return "" if is_plain or family.has_trials or not has_numbers else f" of {_text(fit)}"


def mean_is_linear(fit: FittedModel) -> bool:
    """Whether the mean of the response, as it is written, is the first linear predictor."""
    try:
        return is_linear(fit)
    except ModelError:  # a family of the user's without a mean
        return False
