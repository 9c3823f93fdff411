"""Predictions of every kind by one call: means, intervals, or draws of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lmeformula.arguments import kinds
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.prediction.kept_effects import ReForm
from lmeformula.prediction.predict import predict as predict_means
from lmeformula.prediction.predict_draws import predict_draws
from lmeformula.prediction.predict_intervals import predict_interval

if TYPE_CHECKING:
    import pandas as pd


class Way(NamedTuple):
    """One way to predict: its name in messages, and which arguments it takes besides those that all take."""

    words: str
    takes: frozenset[str]


MEANS = Way("predictions without an interval", frozenset({"kind", "averaged"}))
INTERVALS = Way(
    "predictions with an interval",
    frozenset({"kind", "interval", "level", "weights", "include", "seed", "num_draws"}),
)
DRAWS = Way('predictions of kind="draws"', frozenset({"seed", "num_draws"}))
WAYS = (MEANS, INTERVALS, DRAWS)
# An argument that was not given: what each way has by default.
NOT_GIVEN: dict[str, Any] = {
    "averaged": False,
    "interval": None,
    "level": 0.95,
    "weights": None,
    "include": None,
    "seed": 0,
    "num_draws": None,
}


@kinds.takes(kind=kinds.one_of("response", "link", "prob", "draws"))
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
) -> pd.Series | pd.DataFrame:
    """Predict means, means or responses with intervals, or draws of means.

    Args:
      fit: a fitted model.
      newdata: a data frame with the columns that the formula uses; the fitted rows by default.
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
    Returns:
      predictions: a series; a frame for categories, several predictors, intervals and draws.
    Raises:
      FormulaDataError: if `newdata` lacks a column, or has levels that are not known.
      ModelError: for an option that does not exist, or that is of another way to predict.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"))
      >>> predict(fit, {"Days": [9.0], "Subject": ["308"]}).round(1).tolist()
      [430.1]
    """
    common: dict[str, Any] = {"re_form": re_form, "new_levels": new_levels, "offset": offset}
    own: dict[str, Any] = {
        "interval": interval,
        "averaged": averaged,
        "level": level,
        "weights": weights,
        "include": include,
        "seed": seed,
        "num_draws": num_draws,
    }
    given = {name: value for name, value in own.items() if not _is_default(name, value)}
    if kind == "draws" and interval is None:
        _refuse_others(given, DRAWS)
        return predict_draws(fit, newdata, **common, **given)
    common["kind"] = kind
    if interval is not None:
        _refuse_others(given, INTERVALS)
        return predict_interval(fit, newdata, **common, **given)
    _refuse_others(given, MEANS)
    return predict_means(fit, newdata, **common, **given)


def _is_default(name: str, value: object) -> bool:
    """Whether a plain value is the default one, so that giving it changes nothing."""
    default = NOT_GIVEN[name]
    return type(value) is type(default) and value == default


def _refuse_others(given: dict[str, Any], way: Way) -> None:
    """Refuse an argument of another way to predict.

    Raises:
      ModelError: that names it, and what it belongs to.
    """
    for name in given:
        if name not in way.takes:
            others = " and ".join(other.words for other in WAYS if name in other.takes)
            raise ModelError(
                f"{name} is an argument of {others}, and these are {way.words}",
                hint='interval="confidence" or "prediction" asks for an interval, kind="draws" for draws.',
            )
