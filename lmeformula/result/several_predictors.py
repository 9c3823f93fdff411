"""Result stage: models with several linear predictors - their rows and names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.design.design import Design, NewRows, TermBlock
from lmeformula.fit import FittedModel
from lmeformula.model.family import Family

Floats = NDArray[np.float64]


def predictor_name(fit: FittedModel, name: str) -> str:
    """The name by which the formulas of a fit have a predictor that its family may call otherwise, as zi."""
    family = fit.model.family.base
    known = fit.model.design.predictor_names
    called = [(part.name, *part.aliases) for part in family.parts]
    alike = next((names for names in called if name in names), ())
    return name if name in known else next((each for each in known if each in alike), name)


def contribution(block: TermBlock, effects: Floats, num_predictors: int) -> Floats:
    """What effects of rows add to the linear predictors.

    Args:
      block: the term.
      effects: (..., n, k) of each row's level.
      num_predictors: K.
    Returns:
      (..., n); with several predictors (..., K, n).
    """
    if num_predictors == 1:
        return np.asarray(np.einsum("nk,...nk->...n", block.values, effects))
    each = block.values * effects
    found = np.zeros((*each.shape[:-2], num_predictors, each.shape[-2]))
    for column, predictor in enumerate(block.predictors):
        found[..., predictor, :] += each[..., column]
    return found


def stacked_predictor(fit: FittedModel, eta: Floats) -> Floats:
    """Linear predictors as the rows' derivatives take them: those of pairs, which are not read, are zero."""
    if eta.ndim == 1:
        return eta
    found = np.zeros(len(fit.model.stack.X))
    found[: eta.size] = eta.reshape(-1)
    return found


class RowFamily(NamedTuple):
    """A family with one linear predictor, its predictor (n,) and its own parameters, some of them (n,)."""

    family: Family
    eta: Floats
    own: Any


def row_family(fit: FittedModel, eta: Floats, own: Floats) -> RowFamily:
    """The family with one predictor by which the rows of a fit are distributed.

    Args:
      fit: a fitted model, not one with a predictor for each category.
      eta: (n,) or (K, n) its linear predictors.
      own: its own parameters.
    """
    within = fit.model.family.within
    return RowFamily(fit.model.family, eta, own) if within is None else RowFamily(*within(eta, own))


def polarised(
    rows: Design | NewRows, variances: Callable[[Design | NewRows], Floats], count: int
) -> Floats:
    """(n, K, K) covariances of K predictors, from variances (n,) of the sums that columns add to.

    Args:
      rows: fitted or new rows.
      variances: of rows whose columns are those of some predictors.
      count: K.
    """
    if count == 1:
        return variances(rows)[:, None, None]
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
    return replace(
        rows,
        X=rows.X * np.isin(rows.column_predictors, predictors),
        terms=tuple(
            replace(term, values=term.values * np.isin(term.predictors, predictors))
            for term in rows.terms
        ),
    )


def is_unordered(family: Family) -> bool:
    """Whether the response has categories without an order, which have no mean."""
    return family.is_unordered
