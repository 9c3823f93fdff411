"""Result stage: intervals of predictions from several linear predictors, which are uncertain together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmeformula.design.design import Design, NewRows
from lmeformula.model.covariance import cholesky_semidefinite
from lmeformula.result.distribution import draw_rows, response_arrays
from lmeformula.result.intervals import cutoff
from lmeformula.result.predict import mean_response

if TYPE_CHECKING:
    from lmeformula.fit import Fit

Floats = NDArray[np.float64]

COLUMNS = ("estimate", "lower", "upper")
# Numbers simulated at a time.
CHUNK = 1_000_000


def predictor_covariances(
    rows: Design | NewRows, variances: Callable[[Design | NewRows], Floats], num_predictors: int
) -> Floats:
    """(n, K, K) covariances of the errors of linear predictors, from variances of their sums.

    Args:
      rows: fitted or new rows.
      variances: rows -> (n,) variances of the sum of all that their columns add to.
      num_predictors: K.
    """
    found = np.zeros((len(rows.offset), num_predictors, num_predictors))
    for a in range(num_predictors):
        found[:, a, a] = variances(_read(rows, (a,)))
    for a in range(num_predictors):
        for b in range(a):
            both = variances(_read(rows, (a, b))) - found[:, a, a] - found[:, b, b]
            found[:, a, b] = found[:, b, a] = 0.5 * both
    return found


def _read(rows: Design | NewRows, predictors: tuple[int, ...]) -> Design | NewRows:
    """Rows whose columns are those of some predictors, with zeros in place of the others'."""
    return replace(
        rows,
        X=rows.X * np.isin(rows.column_predictors, predictors),
        terms=tuple(
            replace(term, values=term.values * np.isin(term.predictors, predictors))
            for term in rows.terms
        ),
    )


def link_intervals(fit: Fit, eta: Floats, covariances: Floats, level: float) -> pd.DataFrame:
    """Intervals of each predictor.

    Args:
      fit: a fitted model.
      eta: (K, n) its predictors.
      covariances: (n, K, K) of their errors.
      level: coverage.
    Returns:
      frame: n rows, and for each predictor the columns estimate, lower, upper, below its name.
    """
    half = cutoff(level) * np.sqrt(np.maximum(np.einsum("nkk->kn", covariances), 0.0))
    names = [part.name for part in fit.model.design.parts]
    return pd.DataFrame(
        np.stack([eta, eta - half, eta + half]).transpose(2, 1, 0).reshape(eta.shape[1], -1),
        columns=pd.MultiIndex.from_product([names, COLUMNS]),
    )


def response_intervals(
    fit: Fit,
    rows: Design | NewRows,
    eta: Floats,
    covariances: Floats,
    level: float,
    *,
    has_residual: bool,
    seed: int,
    num_draws: int,
) -> pd.DataFrame:
    """Intervals on the scale of the response, between quantiles of what predictors with their errors give.

    Args:
      fit: a fitted model.
      rows: of the predictors.
      eta: (K, n) predictors.
      covariances: (n, K, K) of their errors.
      level: coverage.
      has_residual: whether quantiles are of responses, not of their means.
      seed: of the draws.
      num_draws: how many for each row.
    Returns:
      frame: estimate, lower, upper.
    """
    family = fit.model.family
    response = response_arrays(fit, rows) if has_residual else ()
    trials = response[1] if has_residual and family.has_trials else np.ones(eta.shape[1])
    first = 1.0 if family.categories is not None else 0.0
    tails = [0.5 - level / 2, 0.5 + level / 2]
    found = np.empty((2, eta.shape[1]))
    for part, drawn, of_rows in _draws(eta, covariances, num_draws, seed):
        if has_residual:
            draws = draw_rows(fit, drawn, tuple(array[part] for array in response), of_rows)
            values = draws / trials[part] + first
        else:
            flat = np.moveaxis(drawn, 1, 0).reshape(len(eta), -1)
            values = mean_response(fit, flat).reshape(num_draws, -1)
        # Quantiles that are values of the response, which may be whole numbers.
        found[:, part] = np.quantile(values, tails, axis=0, method="inverted_cdf")
    return pd.DataFrame(np.column_stack([mean_response(fit, eta), *found]), columns=list(COLUMNS))


def _draws(
    eta: Floats, covariances: Floats, num_draws: int, seed: int
) -> Iterator[tuple[slice, Floats, np.random.SeedSequence]]:
    """Some rows at a time: where they are, their predictors (m, K, n) with errors, and a seed."""
    k, n = eta.shape
    size = max(CHUNK // (num_draws * k), 1)
    for number, start in enumerate(range(0, n, size)):
        part = slice(start, start + size)
        of_noise, of_rows = np.random.SeedSequence([seed, number]).spawn(2)
        roots = np.array([cholesky_semidefinite(each) for each in covariances[part]])
        noise = np.random.default_rng(of_noise).standard_normal((num_draws, len(roots), k))
        yield part, eta[:, part] + np.einsum("nab,mnb->man", roots, noise), of_rows
