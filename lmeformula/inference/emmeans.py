"""Estimated marginal means and slopes, and contrasts of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.inference.ddf import METHODS, freedom
from lmeformula.inference.drawn_means import means_at_draws
from lmeformula.inference.grid import Cells, cells
from lmeformula.inference.marginal_means import MarginalMeans
from lmeformula.inference.mean_scales import (
    Scale,
    Working,
    averaged_means,
    link_scale,
    mean_is_linear,
    needs_all,
    on_link,
    on_response,
)
from lmeformula.inference.posterior_summary import check_no_tests
from lmeformula.inference.specified import means_and_groups
from lmeformula.prediction.freedom import Asymptotic
from lmeformula.prediction.named_predictor import NamedPredictor, named_predictors, predictor_named
from lmeformula.prediction.observed_together import observed_of
from lmeformula.prediction.parameter_errors import has_thresholds
from lmeformula.prediction.population import curve_freedom, with_fixed_curves
from lmeformula.prediction.predictor import category_names, refuse_curves

# Step of a slope's difference, relative to the range of the variable.
SLOPE_STEP = 1e-3


@kinds.takes(
    specs=kinds.names,
    by=kinds.optional(kinds.names),
    at=kinds.optional(kinds.mapping),
    kind=kinds.one_of("link", "response", "mean"),
    weights=kinds.one_of("equal", "proportional"),
    var=kinds.optional(kinds.text),
    ddf=kinds.one_of(*METHODS),
    predictor=kinds.optional(kinds.text),
)
def emmeans(
    fit: FittedModel,
    specs: str | Sequence[str],
    by: str | Sequence[str] | None = None,
    *,
    at: Mapping[str, object] | None = None,
    kind: str = "link",
    weights: str = "equal",
    var: str | None = None,
    ddf: str = "auto",
    predictor: str | None = None,
) -> MarginalMeans:
    """Estimate marginal means: predictions of the population, averaged over a grid of the other variables.

    Factors that are not named are averaged over, numbers held at their mean; random effects are zero. On the
    response scale the inverse link is applied to the average, as R's emmeans does; only mean categories, which
    have no such link, are averages of those of the grid. Standard errors and intervals are those of `predict`:
    of all parameters that enter a mean, thresholds, chances of zero and others of the family among them. On
    the link scale ordered categories are measured from the mean of the thresholds.

    Where a normal response is a function of a column, such as log(y) or sqrt(y), means are of that function,
    and `kind="response"` brings them back to the column: not to its means but to its medians, unless the
    function is linear. Means of a positive response are those of `family="lognormal"` or "gamma".

    Of a model with several linear predictors the means are those of one, by default of the first, "mu".
    `kind="response"` then applies that predictor's own inverse link, as R's emmeans does of a part of a glmmTMB
    fit: of zero-inflated counts it gives the mean of the counts apart from the zeros that were added (with one
    predictor, where the chance of these is one number, the mean of all counts, unless predictor="mu" is named).
    `kind="mean"` gives the mean response, (1 - zi) mu of such counts, worked out of all predictors on the grid
    of all their variables, and averaged. Mean categories, and means that no link gives of the first predictor
    alone, as of lognormal responses, are worked out so by `kind="response"` as well.

    Of categories without an order, the response is one more variable, by whose values contrasts are made unless
    it is among `specs`: on the scale of the response means are the chances of all categories, and on that of
    the linear predictors log odds of each against the first; `predictor` chooses one category.

    Of draws from a posterior distribution the means are worked out at each of 2,000 draws, spread evenly over
    all: estimates are their averages, standard errors their standard deviations, intervals their quantiles, and
    there are no tests.

    Args:
      fit: a fitted model.
      specs: the variables, columns of the data, that means are told apart by: names, or R's notation,
        "~ a * b | c"; "~ 1" for one mean.
      by: further ones, within whose values contrasts are made.
      at: values of variables, by name: one or several.
      kind: "link" for the linear predictor, "response" for the scale of the response, "mean" for mean
        responses, averaged over the grid, in which all predictors and own parameters take part.
      weights: "equal" gives all combinations that are averaged over the same weight, "proportional" that of
        their frequency in the data.
      var: estimate the slope in this number instead of the mean; on the linear predictor's scale.
      ddf: degrees of freedom: "auto" (Satterthwaite's for Gaussian fits, none for others), "satterthwaite",
        "kenward-roger" or "none".
      predictor: the linear predictor whose means are asked for, by the name that formulas take: "mu", "sigma",
        "zi"; of categories, one but the first.
    Returns:
      The means, with `.contrasts(...)`, `.to_frame(level)` and `.test()`.
    Raises:
      ModelError: for a variable that is not in the fixed part, an option that is not listed here, a
        predictor that the model does not have, or a transformed response that cannot be brought back.
    References:
      Searle, Speed, Milliken (1980), The American Statistician 34, 216-221; Lenth, the R package emmeans.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("score ~ Machine + (1 | Worker)", lf.datasets.load("Machines"), reml=True)
      >>> emmeans(fit, "Machine").to_frame()["estimate"].round(3).tolist()
      [52.356, 60.322, 66.272]
    """
    means, groups = means_and_groups(specs, by)
    if fit.draws is not None:
        check_no_tests(ddf)
        ddf = "none"
    if has_thresholds(fit) or fit.draws is not None:
        what = "marginal means of ordered categories, or of draws,"
        refuse_curves(fit, what, "Predict rows of your choice, fit.predict(rows, interval=...).")
    # Of the population are curves, too.
    seen = with_fixed_curves(fit)
    asked = _asked(seen, predictor, kind)
    if asked.response and asked.response not in (*means, *groups):
        groups = (*groups, asked.response)
    kept = list(dict.fromkeys([*means, *groups]))
    variables = [name for name in kept if name != asked.response]
    method = curve_freedom(fit, seen, freedom(fit, ddf))
    if var is not None:
        if kind != "link":
            raise ModelError(
                "slopes are on the scale of the linear predictor", hint=f"Leave kind={kind!r} out."
            )
        step = _slope_step(asked.among, var)
        ends = [
            cells(seen, variables, at=at, weights=weights, shift={var: half}, among=asked.among)
            for half in (-0.5 * step, 0.5 * step)
        ]
        found = ends[0]
    else:
        found = cells(seen, variables, at=at, weights=weights, among=asked.among)

    def work(one: FittedModel) -> tuple[pd.DataFrame, Working]:
        if var is not None:
            made = _slopes(one, asked, ends[0], ends[1], step)
        else:
            made = _means(one, asked, found, kind)
        return (
            _by_category(found.frame, made, asked, kept) if asked.response else (found.frame, made)
        )

    frame, made = work(seen)
    is_response = kind != "link" and made.scale.outward is not None
    drawn = None
    if fit.draws is not None:
        drawn = means_at_draws(fit, lambda one: work(one)[1], is_response=is_response)
        made = made._replace(values=drawn.working.mean(axis=0))
    return MarginalMeans(
        fit=fit,
        kind="mean" if var is None else "slope",
        frame=frame,
        rows=made.rows,
        values=made.values,
        missed=made.missed,
        by=groups,
        is_response=is_response,
        working=made.scale,
        freedom=method if made.vcov is None else Asymptotic(made.vcov),
        drawn=drawn,
    )


class _Asked(NamedTuple):
    """What means are asked for.

    Attributes:
      among: the predictors whose columns enter.
      alone: whether one was named, or is one of several: its own inverse link is what brings it back.
      response: of means for each category, the response's name; else "".
      categories: those that there is a row for.
    """

    among: tuple[NamedPredictor, ...]
    alone: bool
    response: str = ""
    categories: tuple[str, ...] = ()


def _asked(fit: FittedModel, predictor: str | None, kind: str) -> _Asked:
    every = named_predictors(fit)
    if kind == "mean" and predictor is not None:
        wrong = "the mean response is of no predictor by itself"
        raise ModelError(wrong, hint="Leave `predictor` out.")
    if kind == "mean" and fit.model.family.is_unordered:
        cure = 'Use kind="response" for the chances of the categories.'
        raise ModelError("categories without an order have no mean", hint=cure)
    if fit.model.family.is_unordered and predictor is None:
        names = category_names(fit) if kind == "response" else category_names(fit)[1:]
        return _Asked(every, False, fit.model.design.response_name, names)
    chosen = predictor_named(fit, predictor)
    alone = predictor is not None or fit.model.family.is_distributional
    is_joint = kind == "mean" and not mean_is_linear(fit)
    if is_joint or (kind == "response" and needs_all(fit, chosen, alone=alone)):
        return _Asked(every, alone)
    return _Asked((chosen,), alone)


def _means(fit: FittedModel, asked: _Asked, found: Cells, kind: str) -> Working:
    """The means, of categories one after the other for each row of the cells."""
    if kind == "mean" and not mean_is_linear(fit):
        return averaged_means(fit, found, "response")
    if kind == "response":
        if asked.response:
            return averaged_means(fit, found, "prob")
        return on_response(fit, found, asked.among[0], alone=asked.alone)
    if not asked.response:
        return on_link(fit, found, asked.among[0])
    return _log_odds(fit, asked, found.rows, found.grid_offsets, found)


def _slopes(fit: FittedModel, asked: _Asked, low: Cells, high: Cells, step: float) -> Working:
    """Differences over a step, of categories one after the other for each row of the cells."""
    # Relative to what dropped columns are on the grid, over a step relative to the variable's range.
    missed = (high.missed - low.missed) / SLOPE_STEP
    rows = (high.rows - low.rows) / step
    if asked.response:
        made = _log_odds(
            fit, asked, rows, (high.grid_offsets - low.grid_offsets) / step, low
        )._replace(missed=np.repeat(missed, len(asked.categories), axis=0))
    else:
        values = rows @ fit.params.beta + (high.offset - low.offset) / step
        made = Working(rows, values, missed, None, link_scale(fit, asked.among[0]))
    scale = made.scale
    return made._replace(
        scale=scale._replace(mean=scale.difference.replace("difference", "slope", 1))
    )


def _log_odds(
    fit: FittedModel, asked: _Asked, rows: Floats, offsets: Floats, found: Cells
) -> Working:
    """Log odds against the first category, or slopes of them, of each other one for each row."""
    of, count = np.array(fit.model.design.column_predictors, int), len(asked.among)
    each = rows[:, None, :] * (of == np.arange(count)[:, None])
    means = np.einsum("krm,rm->rk", offsets, found.share)
    reference = category_names(fit)[0]
    return Working(
        each.reshape(-1, rows.shape[1]),
        (each @ fit.params.beta + means).reshape(-1),
        np.repeat(found.missed, count, axis=0),
        None,
        Scale(
            f"mean of the log odds against {reference}",
            f"difference of log odds against {reference}",
        ),
    )


def _by_category(
    frame: pd.DataFrame, made: Working, asked: _Asked, kept: Sequence[str]
) -> tuple[pd.DataFrame, Working]:
    """Rows of each category, with a column that names it; the first of the variables varies fastest."""
    count = len(asked.categories)
    places = np.arange(len(frame) * count).reshape(len(frame), count)
    order = (places if kept[0] == asked.response else places.T).reshape(-1)
    whole = frame.loc[order // count].reset_index(drop=True)
    whole[asked.response] = [asked.categories[place] for place in order % count]
    columns = [*kept, *(name for name in frame if name not in kept)]
    return whole[columns], made._replace(
        rows=made.rows[order], values=made.values[order], missed=made.missed[order]
    )


def _slope_step(among: Sequence[NamedPredictor], var: str) -> float:
    columns = observed_of(among[0].design).columns
    found = {column.name: column for column in columns}.get(var)
    if found is None or not found.high > found.low:
        numbers = [c.name for c in columns if c.high > c.low]
        raise ModelError(
            f"{var!r} is not a number among the fixed effects that a slope could be in",
            hint=f"Numbers: {', '.join(numbers) or 'none'}.",
        )
    return SLOPE_STEP * (found.high - found.low)
