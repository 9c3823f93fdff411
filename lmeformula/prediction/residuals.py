"""Residuals of the fitted rows, and of new ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import scipy.special

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.design.design import Design, NewRows
from lmeformula.errors import ModelError
from lmeformula.family import Family
from lmeformula.family.categories import category_numbers
from lmeformula.fit import FittedModel, check_single_rows
from lmeformula.prediction.answers import Target, answered
from lmeformula.prediction.distribution import chances, standardized
from lmeformula.prediction.over_draws import over_draws
from lmeformula.prediction.predictor import (
    chances_at,
    linear_predictor,
    mean_response,
    row_family,
)
from lmeformula.prediction.requested import Requested, Wanted, requested

ResidualKind: TypeAlias = Literal["response", "pearson", "deviance", "quantile"]
KINDS = ("response", "pearson", "deviance", "quantile")

# Chances nearer to zero or one than this are not told from them.
LEAST = 2.0**-53


@kinds.takes(
    kind=kinds.one_of(*KINDS),
    seed=kinds.seed,
    new_levels=kinds.one_of("error", "population"),
    to=kinds.optional(kinds.path),
)
def residuals(
    fit: FittedModel,
    kind: ResidualKind = "response",
    *,
    seed: int = 0,
    newdata: object = None,
    new_levels: str = "error",
    offset: object = None,
    weights: object = None,
    to: Target = None,
) -> Any:
    """Compute the residuals of the fitted rows, or of new ones whose response is known.

    Args:
      fit: a fitted model.
      kind: "response" for observed minus fitted; "pearson" divides that by the standard deviation that the
        response has at its fitted mean: in every family with its dispersion or residual sd, its chance of zero,
        the row's weight and number of trials, so that their mean square is about one (R's leave the dispersion
        out for some families, such as the normal and the gamma); "deviance" for the signed square root of the
        row's deviance, times that of its weight, as in R; "quantile" is the standard normal quantile of the
        chance of a response up to the one observed, which is drawn between the chances below and up to it where
        it is one of whole numbers. For every family these are normal where the model is true: a little
        narrower than standard, since the random effects are fitted. Beyond 8 they are cut off, but for normal
        responses. Of a fit by method="nuts" residuals are means over its draws, and quantile ones are of the
        chances in the posterior predictive distribution.
      seed: of the draws for "quantile".
      newdata: a data frame with the columns of the formula, its response among them, or any source that
        `lf.fit` takes; the fitted rows by default.
      new_levels: levels that the fit has not seen: "error", or "population" for an effect of zero.
      offset: as in `predict`.
      weights: prior weights of `newdata` where the fit was given an array.
      to: a Parquet file that the answer is written to, as in `predict`.
    Returns:
      residuals: (n,) with the index of `newdata`, NaN for rows that miss a value; of fitted rows by their
        positions in the data. Where fitted rows have a frequency these are of one of the identical observations
        each; `fit.by_observation.residuals()` repeats them. With `to` the file, as `predict` has it.
    Raises:
      FormulaDataError: if `newdata` lacks a column, or has levels that are not known.
      ModelError: if the kind is unknown, the family has no such residual, or quantile ones are asked of rows
        with a frequency.
    References:
      McCullagh, Nelder (1989), Generalized Linear Models, 2nd ed., section 2.4; Dunn, Smyth (1996), J. Comput.
      Graph. Stat. 5, 236-244, for randomized quantile residuals.
    Example:
      >>> import lmeformula as lf
      >>> ticks = lf.datasets.load("grouseticks")
      >>> fit = lf.fit("TICKS ~ YEAR + (1 | BROOD)", ticks, "poisson", method="laplace")
      >>> bool(0.7 < fit.residuals("quantile", seed=1).std() < 1.5)
      True
    """
    if kind == "quantile" and newdata is None:
        check_single_rows(fit, "quantile residuals, which are drawn,")

    def work(asked: Requested) -> pd.Series:
        rows = with_response(fit, asked.rows)
        is_drawn = kind == "quantile"
        if is_drawn:
            found = _quantiles(fit, rows, seed, asked.number)
        elif fit.draws is not None:
            found = over_draws(fit, lambda each: _of_rows(each, rows, kind))
        else:
            found = _of_rows(fit, rows, kind)
        return pd.Series(asked.spread_out(found), index=asked.index, name="residual")

    wanted = Wanted(
        (True,) * len(fit.model.design.terms),
        new_levels,
        response=True,
        offset=offset,
        weights=weights,
    )
    return answered(requested(fit, newdata, wanted), work, newdata, to)


def with_response(fit: FittedModel, rows: Design | NewRows) -> Design:
    """Fitted rows, or new ones as the design that fitted ones are of; unseen levels are -1, -2, ...."""
    if isinstance(rows, Design):
        return rows
    return replace(rows.in_place_of(fit.model.design), response=rows.response)


def _of_rows(fit: FittedModel, rows: Design, kind: str) -> Floats:
    """(n,) residuals that are not drawn."""
    family = fit.model.family
    eta = linear_predictor(fit, rows)
    mu = mean_response(fit, eta)
    observed, weights = observed_mean(family, rows)
    values = observed - mu
    if kind == "deviance":
        if family.deviance is None:
            raise ModelError(
                f"the {family.name} family has no deviance residuals here",
                hint='Use kind="quantile", which every family has.',
            )
        # Rounding may leave a deviance of zero below it.
        found = np.maximum(family.deviance(observed, mu, fit.params.own), 0.0)
        return np.asarray(np.sign(values) * np.sqrt(weights * found))
    if kind == "pearson":
        # What is predicted perfectly is met, with no variance that a number could hold.
        spread = np.sqrt(_variances(fit, rows, eta, mu, weights))
        values = np.divide(values, spread, out=np.zeros_like(values), where=values != 0.0)
    return np.asarray(values)


def _variances(fit: FittedModel, rows: Design, eta: Floats, mu: Floats, weights: Floats) -> Floats:
    """(n,) of the responses, as shares of trials, at their means: with all that makes them vary."""
    whole = fit.model.family
    if whole.categories is not None and whole.probabilities is not None:
        chances = chances_at(fit, eta)
        apart = 1.0 + np.arange(chances.shape[1]) - mu[:, None]
        return np.asarray((chances * apart**2).sum(axis=1) / weights)
    family, _, own = row_family(fit, eta, fit.params.own)
    if family.variance is None:
        raise ModelError(
            f"the {family.name} family has no Pearson residuals here",
            hint='Use kind="response".',
        )
    if family.overdispersion is not None:
        trials = family.response(rows)[1]
        weights = weights / family.overdispersion(trials, own)
    return np.asarray(family.variance(mu, own) / weights)


def _quantiles(fit: FittedModel, rows: Design, seed: int, block: int) -> Floats:
    """(n,) randomized quantile residuals; each block of rows has draws of its own."""
    if fit.draws is not None:
        return _predictive(fit, rows, seed, block)
    eta, response = linear_predictor(fit, rows), fit.model.family.response(rows)
    if fit.model.family.is_normal:
        return standardized(fit, eta, response)
    later = (block,) * (block > 0)
    uniform, probe = (np.random.SeedSequence(seed, spawn_key=(i, *later)) for i in range(2))
    below, upto = chances(fit, eta, response, probe)
    place = below + np.random.default_rng(uniform).uniform(size=rows.n) * (upto - below)
    return np.asarray(scipy.special.ndtri(np.clip(place, LEAST, 1.0 - LEAST)))


def _predictive(fit: FittedModel, rows: Design, seed: int, block: int) -> Floats:
    """(n,) of the chances of responses in the posterior predictive distribution: means over draws."""
    response = fit.model.family.response(rows)
    uniform, probe = (np.random.SeedSequence(seed, spawn_key=(i, block)) for i in range(2))
    both = over_draws(
        fit, lambda each: np.array(chances(each, linear_predictor(each, rows), response, probe))
    )
    place = both[0] + np.random.default_rng(uniform).uniform(size=rows.n) * (both[1] - both[0])
    return np.asarray(scipy.special.ndtri(np.clip(place, LEAST, 1.0 - LEAST)))


def observed_mean(family: Family, rows: Design | NewRows) -> tuple[Floats, Floats]:
    """Bring the response to the scale of its mean: a proportion where it counts successes.

    Args:
      family: whose mean it is compared with.
      rows: with a response of numbers, of two categories, or of successes and failures.
    Returns:
      observed: (n,) the response.
      weights: (n,) prior weights times numbers of trials.
    Raises:
      ModelError: if the response has no mean to compare with, or there is none.
    """
    response = rows.response
    if response is None or (response.values.ndim == 2 and response.values.shape[1] != 2):
        raise ModelError("there are no residuals: the formula has no response with a mean")
    weights = np.ones(len(rows.offset)) if rows.weights is None else rows.weights
    if family.categories is not None:
        return category_numbers(response), weights
    if response.values.ndim == 2:
        trials = response.values.sum(axis=1)
        return response.values[:, 0] / trials, weights * trials
    if response.trials is not None:
        return response.values / response.trials, weights * response.trials
    return response.values, weights
