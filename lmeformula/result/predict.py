"""Result stage: predictions for the fitted rows and for new ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd
import scipy.special
from numpy.typing import NDArray

from lmeformula.design.design import Design, TermBlock
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
    if newdata is None:
        design, index, num_rows = fit.model.design, pd.Index(fit.model.design.rows), None
    else:
        design = fit.model.design.rebuild(newdata)
        num_rows = len(newdata)  # type: ignore[arg-type]
        index = newdata.index if isinstance(newdata, pd.DataFrame) else pd.RangeIndex(num_rows)
    if re_form is None and new_levels == "error":
        check_levels_are_known(design.terms)
    values = linear_predictor(fit, design, with_random=re_form is None)
    if kind == "response":
        values = inverse_link(fit.model.family.link)(values)
    if num_rows is not None:
        spread = np.full(num_rows, np.nan)
        spread[design.rows] = values
        values = spread
    return pd.Series(values, index=index, name="prediction")


def fitted(fit: Fit) -> pd.Series:
    """Predict the rows that were fitted, with their random effects, on the response scale.

    Args:
      fit: a fitted model.
    Returns:
      fitted: (n,) indexed by the positions of the rows in the data.
    """
    return predict(fit).rename("fitted")


def linear_predictor(fit: Fit, design: Design, *, with_random: bool = True) -> Floats:
    """Evaluate the linear predictor at the estimates and the conditional modes.

    Args:
      fit: a fitted model.
      design: the rows, fitted ones or rebuilt for new data; an index of -1 marks an unseen level, whose
        effect is taken as zero.
      with_random: whether to add the random effects.
    Returns:
      eta: (n,) the linear predictor, offset included.
    """
    eta = design.X @ fit.params.beta + design.offset
    if with_random:
        for block, modes in zip(design.terms, fit.modes, strict=True):
            known = block.index >= 0
            rows = modes[np.where(known, block.index, 0)]
            eta += np.where(known, np.einsum("nk,nk->n", block.values, rows), 0.0)
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


def has_new_level(design: Design) -> NDArray[np.bool_]:
    """Find the rows with a level that the fit has not seen.

    Args:
      design: rebuilt for new data.
    Returns:
      found: (n,) True where any grouping factor of the row has an unseen level.
    """
    found = np.zeros(design.n, dtype=bool)
    for block in design.terms:
        found |= block.index < 0
    return found


def check_levels_are_known(terms: Sequence[TermBlock]) -> None:
    """Raise if rows have levels that the fit has not seen.

    Args:
      terms: blocks rebuilt for new data.
    Raises:
      FormulaDataError: names the grouping factors and counts the rows.
    """
    unseen = {block.group: int((block.index < 0).sum()) for block in terms}
    unseen = {group: count for group, count in unseen.items() if count}
    if unseen:
        where = ", ".join(f"{group!r} ({count:,} rows)" for group, count in unseen.items())
        raise FormulaDataError(
            f"the new data has levels that the fit has not seen, of {where}",
            hint='Pass new_levels="population" to predict those rows with an effect of zero for that '
            'factor, or re_form="NA" to leave out the random effects of all rows.',
        )


def _check_option(name: str, value: object, allowed: Sequence[object]) -> None:
    if value not in allowed:
        choices = ", ".join(map(repr, allowed))
        raise ModelError(f"{name} is {value!r}", hint=f"Choose one of {choices}.")
