"""Predictions of every kind by one call: means, intervals, or draws of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lmeformula.arguments import kinds
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.prediction.answers import Target
from lmeformula.prediction.kept_effects import ReForm
from lmeformula.prediction.predict import predict as predict_means
from lmeformula.prediction.predict_draws import predict_draws
from lmeformula.prediction.predict_intervals import predict_interval

# What each way to predict is called in messages.
WAYS: dict[Callable[..., Any], str] = {
    predict_means: "predictions without an interval",
    predict_interval: "predictions with an interval",
    predict_draws: 'predictions of kind="draws"',
}


@kinds.takes(kind=kinds.one_of("response", "link", "prob", "draws"), to=kinds.optional(kinds.path))
def predict(
    fit: FittedModel,
    newdata: object = None,
    *,
    interval: str | None = None,
    kind: str = "response",
    re_form: ReForm = None,
    new_levels: str = "error",
    offset: object = None,
    averaged: bool = False,
    level: float = 0.95,
    weights: object = None,
    include: Sequence[str] | None = None,
    seed: int = 0,
    num_draws: int | None = None,
    to: Target = None,
) -> Any:
    """Predict means, means or responses with intervals, or draws of means.

    Args:
      fit: a fitted model.
      newdata: a data frame with the columns that the formula uses, or any source that `lf.fit` takes, such as a
        path, whose rows are read a block at a time; the fitted rows by default.
      interval: "confidence" or "prediction" for a frame of estimate, lower and upper; see
        `predict_intervals.predict_interval`.
      kind: "response", "link" or "prob", as in `predict.predict`; "draws" for a column for each draw of the
        effects, see `predict_draws.predict_draws`.
      re_form: None predicts with the effects of each row's levels, "NA" without; a formula with some of them.
      new_levels: "error", "population" or "sample", for levels that the fit has not seen.
      offset: (rows of `newdata`,) numbers, where the fit was given its offset as an array.
      averaged: average over the uncertainty of the effects; not with intervals and draws, which have it.
      level: coverage of intervals.
      weights: prior weights of `newdata`, for prediction intervals of fits that were given an array.
      include: the sources of uncertainty of intervals.
      seed: of intervals' simulated responses, and of draws.
      num_draws: how many; by default 4000 simulated responses for an interval, and 200 draws.
      to: a Parquet file, "predictions.parquet", that the answer is written to as it is worked out, in the order
        of the rows; memory holds a block of them. It is there whole, or not at all.
    Returns:
      predictions: a series; a frame for categories, several predictors, intervals and draws. With `to` the
        file, as a source of the kind of `newdata`: a LazyFrame for a LazyFrame, a DuckDB relation for a
        relation; its path for paths and for tables in memory.
    Raises:
      FormulaDataError: if `newdata` lacks a column, or has levels that are not known.
      ModelError: for an option that does not exist, or that is of another way to predict.
      OSError: if the file cannot be written.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"))
      >>> predict(fit, {"Days": [9.0], "Subject": ["308"]}).round(1).tolist()
      [430.1]
    """
    common: dict[str, Any] = {
        "re_form": re_form,
        "new_levels": new_levels,
        "offset": offset,
        "to": to,
    }
    own: dict[str, Any] = {
        "interval": interval,
        "averaged": averaged,
        "level": level,
        "weights": weights,
        "include": include,
        "seed": seed,
        "num_draws": num_draws,
    }
    defaults = _parameters(predict)
    given = {name: own[name] for name in own if not _same(own[name], defaults[name].default)}
    way: Callable[..., Any] = predict_means if interval is None else predict_interval
    if kind == "draws" and interval is None:
        way = predict_draws
    else:
        common["kind"] = kind
    for name in given:
        if not _takes(way, name):
            others = " and ".join(words for other, words in WAYS.items() if _takes(other, name))
            raise ModelError(
                f"{name} is an argument of {others}, and these are {WAYS[way]}",
                hint='interval="confidence" or "prediction" asks for an interval, kind="draws" for draws.',
            )
    return way(fit, newdata, **common, **given)


@functools.cache
def _parameters(way: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(way).parameters


def _takes(way: Callable[..., Any], name: str) -> bool:
    return name in _parameters(way)


def _same(value: object, default: object) -> bool:
    """Whether a plain value is the default one, so that giving it changes nothing."""
    return type(value) is type(default) and value == default
