"""View stage: predictions against what was observed, as reliability curves or as a histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.axes import BLUE, GREY, ORANGE, lighten, new_axes, one_axes
from lmeformula.checking.calibration import Calibration, Reliability
from lmeformula.checking.calibration import calibration as computed
from lmeformula.fit import FittedModel
from lmeformula.text.names import BESIDE, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# How much of its lane a category's widest band or farthest point takes.
LANE_SHARE = 0.46


@kinds.takes(ax=kinds.optional(one_axes))
def calibration(
    fit: FittedModel,
    ax: Axes | None = None,
    *,
    num_bins: int | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Axes:
    """Draw whether predictions of rows, each made without the row, agree with what was observed.

    Args:
      fit: a fitted model with its rows.
      ax: axes to draw on; a new figure by default.
      num_bins, level, seed: as in `lmeformula.checking.calibration.calibration`.
    Returns:
      ax: the axes drawn on. Of yes and no, successes and categories: how often what had some chance came true,
        on a line where the chances are right, within the bands (95 % each) where chance explains the rest.
        Of other responses: how often an observation was at each place of its predicted distribution; level
        where these are right, and all within the band (95 % for all together) where chance explains the rest.
        A hill says that they are too wide, a valley too narrow, a slope too high or too low.
    """
    found = computed(fit, num_bins=num_bins, level=level, seed=seed)
    curves, level = found.curves, 100 * found.level
    if ax is None:
        ax = new_axes(height=1.6 + 0.8 * len(curves) if len(curves) > 1 else 4.0)
    bands = f"a {level:g} % band for all bins" if not curves else f"{level:g} % bands"
    ax.set_title(f"Calibration (n = {fit.nobs:,}), with {bands}", loc="left")
    if not curves:
        _draw_histogram(ax, found)
    elif len(curves) == 1:
        _draw_curve(ax, curves[0])
    else:
        _draw_lanes(ax, curves)
    lighten(ax, grid="y" if len(curves) == 1 else None)
    if curves:
        name = drawn(fit.model.design.response_name)
        ax.set_xlabel(f"chance predicted from the other rows, {name}")
    return ax


def _draw_curve(ax: Axes, curve: Reliability) -> None:
    every = np.concatenate([curve.predicted, curve.observed, curve.lower, curve.upper])
    low, high = float(every.min()), float(every.max())
    pad = 0.04 * (high - low) or 0.05
    ends = (max(0.0, low - pad), min(1.0, high + pad))
    ax.fill_between(curve.predicted, curve.lower, curve.upper, color=GREY, alpha=0.25, linewidth=0)
    ax.plot(ends, ends, color=ORANGE, linewidth=1.2)
    ax.plot(curve.predicted, curve.observed, "o-", color=BLUE, markersize=4.5, linewidth=1.0)
    ax.set_xlim(*ends)
    ax.set_ylim(*ends)
    ax.set_ylabel("how often it came true")


def _draw_lanes(ax: Axes, curves: tuple[Reliability, ...]) -> None:
    """A lane for each category, the lowest at the bottom: how often it came true, less its chance."""
    away = [np.abs(np.array([c.observed, c.lower, c.upper]) - c.predicted).max() for c in curves]
    unit = LANE_SHARE / (max(away) or 1.0)
    for place, curve in enumerate(curves):
        lower, upper, observed = (
            place + unit * (values - curve.predicted)
            for values in (curve.lower, curve.upper, curve.observed)
        )
        ax.fill_between(curve.predicted, lower, upper, color=GREY, alpha=0.25, linewidth=0)
        ax.axhline(place, color=ORANGE, linewidth=1.0)
        ax.plot(curve.predicted, observed, "o-", color=BLUE, markersize=4.0, linewidth=1.0)
    ax.set_yticks(range(len(curves)), [drawn(curve.name, BESIDE) for curve in curves])
    ax.set_ylim(-0.6, len(curves) - 0.4)
    ax.tick_params(axis="y", length=0)
    # All lanes have one scale, which a mark beside them gives.
    size = 10.0 ** np.floor(np.log10(max(away) or 1.0))
    size = size if 2.0 * size > max(away) else 2.0 * size
    ax.plot(
        [1.015, 1.015],
        [0.0, unit * size],
        color=GREY,
        linewidth=2.0,
        clip_on=False,
        transform=ax.get_yaxis_transform(),
        solid_capstyle="butt",
    )
    ax.text(
        1.03,
        0.5 * unit * size,
        f"{size:g}",
        transform=ax.get_yaxis_transform(),
        va="center",
        fontsize="small",
    )
    ax.set_ylabel("how often it came true, less its chance")


def _draw_histogram(ax: Axes, found: Calibration) -> None:
    bins = len(found.heights)
    edges = np.linspace(0.0, 1.0, bins + 1)
    ax.axhspan(found.lower, found.upper, color=GREY, alpha=0.25, linewidth=0)
    ax.bar(edges[:-1], found.heights, 1.0 / bins, align="edge", color=BLUE, alpha=0.55, linewidth=0)
    ax.axhline(1.0, color=ORANGE, linewidth=1.2)
    ax.set_xlim(0.0, 1.0)
    ax.set_ylim(0.0, 1.1 * max(float(found.heights.max()), found.upper))
    ax.set_xlabel("place of the observation in the distribution predicted from the other rows")
    ax.set_ylabel("rows, over those expected")
