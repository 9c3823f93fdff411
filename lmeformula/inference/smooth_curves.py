"""Smooths as curves and surfaces over the range of their variables, with pointwise intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.design.curves import curve_rows
from lmeformula.design.labels import label
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.inference.smooth_tests import check_has_smooths, coefficients, parts_of
from lmeformula.prediction.intervals import cutoff
from lmeformula.prediction.posterior import normal_posterior_of


@dataclass(frozen=True, slots=True, eq=False)
class SmoothCurve:
    """One curve of one variable, or surface of two, on the scale of the linear predictor.

    Attributes:
      name: as the formula has it.
      variables: what it is a function of.
      points: (m, d) values of these, on a grid.
      estimate: (m,) of the curve, which adds up to zero over the observations.
      std_error: (m,) of it, smoothness known.
      low, high: (m,) ends of the pointwise interval.
      shape: of the grid.
    """

    name: str
    variables: tuple[str, ...]
    points: Floats
    estimate: Floats
    std_error: Floats
    low: Floats
    high: Floats
    shape: tuple[int, ...]


@kinds.takes(level=kinds.coverage, num_points=kinds.whole(2))
def smooth_curves(
    fit: FittedModel, *, level: float = 0.95, num_points: int = 100
) -> tuple[SmoothCurve, ...]:
    """The smooths of a fit over the range of the data.

    Args:
      fit: a fitted model with its rows and normal effects.
      level: coverage of the intervals, on average over the curve.
      num_points: along each variable; of two 40 at most.
    Returns:
      A curve for each smooth of one variable or two that is of the whole population, and for each level of a
      factor `by`.
    Raises:
      ModelError: if the fit has no smooths, or its equations are too large to be factored.
    References:
      Nychka (1988), JASA 83, 1134-1143; Marra, Wood (2012), Scand. J. Stat. 39, 53-74, for the coverage.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Reaction ~ s(Days, k = 5) + (1 | Subject)", lf.datasets.load("sleepstudy"), reml=True)
      >>> (curve,) = smooth_curves(fit)
      >>> curve.variables, len(curve.estimate)
      (('Days',), 100)
    """
    check_has_smooths(fit)
    posterior = normal_posterior_of(fit)
    found = []
    for part in parts_of(fit):
        if part.curve is None:
            raise ModelError(
                f"the design does not remember the basis of {part.name}",
                hint="Make it with lf.design(formula, data).",
            )
        d = len(part.curve.low)
        if d > 2:
            continue
        count = num_points if d == 1 else min(num_points, 40)
        ends = zip(part.curve.low, part.curve.high, strict=True)
        axes = [np.linspace(low, high, count) for low, high in ends]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, d)
        table = curve_rows(part.curve, grid)
        rows = np.column_stack([table @ part.curve.null, *(table @ p for p in part.curve.pieces)])
        known = coefficients(fit, posterior, part)
        estimate = rows @ known.values
        errors = np.sqrt(np.maximum(np.einsum("mi,ij,mj->m", rows, known.covariance, rows), 0.0))
        half = cutoff(level) * errors
        found.append(
            SmoothCurve(
                part.name,
                tuple(label(variable) for variable in part.smooth.variables),
                grid,
                estimate,
                errors,
                estimate - half,
                estimate + half,
                (count,) * d,
            )
        )
    return tuple(found)
