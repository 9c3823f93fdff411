"""View stage: what a model predicts over one variable, with intervals and the rows beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.axes import GREY, new_axes, one_axes
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.inference.emmeans import emmeans
from lmeformula.inference.mean_plots import COLOURS, curves_of_means, values_of
from lmeformula.prediction.named_predictor import named_predictors
from lmeformula.prediction.observed_together import observed_together
from lmeformula.text.names import drawn
from lmeformula.views.columns import rows_with_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Places along a number, and values of a number that curves are told apart by, in standard deviations.
POINTS = 60


@kinds.takes(
    x=kinds.text,
    by=kinds.optional(kinds.names),
    kind=kinds.one_of("link", "response", "mean"),
    at=kinds.optional(kinds.mapping),
    level=kinds.coverage,
    partial=kinds.flag,
    ax=kinds.optional(one_axes),
)
def predictions(
    fit: FittedModel,
    x: str,
    by: str | Sequence[str] | None = None,
    *,
    kind: str = "response",
    at: Mapping[str, object] | None = None,
    level: float = 0.95,
    partial: bool = False,
    data: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what the model predicts over a variable, others at their means, with intervals of the estimate.

    These are marginal means, as of `fit.emmeans`: random effects are zero, other factors are averaged over.

    Args:
      fit: a fitted model.
      x: the variable along the axis: a number is drawn as a curve over its range, a factor as points.
      by: variables that curves are told apart by; of a number its smallest, mean and largest value.
      kind: "response", "link" for the linear predictor, "mean" for mean responses of all predictors together.
      at: values of variables, by name.
      level: coverage of the intervals.
      partial: whether to draw each row as well: what is predicted there, plus its residual.
      data: for `partial`, the table that was fitted, where the fit has it not, as one that was loaded.
      ax: axes to draw on; a new figure by default.
    Returns:
      ax: the axes drawn on.
    Raises:
      ModelError: if a variable is not in the fixed part, or rows are asked for where residuals are on another
        scale than the axis.
    References:
      Fox, Weisberg (2018), J. Stat. Softw. 87(9), for rows beside predictions.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"))
      >>> predictions(fit, "Days").get_xlabel()
      'Days'
    """
    groups = () if by is None else (by,) if isinstance(by, str) else tuple(by)
    values = {**_values(fit, x, groups), **({} if at is None else at)}
    means = emmeans(fit, [x, *groups], at=values, kind=kind)
    frame = means.to_frame(level)
    beside = [name for name in (*groups, *means.by) if name in frame]
    ax = new_axes() if ax is None else ax
    if partial:
        _rows(fit, frame, x, groups, kind, data, ax)
    is_response = means.is_response or means.scale == "mean"
    shown = drawn(fit.model.design.response_name) if is_response else means.scale
    return curves_of_means(frame, x, beside, f"{shown}, with {100 * level:g} % intervals", ax)


def _values(fit: FittedModel, x: str, groups: Sequence[str]) -> dict[str, list[float]]:
    """Where numbers are looked at; nothing of factors, and of what the model does not have."""
    designs = [each.design for each in named_predictors(fit)]
    found = {}
    for column in observed_together(designs).columns:
        if column.is_factor or not column.high > column.low:
            continue
        if column.name == x:
            found[x] = [float(value) for value in np.linspace(column.low, column.high, POINTS)]
        elif column.name in groups:
            found[column.name] = [column.low, column.mean, column.high]
    return found


def _rows(
    fit: FittedModel,
    frame: pd.DataFrame,
    x: str,
    groups: Sequence[str],
    kind: str,
    data: Any,
    ax: Axes,
) -> None:
    """Draw rows: the estimate at each one's value of x, plus its residual."""
    is_identity = fit.model.family.link == "identity" and not fit.model.family.categories
    if (kind == "link" and not is_identity) or fit.model.family.is_unordered:
        raise ModelError(
            "residuals are on the scale of the response, which is not that of the axis",
            hint='Leave partial out, or kind="link".',
        )
    rows = rows_with_columns(fit, data)
    labels = np.array(values_of(frame, groups) if groups else [""] * len(frame))
    own = np.array(_nearest(frame, rows, groups) if groups else [""] * len(rows))
    residual = rows[".resid"].to_numpy(float)
    for number, group in enumerate(dict.fromkeys(labels)):
        curve, here = frame[labels == group], own == group
        places, estimates = _along(curve, rows.loc[here, x], x)
        colour = COLOURS[number % len(COLOURS)] if groups else GREY
        ax.plot(places, estimates + residual[here], "o", color=colour, markersize=2.5, alpha=0.35)


def _along(curve: pd.DataFrame, values: pd.Series, x: str) -> tuple[Floats, Floats]:
    """Where rows stand along the axis, and what is predicted there."""
    estimates = curve["estimate"].to_numpy(float)
    if pd.api.types.is_float_dtype(curve[x]):
        places = values.to_numpy(float)
        return places, np.interp(places, curve[x].to_numpy(float), estimates)
    order = {str(value): place for place, value in enumerate(curve[x])}
    at = np.array([order[str(value)] for value in values], int)
    return at.astype(float), estimates[at]


def _nearest(frame: pd.DataFrame, rows: pd.DataFrame, groups: Sequence[str]) -> list[str]:
    """(n,) the curve of each row: by factors that of its levels, by numbers that of the nearest value."""
    own = pd.DataFrame(index=range(len(rows)))
    for name in groups:
        values = list(dict.fromkeys(frame[name]))
        if pd.api.types.is_float_dtype(frame[name]):
            apart = np.abs(rows[name].to_numpy(float)[:, None] - np.array(values, float))
            own[name] = [values[place] for place in apart.argmin(axis=1)]
        else:
            own[name] = rows[name].astype(str).to_numpy()
    return values_of(own, groups)
