"""View stage: pictures of smooths, curves with their intervals and surfaces by colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.axes import BLUE, GREY, axes_of_panels, finish, panels
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.inference.smooth_curves import SmoothCurve, smooth_curves
from lmeformula.text.names import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@kinds.takes(level=kinds.coverage, axes=kinds.optional(axes_of_panels))
def smooth(
    fit: FittedModel, level: float = 0.95, axes: Sequence[Axes] | None = None
) -> tuple[Axes, ...]:
    """Draw each smooth over the range of its data, on the scale of the linear predictor.

    A curve has its pointwise interval, which covers the true one in `level` of its points on average; a surface
    of two variables is drawn by colours, without one. Smooths of more variables, and curves of the levels of a
    factor, bs = "fs", are not drawn.

    Args:
      fit: a fitted model with its rows.
      level: coverage of the intervals.
      axes: one for each smooth, and each level of a factor `by`; a new figure by default.
    Returns:
      axes: those drawn on.
    Raises:
      ModelError: if the fit has no smooths, or another number of axes is given.
    """
    curves = smooth_curves(fit, level=level)
    found = panels(len(curves), axes)
    if len(found) != len(curves):
        raise ModelError(
            f"there are {len(found)} axes for {len(curves)} smooths", hint="Give one for each."
        )
    return tuple(
        _surface(ax, curve) if len(curve.variables) > 1 else _curve(ax, curve)
        for ax, curve in zip(found, curves, strict=True)
    )


def _curve(ax: Axes, curve: SmoothCurve) -> Axes:
    x: Floats = curve.points[:, 0]
    ax.fill_between(x, curve.low, curve.high, color=BLUE, alpha=0.2, linewidth=0)
    ax.plot(x, curve.estimate, color=BLUE, linewidth=1.6)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    names = {"xlabel": drawn(curve.variables[0]), "ylabel": "added to the predictor"}
    return _named(finish(ax, "", "y", **names), curve)


def _surface(ax: Axes, curve: SmoothCurve) -> Axes:
    grid = curve.points.reshape(*curve.shape, 2)
    values = curve.estimate.reshape(curve.shape)
    end = float(np.abs(values).max()) or 1.0
    colours = ax.pcolormesh(
        grid[..., 0], grid[..., 1], values, cmap="RdBu_r", vmin=-end, vmax=end, shading="gouraud"
    )
    ax.contour(grid[..., 0], grid[..., 1], values, colors=GREY, linewidths=0.6)
    bar = ax.figure.colorbar(colours, ax=ax)
    bar.outline.set_visible(False)
    names = {"xlabel": drawn(curve.variables[0]), "ylabel": drawn(curve.variables[1])}
    return _named(finish(ax, "", None, **names), curve)


def _named(ax: Axes, curve: SmoothCurve) -> Axes:
    # Names are long, and panels stand side by side.
    ax.set_title(drawn(curve.name), loc="left", fontsize="medium")
    return ax
