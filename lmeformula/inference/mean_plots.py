"""Pictures of marginal means: points with their intervals, or curves with bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lmeformula.axes import BLUE, GREEN, GREY, ORANGE, PINK, VIOLET, finish, new_axes
from lmeformula.text.names import BESIDE, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (BLUE, ORANGE, GREEN, VIOLET, PINK, GREY)
# How far apart the points of one place stand, of the distance of two places.
APART = 0.14


def values_of(frame: pd.DataFrame, of: Sequence[str]) -> list[str]:
    """(r,) what each row is of, in words: its values of some variables, side by side."""
    return [
        ", ".join(drawn(_short(value), BESIDE) for value in row)
        for row in frame[list(of)].itertuples(index=False)
    ]


def rows_of_means(
    frame: pd.DataFrame, names: Sequence[str], by: Sequence[str], xlabel: str, ax: Axes | None
) -> Axes:
    """Draw each mean or contrast in a line of its own, the first one above, with its interval.

    Args:
      frame: as `MarginalMeans.to_frame` lays them out.
      names: the columns that tell them apart.
      by: those that have a colour.
      xlabel: of the axis of the estimates.
      ax: axes to draw on; a new figure by default.
    """
    groups = values_of(frame, by) if by else [""] * len(frame)
    labels = values_of(frame, [*(name for name in names if name not in by), *by])
    if ax is None:
        ax = new_axes(height=1.4 + 0.28 * len(frame))
    places = np.arange(len(frame))
    for number, group in enumerate(dict.fromkeys(groups)):
        here = np.array([each == group for each in groups])
        colour = COLOURS[number % len(COLOURS)]
        some = frame[here]
        ax.hlines(places[here], some["conf_low"], some["conf_high"], color=colour, alpha=0.5)
        ax.plot(some["estimate"], places[here], "o", color=colour, markersize=4)
    ax.set_yticks(places, labels)
    ax.set_ylim(len(frame) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    return finish(ax, "", "x", xlabel=xlabel)


def curves_of_means(frame: pd.DataFrame, x: str, by: Sequence[str], ylabel: str, ax: Axes) -> Axes:
    """Draw means over a number as curves with bands, over a factor as points with intervals.

    Args:
      frame: as `MarginalMeans.to_frame` lays them out.
      x: the column along the axis.
      by: those that have a colour.
      ylabel: of the axis of the estimates.
      ax: axes to draw on.
    """
    groups = np.array(values_of(frame, by) if by else [""] * len(frame))
    is_number = pd.api.types.is_float_dtype(frame[x])
    names = list(dict.fromkeys(groups))
    levels = list(dict.fromkeys(frame[x]))
    for number, group in enumerate(names):
        some, colour = frame[groups == group], COLOURS[number % len(COLOURS)]
        low, high = some["conf_low"], some["conf_high"]
        if is_number:
            ax.fill_between(some[x], low, high, color=colour, alpha=0.18, linewidth=0)
            ax.plot(some[x], some["estimate"], color=colour, linewidth=1.6, label=group)
        else:
            aside = APART * (number - 0.5 * (len(names) - 1))
            places = np.array([levels.index(value) for value in some[x]]) + aside
            ax.vlines(places, low, high, color=colour, alpha=0.6, linewidth=1.5)
            ax.plot(places, some["estimate"], "o", color=colour, markersize=4.5, label=group)
    if not is_number:
        ax.set_xticks(range(len(levels)), [drawn(_short(value), BESIDE) for value in levels])
        ax.set_xlim(-0.6, len(levels) - 0.4)
    if by:
        title = ", ".join(drawn(name) for name in by)
        ax.legend(title=title, frameon=False, fontsize="small", title_fontsize="small")
    return finish(ax, "", "y", xlabel=drawn(x), ylabel=ylabel)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
