"""Confidence and prediction intervals of predictions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.design.design import Design, NewRows
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.prediction.answers import Target, answered
from lmeformula.prediction.averaged import averaged_over
from lmeformula.prediction.distribution import needs_response
from lmeformula.prediction.intervals import cutoff
from lmeformula.prediction.kept_effects import (
    ReForm,
    kept_columns,
    only_columns,
    some_effects,
)
from lmeformula.prediction.mean_intervals import COLUMNS, framed_by_name
from lmeformula.prediction.over_draws import (
    drawn_responses,
    predictions,
    quantiles_of,
    response_quantiles,
)
from lmeformula.prediction.posterior import posterior_of
from lmeformula.prediction.predictor import (
    category_names,
    has_new_level,
    linear_predictor,
    link_columns,
    mean_response,
)
from lmeformula.prediction.predictor_intervals import simulated_quantiles, uncertain
from lmeformula.prediction.requested import NEW_LEVELS, Requested, Wanted, requested

SOURCES = ("parameters", "effects", "residual")
DEFAULTS = {"confidence": ("parameters", "effects"), "prediction": SOURCES}


MOST_DRAWS = 1_000_000


@kinds.takes(
    interval=kinds.one_of(*DEFAULTS),
    level=kinds.coverage,
    kind=kinds.one_of("response", "link", "prob"),
    re_form=some_effects,
    new_levels=kinds.one_of(*NEW_LEVELS),
    include=kinds.optional(kinds.names),
    seed=kinds.seed,
    num_draws=kinds.whole(1, MOST_DRAWS),
    to=kinds.optional(kinds.path),
)
def predict_interval(
    fit: FittedModel,
    newdata: object = None,
    *,
    interval: str = "confidence",
    level: float = 0.95,
    kind: str = "response",
    re_form: ReForm = None,
    new_levels: str = "error",
    offset: object = None,
    weights: object = None,
    include: Sequence[str] | None = None,
    seed: int = 0,
    num_draws: int = 4000,
    to: Target = None,
) -> Any:
    """Predict with intervals.

    "confidence" is for the mean of the response of a row, "prediction" for a response. Of a fit by
    method="nuts" both are quantiles over its draws of all parameters and effects. Of others: Fixed effects, the
    family's own parameters and random effects are jointly normal about their estimates (exactly so for Gaussian
    models with known variances); that the variances of random effects are estimated is left out of account, and
    so are own parameters that ended at a boundary. Effects by Student's t are draws given the data, which move
    with the parameters as their means do. Gaussian intervals have normal quantiles. Where the mean of other
    families depends on one linear predictor alone, its confidence interval is that of the predictor, brought to
    the response by the inverse link. Where it depends on more (thresholds, a chance of zero, the sigma of a
    lognormal response, several predictors) it is by the delta method over all of them: in logarithms for
    positive means, else symmetric, and cut off at the lowest and highest category, or at chances of 0 and 1.
    Prediction intervals are quantiles of simulated responses: of linear predictors and own parameters with
    their uncertainty, and responses of the family given each. On the scale of several linear predictors,
    `kind="link"`, each has three columns; so has each category with `kind="prob"`. A predictor of ordered
    categories is measured from the mean of the thresholds, whose error is part of its interval.

    Args:
      fit: a fitted model.
      newdata: as in `predict`; the fitted rows by default.
      interval: "confidence" or "prediction".
      level: coverage.
      kind: "response" or, for confidence, also "link" and, of categories, "prob" for their chances.
      re_form: None predicts with the effects of each row's levels; "NA" without random effects; a formula
        with some of the terms, such as "~ (1 | g)", with those, and the uncertainty of those; a mapping says it
        by predictor, as in `predict`.
      new_levels: levels that the fit has not seen: "error"; "population", an effect of zero, without
        uncertainty; "sample", drawn from the distribution of effects. Effects by Student's t have their own
        quantiles, together with the normal errors of what else is uncertain.
      offset: as in `predict`.
      weights: prior weights of `newdata`, for prediction intervals of fits that were given an array.
      include: the sources of uncertainty: any of "parameters" (fixed effects and the family's own), "effects"
        (random effects, given the data) and "residual". By default the first two for confidence, all for
        prediction.
      seed: of simulated responses, and of draws of effects by Student's t.
      num_draws: how many responses are simulated for a row, and how many draws those effects have: ends have a
        Monte Carlo error, of some 4 / 100 standard deviations with 4,000 draws and a coverage of 95 %, and more
        where a level's responses are all alike, and its draws hang together.
      to: a Parquet file that the answer is written to, as in `predict`.
    Returns:
      frame: estimate, lower, upper; one row for each of `newdata`, NaN where it misses a value. Successes out
        of trials are proportions, ordered categories their number from 1. The estimate of a level that is
        sampled is the average over its effects, as that of `predict`. With `to` the file, as there.
    Raises:
      FormulaDataError: as `predict`.
      ModelError: for an option that is not listed here.
    References:
      Henderson (1975), Biometrics 31, 423-447, for the variance of prediction errors.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"), reml=True)
      >>> new = {"Batch": ["G"]}
      >>> predict_interval(fit, new, interval="prediction", new_levels="sample").round(1).values.tolist()
      [[1527.5, 1394.7, 1660.3]]
    """
    a_source = kinds.one_of(*SOURCES)
    sources = DEFAULTS[interval] if include is None else [a_source("include", s) for s in include]
    has_residual = "residual" in sources
    if fit.draws is not None and set(sources) != set(DEFAULTS[interval]):
        raise ModelError(
            'intervals of a fit by method="nuts" have all that its draws are uncertain of',
            hint='Leave include out; interval="prediction" has the residual besides.',
        )
    is_gaussian = fit.model.family.is_normal
    if kind == "prob" and fit.model.family.categories is None:
        raise ModelError(
            f"kind is 'prob', and the {fit.model.family.name} family has no categories with chances",
            hint='Use kind="response" for the mean, which for yes and no is the probability of yes.',
        )
    if has_residual and (kind == "prob" or (kind == "link" and not is_gaussian)):
        raise ModelError(
            "a response has no chance of its own"
            if kind == "prob"
            else "a response has no value on the scale of the linear predictor",
            hint='Use kind="response", or leave "residual" out of `include`.',
        )
    masks = kept_columns(fit, re_form)
    kept = tuple(bool(mask.any()) for mask in masks)
    with_random = any(kept)
    with_effects = "effects" in sources and with_random
    # For all blocks, once the first has been read.
    posterior = functools.cache(lambda: posterior_of(fit, num_draws, seed))

    def asked_of_draws(rows: Design | NewRows) -> pd.DataFrame:
        samples = new_levels == "sample"
        if has_residual:
            means = predictions(fit, kind, rows, kept, samples=samples, seed=seed, count=num_draws)
            estimate = np.mean([each[:, 0] for each in means], axis=0)
            each = drawn_responses(fit, rows, kept, samples=samples, seed=seed, count=num_draws)
            return _framed([estimate, *response_quantiles(fit, rows, each, level)])
        found = np.array(
            list(predictions(fit, kind, rows, kept, samples=samples, seed=seed, count=num_draws))
        )
        ends = quantiles_of(found, level).transpose(1, 2, 0)
        names = category_names(fit) if kind == "prob" else link_columns(fit)
        if kind == "prob" or (kind == "link" and names):
            return framed_by_name(ends, names)
        return _framed(list(ends[:, 0].T))

    def work(asked: Requested) -> pd.DataFrame:
        if not asked.places.size:
            return pd.DataFrame(np.nan, index=asked.index, columns=_columns(fit, kind))
        rows = only_columns(asked.rows, masks)
        if fit.draws is not None:
            return asked_of_draws(rows)
        if isinstance(rows, Design) and not with_random:
            rows = replace(rows.as_rows(), terms=())
        what = uncertain(
            fit,
            rows,
            linear_predictor(fit, rows, with_random=with_random),
            parameters="parameters" in sources,
            posterior=posterior() if with_effects else None,
            new_levels=with_effects and new_levels == "sample",
        )
        if kind == "link" and link_columns(fit):
            variances = np.einsum("nkk->kn", what.covariances())
            half = cutoff(level) * np.sqrt(np.maximum(variances, 0.0))
            each = np.stack([what.eta, what.eta - half, what.eta + half]).transpose(2, 1, 0)
            frame = framed_by_name(each, link_columns(fit))
        elif kind == "prob":
            frame = framed_by_name(what.means("prob", level), category_names(fit))
        elif has_residual and not is_gaussian:
            low, high = simulated_quantiles(what, level, seed, num_draws, asked.number)
            frame = _framed([mean_response(fit, what.eta), low, high])
        elif is_gaussian or kind == "link":
            added: Floats | float = 0.0
            if has_residual:
                added = fit.params.residual_sd**2 / (1.0 if rows.weights is None else rows.weights)
            frame = _framed([what.eta[0], *(what.eta[0] + what.ends(level, added))])
        else:
            frame = pd.DataFrame(what.means("response", level)[:, 0], columns=list(COLUMNS))
        is_averaged = new_levels == "sample" and not is_gaussian and kind != "link"
        if is_averaged and newdata is not None and has_new_level(rows, kept).any():
            # Estimates of rows of new levels are averages over their effects, as `predict` has them.
            averages = averaged_over(fit, kind, rows, kept, known=None, new_levels=True)
            frame.iloc[:, :: len(COLUMNS)] = averages
        whole = asked.spread_out(frame.to_numpy())
        return pd.DataFrame(whole, index=asked.index, columns=frame.columns)

    wanted = Wanted(
        kept,
        new_levels,
        sizes=has_residual and needs_response(fit),
        offset=offset,
        weights=weights,
    )
    return answered(requested(fit, newdata, wanted), work, newdata, to)


def _columns(fit: FittedModel, kind: str) -> list[str]:
    """What the columns are called."""
    names = link_columns(fit) if kind == "link" else ()
    if kind == "prob":
        names = category_names(fit)
    if not names:
        return list(COLUMNS)
    return list(framed_by_name(np.zeros((0, len(names), len(COLUMNS))), names))


def _framed(columns: Sequence[Floats]) -> pd.DataFrame:
    return pd.DataFrame(np.column_stack(columns), columns=list(COLUMNS))
