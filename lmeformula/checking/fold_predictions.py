"""Rows that a fit was made without - their densities, means and chances; and fits without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import scipy.stats
from scipy.special import logsumexp

from lmeformula.arrays import Floats
from lmeformula.design.design import Design, TermBlock
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options
from lmeformula.estimation.dispatch import estimate
from lmeformula.estimation.student_effects import is_heavy
from lmeformula.estimation.student_maximum import likelihood_by_quadrature, refit_by_quadrature
from lmeformula.fit import FittedModel
from lmeformula.model.compile import Model
from lmeformula.prediction.averaged import mean_over_draws, over_errors
from lmeformula.prediction.heavy_errors import normals
from lmeformula.prediction.normal_points import normal_average
from lmeformula.prediction.posterior import posterior_of
from lmeformula.prediction.predictive_density import LogDensities, log_predictive, row_log_density
from lmeformula.prediction.predictor import linear_predictor
from lmeformula.prediction.predictor_intervals import Uncertain, uncertain

Arrays = tuple[Floats, ...]


class FoldPredictions(NamedTuple):
    """What a fit without some rows says of them.

    Attributes:
      densities: their log densities, with the error of their sum, by quadrature or draws.
      averages: (n, c) by kind: "response" for expected responses (c is 1), "prob" for chances of categories.
    """

    densities: LogDensities
    averages: dict[str, Floats]


def refit_heavy(fit: FittedModel, model: Model, seed: int, options: Options | None) -> FittedModel:
    """Fit a model to some rows of a fit's data: from its estimates by quadrature, or by Monte Carlo EM.

    Raises:
      KeyboardInterrupt: that the engine was stopped by.
    """
    likelihood = likelihood_by_quadrature(model)
    if likelihood is not None:
        return refit_by_quadrature(fit, model, likelihood)
    found = estimate(model, method="mcem", seed=seed, options=options)
    if found.outcome is Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    return found


def predict_fold(
    fit: FittedModel, rows: Design, response: Arrays, kinds: Sequence[str], seed: int
) -> FoldPredictions:
    """Predict rows that a fit was made without.

    Where effects are normal, so are the rows' predictors. Of effects by Student's t, rows of which no level has
    other rows have exact mixtures of normals; all others draws of the effects given the data.

    Args:
      fit: of the other rows.
      rows: the held-out rows.
      response: their response arrays.
      kinds: what else is predicted beside densities: any of "response" and "prob".
      seed: of the draws.
    """
    if not is_heavy(fit.model):
        eta, spread = linear_predictor(fit, rows), posterior_of(fit).covariances(rows)
        averages = {kind: normal_average(fit, kind, eta, spread) for kind in kinds}
        return FoldPredictions(log_predictive(fit, response, eta, spread), averages)
    rows = replace(rows, terms=_without_unseen(fit, rows))
    what = uncertain(
        fit,
        rows,
        linear_predictor(fit, rows),
        parameters=True,
        effects=True,
        new_levels=True,
        seed=seed,
    )
    if what.sampled is None:
        return _by_mixture(what, response, kinds)
    return _by_draws(what, response, kinds, seed)


def _without_unseen(fit: FittedModel, rows: Design) -> tuple[TermBlock, ...]:
    """The terms of rows, with levels of which the fit has no rows as unseen ones."""
    found = []
    for block, fitted in zip(rows.terms, fit.model.design.terms, strict=True):
        has_rows = np.bincount(fitted.index, minlength=len(fitted.levels)) > 0
        index = np.where(has_rows[block.index], block.index, -1)
        found.append(replace(block, index=index.astype(block.index.dtype)))
    return tuple(found)


def _by_mixture(what: Uncertain, response: Arrays, kinds: Sequence[str]) -> FoldPredictions:
    fit, eta = what.fit, what.eta
    errors = what.heavy(what.rows)._replace(variances=what.variances())
    parts = [
        (np.log(chance), log_predictive(fit, response, eta, variances[:, None, None]))
        for chance, variances in normals(errors)
    ]
    values = logsumexp([log + each.values for log, each in parts], axis=0)
    error = max(each.error for _, each in parts)
    spread = errors.variances[:, None, None]
    means = {kind: over_errors(fit, kind, eta, spread, errors) for kind in kinds}
    return FoldPredictions(LogDensities(np.asarray(values), error), means)


def _by_draws(
    what: Uncertain, response: Arrays, kinds: Sequence[str], seed: int
) -> FoldPredictions:
    assert what.sampled is not None
    fit, family, own = what.fit, what.fit.model.family, what.fit.params.own
    variances = what.variances()
    logs: list[Floats] = []
    means: dict[str, list[Floats]] = {kind: [] for kind in kinds}
    for part, about, drawn in what.draws(np.random.default_rng([seed, 4])):
        given = tuple(array[part] for array in response)
        if family.is_normal:
            sds = np.sqrt(variances[part] + own[0] ** 2 / given[1])
            logs.append(scipy.stats.norm.logpdf(given[0], about, sds))
        else:
            logs.append(row_log_density(family, given, own, drawn.T[None]).T)
        for kind, found in means.items():
            found.append(mean_over_draws(fit, kind, drawn))
    whole = np.concatenate(logs, axis=1)
    values = logsumexp(whole, axis=0) - np.log(len(whole))
    # Rows share the draws: their sum has the error of one series of all of them.
    relative = np.exp(whole - values).sum(axis=1)
    error = float(relative.std() / np.sqrt(what.sampled.effective))
    averages = {kind: np.concatenate(found) for kind, found in means.items()}
    return FoldPredictions(LogDensities(values, error), averages)
