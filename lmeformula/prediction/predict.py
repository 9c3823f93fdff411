"""Predictions for the fitted rows and for new ones."""

from __future__ import annotations

import functools
from typing import Any, Literal, TypeAlias

import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.fit import FittedModel
from lmeformula.prediction.answers import Target, answered
from lmeformula.prediction.averaged import averaged_over, known_effects
from lmeformula.prediction.kept_effects import ReForm, kept_columns, only_columns, some_effects
from lmeformula.prediction.over_draws import mean_prediction
from lmeformula.prediction.predictor import (
    PredictionKind,
    category_names,
    has_new_level,
    linear_predictor,
    link_columns,
    predicted_at,
)
from lmeformula.prediction.requested import NEW_LEVELS, Requested, Wanted, requested

NewLevels: TypeAlias = Literal["error", "population", "sample"]


@kinds.takes(
    kind=kinds.one_of("response", "link", "prob"),
    re_form=some_effects,
    new_levels=kinds.one_of(*NEW_LEVELS),
    averaged=kinds.flag,
    to=kinds.optional(kinds.path),
)
def predict(
    fit: FittedModel,
    newdata: object = None,
    *,
    kind: PredictionKind = "response",
    re_form: ReForm = None,
    new_levels: NewLevels = "error",
    offset: object = None,
    averaged: bool = False,
    to: Target = None,
) -> Any:
    """Predict the mean of the response, or the chances of its categories.

    Of a model with several linear predictors `kind="link"` gives a data frame with a column for each.
    A response that is written as a function, such as log(y), is predicted as it is written, as lme4 does;
    `fit.emmeans(..., kind="response")` brings marginal means back, and family="lognormal" has means of y.
    Of a fit by method="nuts" predictions are posterior means: averages over draws of parameters and effects.

    Args:
      fit: a fitted model.
      newdata: a data frame with the columns that the formula uses (the response may be missing), or any source
        that `lf.fit` takes, whose rows are read a block at a time; the fitted rows by default.
      kind: "response" for the scale of the response, "link" for the linear predictor, "prob" for the
        probabilities of ordered categories. On the response scale a nonlinear link is applied to the linear
        predictor at the effects of `fit.ranef`, as lme4 does, unless `averaged`; there ordered categories
        count as 1, 2, ....
      re_form: None adds the random effects of each row's levels; "NA" leaves them all out and predicts
        the population; a formula with some of the terms, or some of their coefficients, such as "~ (1 | g)",
        adds those, and asks for no columns of the others. With several predictors a formula is for each that
        has its terms; a mapping, {"mu": "~ (1 | g)", "sigma": "~ 0"}, says it by predictor, and those that it
        does not name keep all.
      new_levels: what to do with rows whose level the fit has not seen: "error"; "population" to predict them
        with an effect of zero for that factor; "sample" to average responses and chances over the distribution
        of its effects, which a nonlinear link makes different; infinite where effects have a t distribution and
        the link's inverse grows faster than its tails fall, as exp does.
      offset: (rows of `newdata`,) numbers, needed where the fit was given its offset as an array.
      averaged: average responses and chances over the uncertainty of fixed and random effects, rather than take
        them at the estimates: fixed effects are normal; effects of a single grouping factor have their
        distribution given the data, and those of several are normal about their means. Several linear
        predictors are averaged over jointly.
      to: a Parquet file, "predictions.parquet", that the answer is written to as it is worked out, in the order
        of the rows; memory holds a block of them. It is there whole, or not at all.
    Returns:
      predictions: one a row, with the index of `newdata` where it has one, else the positions of the
        rows in the fitted data; NaN for rows of `newdata` with a missing value. Probabilities are a data frame
        with a column for each category. With `to` the file, as a source of the kind of `newdata`: a LazyFrame
        for a LazyFrame, a DuckDB relation for a relation; its path for paths and for tables in memory.
    Raises:
      FormulaDataError: if `newdata` lacks a column, or has new levels and `new_levels` is "error".
      ModelError: if an option is not one of those named here, or the uncertainty is asked of a model whose
        equations are too large.
    """
    masks = kept_columns(fit, re_form)
    kept = tuple(bool(mask.any()) for mask in masks)
    columns: tuple[str, ...] = ("prediction",)
    if kind == "prob":
        columns = category_names(fit)
    elif kind == "link":
        columns = link_columns(fit) or columns
    # For all blocks, once the first has been read.
    known = functools.cache(
        lambda: known_effects(fit, kept) if averaged and fit.draws is None else None
    )

    def work(asked: Requested) -> pd.Series | pd.DataFrame:
        rows = only_columns(asked.rows, masks)
        is_drawn = new_levels == "sample" and bool(has_new_level(rows, kept).any())
        if fit.draws is not None:
            found = mean_prediction(fit, kind, rows, kept, samples=is_drawn)
            return framed(asked, found)
        if kind == "link" or not (averaged or is_drawn):
            found = predicted_at(fit, kind, linear_predictor(fit, rows, with_random=kept))
        else:
            found = averaged_over(fit, kind, rows, kept, known=known(), new_levels=is_drawn)
        return framed(asked, found)

    def framed(asked: Requested, found: Floats) -> pd.Series | pd.DataFrame:
        values = asked.spread_out(found)
        if columns[0] != "prediction":
            return pd.DataFrame(values, index=asked.index, columns=list(columns))
        return pd.Series(values[:, 0], index=asked.index, name=columns[0])

    blocks = requested(fit, newdata, Wanted(kept, new_levels, offset=offset))
    return answered(blocks, work, newdata, to)


def fitted(fit: FittedModel) -> pd.Series:
    """Predict the rows that were fitted, with their random effects, on the response scale.

    Args:
      fit: a fitted model.
    Returns:
      fitted: (n,) indexed by the positions of the rows in the data.
    """
    found: pd.Series = predict(fit)
    return found.rename("fitted")
