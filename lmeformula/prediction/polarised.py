"""Covariances of linear predictors, from variances of sums of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.design import Design, NewRows


def polarised(rows: Design | NewRows, variances: Callable[[Design | NewRows], Floats]) -> Floats:
    """(n, K, K) covariances of K predictors, from variances (n,) of the sums that columns add to.

    Args:
      rows: fitted or new rows.
      variances: of rows whose columns are those of some predictors.
    """
    count = rows.num_predictors
    found = np.zeros((len(rows.offset), count, count))
    for a in range(count):
        found[:, a, a] = variances(_read(rows, (a,)))
    for a in range(count):
        for b in range(a):
            both = variances(_read(rows, (a, b))) - found[:, a, a] - found[:, b, b]
            found[:, a, b] = found[:, b, a] = 0.5 * both
    return found


def _read(rows: Design | NewRows, predictors: tuple[int, ...]) -> Design | NewRows:
    """Rows whose columns are those of some predictors, with zeros in place of the others'."""
    if len(predictors) == rows.num_predictors:
        return rows
    return replace(
        rows,
        X=rows.X * np.isin(rows.column_predictors, predictors),
        terms=tuple(
            replace(term, values=term.values * np.isin(term.predictors, predictors))
            for term in rows.terms
        ),
    )
