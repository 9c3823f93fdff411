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
from lmeformula.estimation.student_maximum import likelihood_by_quadrature, refit_by_quadrature
from lmeformula.family.record import Arrays
from lmeformula.fit import FittedModel
from lmeformula.model.compile import Model
from lmeformula.prediction.averaged import over_uncertain
from lmeformula.prediction.normal_points import normal_average
from lmeformula.prediction.posterior import normal_posterior_of, posterior_of
from lmeformula.prediction.predictive_density import LogDensities, log_predictive, row_log_density
from lmeformula.prediction.predictor import linear_predictor
from lmeformula.prediction.predictor_errors import normals
from lmeformula.prediction.predictor_intervals import Uncertain, uncertain

# Draws for held-out rows are others than those with the same seed elsewhere.
OF_FOLDS = 4


class FoldPredictions(NamedTuple):
    """What a fit without some rows says of them.

    Attributes:
      densities: their log densities, with the error of their sum, by quadrature or draws.
      averages: (n, c) by kind: "response" for expected responses (c is 1), "prob" for chances of categories.
    """

    densities: LogDensities
    averages: dict[str, Floats]


def refit_student(
    fit: FittedModel, model: Model, seed: int, options: Options | None
) -> FittedModel:
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
    if fit.model.space.has_normal_priors:
        eta, spread = linear_predictor(fit, rows), normal_posterior_of(fit).covariances(rows)
        averages = {kind: normal_average(fit, kind, eta, spread) for kind in kinds}
        return FoldPredictions(log_predictive(fit, response, eta, spread), averages)
    rows = replace(rows, terms=_without_unseen(fit, rows))
    what = uncertain(
        fit,
        rows,
        linear_predictor(fit, rows),
        parameters=True,
        posterior=posterior_of(fit, seed=seed),
        new_levels=True,
    )
    work = _by_draws if what.num_draws else _by_mixture
    averages = {kind: over_uncertain(what, kind, [seed, OF_FOLDS]) for kind in kinds}
    return FoldPredictions(work(what, response, seed), averages)


def _without_unseen(fit: FittedModel, rows: Design) -> tuple[TermBlock, ...]:
    """The terms of rows, with levels of which the fit has no rows as unseen ones."""
    found = []
    for block, fitted in zip(rows.terms, fit.model.design.terms, strict=True):
        if block.relation is not None:
            # Relatives tell of levels without rows.
            found.append(block)
            continue
        has_rows = np.bincount(fitted.index.ravel(), minlength=len(fitted.levels)) > 0
        index = np.where(has_rows[block.index], block.index, -1)
        found.append(replace(block, index=index.astype(block.index.dtype)))
    return tuple(found)


def _by_mixture(what: Uncertain, response: Arrays, seed: int) -> LogDensities:
    parts = [
        (np.log(chance), log_predictive(what.fit, response, what.eta, variances[:, None, None]))
        for chance, variances in normals(what.errors())
    ]
    values = logsumexp([log + each.values for log, each in parts], axis=0)
    error = max(each.error for _, each in parts)
    return LogDensities(np.asarray(values), error)


def _by_draws(what: Uncertain, response: Arrays, seed: int) -> LogDensities:
    assert what.posterior is not None
    family, own = what.fit.model.family, what.fit.params.own
    variances = what.variances()
    logs: list[Floats] = []
    for part, about, drawn in what.draws(np.random.default_rng([seed, OF_FOLDS])):
        given = tuple(array[part] for array in response)
        if family.is_normal:
            sds = np.sqrt(variances[part] + own[0] ** 2 / given[1])
            logs.append(scipy.stats.norm.logpdf(given[0], about, sds))
        else:
            logs.append(row_log_density(family, given, own, drawn.T[None]).T)
    whole = np.concatenate(logs, axis=1)
    values = logsumexp(whole, axis=0) - np.log(len(whole))
    # Rows share the draws: their sum has the error of one series of all of them.
    relative = np.exp(whole - values).sum(axis=1)
    error = float(relative.std() / np.sqrt(what.posterior.effective))
    return LogDensities(values, error)
