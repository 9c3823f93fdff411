"""Held-out rows of a model with effects by Student's t - their densities, means and chances."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from lmeformula.arrays import Floats
from lmeformula.design.design import Design, TermBlock
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options
from lmeformula.estimation.dispatch import estimate
from lmeformula.estimation.student_maximum import refit_by_quadrature
from lmeformula.fit import FittedModel
from lmeformula.model.compile import Model
from lmeformula.prediction.averaged import of_kind, over_errors
from lmeformula.prediction.equations import terms_of
from lmeformula.prediction.heavy_errors import normals
from lmeformula.prediction.predictive_density import LogDensities, log_predictive, row_log_density
from lmeformula.prediction.predictor import linear_predictor
from lmeformula.prediction.predictor_intervals import Uncertain, uncertain
from lmeformula.startup import import_tensorflow

Arrays = tuple[Floats, ...]

# Numbers worked out at a time.
NUMBERS = 2_000_000


class HeldOut(NamedTuple):
    """What a fit without some rows says of them.

    Attributes:
      densities: their log densities, with the Monte Carlo error of their sum.
      means: (n,) expected responses.
      chances: (n, K) of categories; None where there are none.
    """

    densities: LogDensities
    means: Floats
    chances: Floats | None


def refit_heavy(fit: FittedModel, model: Model, seed: int, options: Options | None) -> FittedModel:
    """Fit a model to some rows of a fit's data: from its estimates by quadrature, or by Monte Carlo EM.

    Raises:
      KeyboardInterrupt: that the engine was stopped by.
    """
    import_tensorflow()
    from lmeformula.sampling.student_problem import HeavyModel
    from lmeformula.sampling.student_quadrature import heavy_likelihood

    likelihood = heavy_likelihood(HeavyModel(model))
    if likelihood is not None:
        return refit_by_quadrature(fit, model, likelihood)
    found = estimate(model, method="mcem", seed=seed, options=options)
    if found.outcome is Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    return found


def held_out(fit: FittedModel, rows: Design, response: Arrays, seed: int) -> HeldOut:
    """Predict rows that a fit was made without.

    Rows of which no level of a t effect has other rows have exact mixtures of normals; all others draws of the
    effects given the data.

    Args:
      fit: of the other rows.
      rows: the held-out rows.
      response: their response arrays.
      seed: of the draws.
    """
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
    kinds = ("response", "prob") if fit.model.family.categories is not None else ("response",)
    if what.sampled is None:
        densities, found = _by_mixture(what, response, kinds)
    else:
        densities, found = _by_draws(what, response, kinds, seed)
    chances = found[1] if len(found) > 1 else None
    return HeldOut(densities, found[0][:, 0], chances)


def _without_unseen(fit: FittedModel, rows: Design) -> tuple[TermBlock, ...]:
    """The terms of rows, with levels of which the fit has no rows as unseen ones."""
    found = []
    for block, fitted in zip(rows.terms, fit.model.design.terms, strict=True):
        has_rows = np.bincount(fitted.index, minlength=len(fitted.levels)) > 0
        index = np.where(has_rows[block.index], block.index, -1)
        found.append(replace(block, index=index.astype(block.index.dtype)))
    return tuple(found)


def _by_mixture(
    what: Uncertain, response: Arrays, kinds: tuple[str, ...]
) -> tuple[LogDensities, list[Floats]]:
    fit, eta = what.fit, what.eta
    errors = what.heavy(what.rows)._replace(variances=what.variances())
    parts = [
        (np.log(chance), log_predictive(fit, response, eta, variances[:, None, None]))
        for chance, variances in normals(errors)
    ]
    values = logsumexp([log + each.values for log, each in parts], axis=0)
    error = max(each.error for _, each in parts)
    spread = errors.variances[:, None, None]
    means = [over_errors(fit, kind, eta, spread, errors) for kind in kinds]
    return LogDensities(np.asarray(values), error), means


def _by_draws(
    what: Uncertain, response: Arrays, kinds: tuple[str, ...], seed: int
) -> tuple[LogDensities, list[Floats]]:
    fit = what.fit
    assert what.sampled is not None
    family, own = fit.model.family, fit.params.own
    variances, random = what.variances(), np.random.default_rng([seed, 4])
    work = [of_kind(fit, kind) for kind in kinds]
    logs: list[Floats] = []
    means: list[list[Floats]] = [[] for _ in kinds]
    size = max(1, NUMBERS // len(what.sampled.effects[0]))
    for start in range(0, len(variances), size):
        part = slice(start, start + size)
        given = tuple(array[part] for array in response)
        rows = replace(
            what.rows,
            X=what.rows.X[part],
            terms=terms_of(what.rows.terms, part),
            offsets=tuple(each[part] for each in what.rows.offsets),
        )
        drawn = what.eta[0, part] + what.shifts(rows, what.heavy(rows))
        if family.is_normal:
            total = variances[part] + own[0] ** 2 / given[1]
            each = -0.5 * (np.log(2.0 * np.pi * total) + (given[0] - drawn) ** 2 / total)
        drawn = drawn + np.sqrt(variances[part]) * random.standard_normal(drawn.shape)
        if not family.is_normal:
            each = row_log_density(family, given, own, drawn.T[None]).T
        logs.append(each)
        for found, mean in zip(means, work, strict=True):
            found.append(mean(drawn.reshape(1, -1)).reshape(*drawn.shape, -1).mean(axis=0))
    whole = np.concatenate(logs, axis=1)
    values = logsumexp(whole, axis=0) - np.log(len(whole))
    # Rows share the draws: their sum has the error of one series of all of them.
    relative = np.exp(whole - values).sum(axis=1)
    error = float(relative.std() / np.sqrt(what.sampled.effective))
    return LogDensities(values, error), [np.concatenate(each) for each in means]
