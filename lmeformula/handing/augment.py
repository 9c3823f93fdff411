"""The rows of a fit with what the model says of each, as a data frame."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.design.design import row_labels
from lmeformula.errors import FormulaDataError
from lmeformula.fit import FittedModel
from lmeformula.prediction.normal_posterior import row_precisions
from lmeformula.prediction.posterior import has_normal_posterior, normal_posterior_of
from lmeformula.prediction.predictor import (
    category_names,
    chances_at,
    linear_predictor,
    link_columns,
    mean_response,
)
from lmeformula.prediction.residuals import observed_mean


@kinds.takes(
    data=kinds.optional(
        kinds.instance(pd.DataFrame, "Give the pandas data frame that it was fitted to.")
    )
)
def augment(fit: FittedModel, data: pd.DataFrame | None = None) -> pd.DataFrame:
    """Lay the fitted rows out with predictions and residuals, as broom.mixed's `augment` does.

    Args:
      fit: a fitted model with its rows.
      data: the data frame that it was fitted to, whose columns come first; a fit does not keep them. Without it
        the response and the grouping factors do.
    Returns:
      frame: a row for each row used, indexed as `data` is, or by the positions of the rows. After the data
        stand ".fitted", the expected response with the effects of the row's levels; ".fixed", without; ".link",
        the linear predictor; ".resid", observed minus fitted; and ".hat", the share of its own variance that
        the fit takes of a row (NaN where the equations are too large or effects have heavy tails). Several
        predictors are ".link[mu]", ".link[sigma]", and ".hat" is between zero and their number: what the row
        adds to the effective number of parameters. Categories without an order have chances for means,
        ".fitted[a]", ".fixed[a]", and no ".resid". Where rows have a frequency, all is of one of the identical
        observations each.
    Raises:
      FormulaDataError: if `data` has another number of rows than the fit was made from, or such a column.
      ModelError: if the fit was loaded without its rows.
    References:
      Bates, Maechler, Bolker, Walker (2015), J. Stat. Softw. 67(1), section 5, for the hat matrix.
    Example:
      >>> import lmeformula as lf
      >>> data = lf.datasets.load("sleepstudy")
      >>> fit = lf.fit("Reaction ~ Days + (Days | Subject)", data)
      >>> augment(fit, data)[["Reaction", "Subject", ".fitted", ".resid"]].head(1).round(2)
         Reaction Subject  .fitted  .resid
      0    249.56     308   254.22   -4.66
    """
    design, family = fit.model.design, fit.model.family
    eta = linear_predictor(fit, design)
    alone = linear_predictor(fit, design, with_random=False)
    if family.is_unordered:
        observed = np.array(category_names(fit), object)[family.response(design)[0].astype(int)]
        found = {**_chances(fit, ".fitted", eta), **_chances(fit, ".fixed", alone)}
    else:
        observed = observed_mean(family, design)[0]
        found = {".fitted": mean_response(fit, eta), ".fixed": mean_response(fit, alone)}
    names = [f".link[{name}]" for name in link_columns(fit)] or [".link"]
    found |= dict(zip(names, eta, strict=True))
    if ".fitted" in found:
        found[".resid"] = observed - found[".fitted"]
    found[".hat"] = _leverages(fit)
    frame = _observed(fit, observed) if data is None else _rows_of(fit, data, tuple(found))
    return frame.assign(**found)


def _chances(fit: FittedModel, what: str, eta: np.ndarray) -> dict[str, np.ndarray]:
    """Those of each category."""
    each = chances_at(fit, eta).T
    return {f"{what}[{name}]": of for name, of in zip(category_names(fit), each, strict=True)}


def _leverages(fit: FittedModel) -> np.ndarray:
    """(n,) traces of W V, with W the precisions of each row and V the covariances of its predictors."""
    design = fit.model.design
    if not has_normal_posterior(fit):
        return np.full(design.n, np.nan)
    spread = normal_posterior_of(fit).covariances(design)
    precisions = fit.model.stack.mixture.to_blocks(row_precisions(fit))
    shares = np.einsum("nab,nba->n", precisions, spread)
    if design.frequency is not None:
        shares = shares / design.frequency
    return np.asarray(np.clip(shares, 0.0, design.num_predictors))


def _observed(fit: FittedModel, observed: np.ndarray) -> pd.DataFrame:
    """The response and the levels of each grouping factor."""
    design = fit.model.design
    columns: dict[str, object] = {design.response_name: observed}
    for block in design.terms:
        columns.setdefault(block.group, np.array(block.levels, object)[block.index])
    return pd.DataFrame(columns, index=row_labels(design))


def _rows_of(fit: FittedModel, data: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    design = fit.model.design
    expected = design.n + design.num_missing
    if len(data) != expected:
        raise FormulaDataError(
            f"the data have {len(data):,} rows, and the fit was made from {expected:,}",
            hint="Give the data frame that it was fitted to.",
        )
    taken = [name for name in names if name in data.columns]
    if taken:
        raise FormulaDataError(
            f"the data have a column {taken[0]!r} already", hint="Rename or drop it."
        )
    return data.iloc[design.rows]
