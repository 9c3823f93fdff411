"""View stage: pictures that hold a fit against its data - quantiles of residuals, frequencies of responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.special

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.axes import BLUE, GREY, ORANGE, finish, new_axes, one_axes
from lmeformula.checking.predictive import frequencies
from lmeformula.fit import FittedModel, of_observations
from lmeformula.prediction.kept_effects import ReForm
from lmeformula.prediction.residuals import residuals
from lmeformula.text.names import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# More points than this are drawn by their quantiles: no eye tells them apart on a line.
MOST_POINTS = 2000


@kinds.takes(seed=kinds.seed, ax=kinds.optional(one_axes))
@of_observations
def qq(fit: FittedModel, seed: int = 0, ax: Axes | None = None) -> Axes:
    """Draw quantile residuals, in order, against the quantiles of a standard normal distribution.

    The band is where each point lies with a chance of 95 % if residuals are independent and normal.

    Args:
      fit: a fitted model with its rows.
      seed: of randomized quantile residuals.
      ax: axes to draw on; a new figure by default.
    Returns:
      ax: the axes drawn on.
    """
    return draw_qq(residuals(fit, "quantile", seed=seed).to_numpy(), ax)


def normal_quantiles(rank: Floats, n: int) -> Floats:
    """Of order statistics of n standard normal numbers, about their means, by Blom's rule."""
    return np.asarray(scipy.special.ndtri((rank - 0.375) / (n + 0.25)))


def draw_qq(values: Floats, ax: Axes | None = None) -> Axes:
    """Draw quantile residuals (n,) as `qq` does."""
    found = np.sort(values)
    n = len(found)
    places = np.unique(np.round(np.linspace(0, n - 1, min(n, MOST_POINTS))).astype(int))
    # An order statistic of uniform numbers has a beta distribution.
    rank = places + 1.0
    normal = normal_quantiles(rank, n)
    low, high = (
        scipy.special.ndtri(scipy.special.betaincinv(rank, n + 1.0 - rank, chance))
        for chance in (0.025, 0.975)
    )
    ax = new_axes() if ax is None else ax
    ax.fill_between(normal, low, high, color=GREY, alpha=0.25, linewidth=0)
    ax.plot(normal, normal, color=ORANGE, linewidth=1.2)
    ax.plot(normal, found[places], "o", color=BLUE, markersize=3, alpha=0.7)
    title = f"Quantile residuals (n = {n:,}), with 95 % bands"
    return finish(ax, title, "y", xlabel="normal quantile", ylabel="quantile residual")


@kinds.takes(ax=kinds.optional(one_axes))
def ppc(
    fit: FittedModel,
    ax: Axes | None = None,
    *,
    num_draws: int = 200,
    level: float = 0.9,
    re_form: ReForm = "NA",
    seed: int = 0,
) -> Axes:
    """Draw how often values of the response occur, in the data and in responses that the model draws.

    Args:
      fit: a fitted model with its rows.
      ax: axes to draw on; a new figure by default.
      num_draws, level, re_form, seed: as in `lmeformula.checking.predictive.frequencies`.
    Returns:
      ax: the axes drawn on: bars for the data, points and 90 % intervals (or another level) for the draws.
    """
    found = frequencies(fit, num_draws=num_draws, level=level, re_form=re_form, seed=seed)
    ax = new_axes() if ax is None else ax
    middles, widths = 0.5 * (found.edges[1:] + found.edges[:-1]), np.diff(found.edges)
    share = 0.8 if found.names else 1.0
    ax.bar(middles, found.observed, share * widths, color=BLUE, alpha=0.55, label="data")
    ax.vlines(middles, found.lower, found.upper, color=ORANGE, linewidth=1.5)
    ax.plot(middles, found.middle, "o", color=ORANGE, markersize=3.5, label="drawn by the model")
    if found.names:
        step = max(1, len(found.names) // 12)
        ax.set_xticks(middles[::step], list(map(drawn, found.names[::step])))
    ax.set_ylim(0, 1.18 * max(float(found.observed.max()), float(found.upper.max())))
    ax.legend(loc="upper center", ncols=2, frameon=False, fontsize="small")
    title = f"Responses (n = {fit.nobs:,}), and what the model draws"
    return finish(ax, title, "y", xlabel=drawn(fit.model.design.response_name), ylabel="rows")
