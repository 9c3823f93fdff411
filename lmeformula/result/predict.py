"""Result stage: predictions for the fitted rows and for new ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd
import scipy.special
from numpy.typing import NDArray

from lmeformula.design.design import Design, NewRows
from lmeformula.errors import FormulaDataError, ModelError

if TYPE_CHECKING:
    from lmeformula.fit import Fit

Floats = NDArray[np.float64]
PredictionKind: TypeAlias = Literal["response", "link"]
NewLevels: TypeAlias = Literal["error", "population"]

INVERSE_LINKS: dict[str, Callable[[Floats], Floats]] = {
    "identity": lambda eta: eta,
    "log": np.exp,
    "logit": scipy.special.expit,
    "probit": scipy.special.ndtr,
    "cloglog": lambda eta: -np.expm1(-np.exp(eta)),
    "inverse": np.reciprocal,
}


def predict(
    fit: Fit,
    newdata: object = None,
    *,
    kind: PredictionKind = "response",
    re_form: Literal["NA"] | None = None,
    new_levels: NewLevels = "error",
    offset: object = None,
) -> pd.Series:
    """Predict the mean of the response.

    Args:
      fit: a fitted model.
      newdata: a data frame with the columns that the formula uses (the response may be missing); the
        fitted rows by default.
      kind: "response" for the scale of the response, "link" for the linear predictor. On the response
        scale a nonlinear link is applied to the linear predictor at the conditional modes, as lme4 does.
      re_form: None adds the random effects of each row's levels; "NA" leaves them all out and predicts
        the population.
      new_levels: what to do with rows whose level the fit has not seen: "error", or "population" to
        predict them with an effect of zero for that factor.
      offset: (rows of `newdata`,) numbers, needed where the fit was given its offset as an array.
    Returns:
      predictions: one a row, with the index of `newdata` where it has one, else the positions of the
        rows in the fitted data; NaN for rows of `newdata` with a missing value.
    Raises:
      FormulaDataError: if `newdata` lacks a column, or has new levels and `new_levels` is "error".
      ModelError: if an option is not one of those named here.
    """
    _check_option("kind", kind, ("response", "link"))
    _check_option("re_form", re_form, (None, "NA"))
    _check_option("new_levels", new_levels, ("error", "population"))
    with_random = re_form is None
    inverse = (
        inverse_link(fit.model.family.link) if kind == "response" else INVERSE_LINKS["identity"]
    )
    if newdata is None:
        design = fit.model.design
        values = inverse(linear_predictor(fit, design, with_random=with_random))
        return pd.Series(values, index=pd.Index(design.rows), name="prediction")
    rows = fit.model.design.rebuild(newdata, groups=with_random, offset=offset)
    if new_levels == "error":
        check_levels_are_known(rows)
    values = np.full(rows.num_rows, np.nan)
    values[rows.rows] = inverse(linear_predictor(fit, rows, with_random=with_random))
    index = newdata.index if isinstance(newdata, pd.DataFrame) else pd.RangeIndex(rows.num_rows)
    return pd.Series(values, index=index, name="prediction")


def fitted(fit: Fit) -> pd.Series:
    """Predict the rows that were fitted, with their random effects, on the response scale.

    Args:
      fit: a fitted model.
    Returns:
      fitted: (n,) indexed by the positions of the rows in the data.
    """
    return predict(fit).rename("fitted")


def linear_predictor(fit: Fit, rows: Design | NewRows, *, with_random: bool = True) -> Floats:
    """Evaluate the linear predictor at the estimates and the conditional modes.

    Args:
      fit: a fitted model.
      rows: the fitted rows or new ones; an unseen level has an effect of zero.
      with_random: whether to add the random effects.
    Returns:
      eta: (n,) the linear predictor, offset included.
    """
    eta = rows.X @ fit.params.beta + rows.offset
    if with_random:
        for block, modes in zip(rows.terms, fit.modes, strict=True):
            known = block.index >= 0
            effects = modes[np.where(known, block.index, 0)]
            eta += np.where(known, np.einsum("nk,nk->n", block.values, effects), 0.0)
    return np.asarray(eta)


def inverse_link(link: str) -> Callable[[Floats], Floats]:
    """Find the function that takes the linear predictor to the mean.

    Args:
      link: the link function's name.
    Returns:
      mean: elementwise, (n,) -> (n,).
    Raises:
      ModelError: if the link has no mean function here.
    Example:
      >>> inverse_link("logit")(np.array([0.0])).tolist()
      [0.5]
    """
    if link not in INVERSE_LINKS:
        raise ModelError(
            f"there is no prediction on the response scale for the link {link!r}",
            hint='Use kind="link" for the linear predictor.',
        )
    return INVERSE_LINKS[link]


def has_new_level(rows: NewRows) -> NDArray[np.bool_]:
    """Find the rows with a level that the fit has not seen.

    Args:
      rows: new rows, with their terms.
    Returns:
      found: (n,) True where any grouping factor of the row has an unseen level.
    """
    found = np.zeros(len(rows.offset), dtype=bool)
    for block in rows.terms:
        found |= block.index < 0
    return found


def check_levels_are_known(rows: NewRows) -> None:
    """Raise if rows have levels that the fit has not seen.

    Args:
      rows: new rows.
    Raises:
      FormulaDataError: names grouping factors and levels, and counts the rows.
    """
    if not rows.unseen:
        return
    parts = []
    for group, levels in rows.unseen.items():
        named = ", ".join(map(repr, levels[:3])) + (", ..." if len(levels) > 3 else "")
        parts.append(f"{len(levels):,} of {group} ({named})")
    raise FormulaDataError(
        f"{int(has_new_level(rows).sum()):,} new rows have levels that the fit has not seen: "
        f"{'; '.join(parts)}",
        "E_DATA",
        hint='Pass new_levels="population" to predict them with an effect of zero for that factor, '
        'or re_form="NA" to leave out the random effects of all rows.',
    )


def _check_option(name: str, value: object, allowed: Sequence[object]) -> None:
    if value not in allowed:
        choices = ", ".join(map(repr, allowed))
        raise ModelError(f"{name} is {value!r}", hint=f"Choose one of {choices}.")
