"""View stage: what a model may miss - residuals over what they should not hang on, counts, one page of both."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Ints
from lmeformula.axes import BLUE, GREY, ORANGE, axes_of_panels, finish, new_axes, one_axes, panels
from lmeformula.checking.predictive import frequencies
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel, of_observations
from lmeformula.prediction.predict import fitted
from lmeformula.prediction.ranef import effects_of
from lmeformula.prediction.residuals import residuals as residuals_of
from lmeformula.text.names import BESIDE, drawn
from lmeformula.views.columns import rows_with_columns
from lmeformula.views.fit_plots import draw_qq, normal_quantiles, ppc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# Rows of whose values a line of means is drawn over residuals; and the most points that are drawn.
SLICES = 20
MOST_POINTS = 20_000
# Values of a factor that are named.
MOST_LEVELS = 40
FITTED = "fitted"
# Responses drawn by default; counts that are named below a rootogram, and below a small one.
DRAWS = 200
MOST_NAMES, FEW_NAMES = 12, 5


def residuals_against(
    fit: FittedModel,
    against: str = FITTED,
    *,
    data: Any = None,
    seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draw quantile residuals over fitted values or over a column of the data, with their means by slices.

    Of a model that is right they are standard normal wherever one looks; a line of means that leaves the band,
    of two standard errors about zero, is a curve or a level that the model misses.

    Args:
      fit: a fitted model with its rows.
      against: "fitted", or a column of the data, whether the formula has it or not.
      data: the table that was fitted, where the fit has it not.
      seed: of randomized quantile residuals.
      ax: axes to draw on; a new figure by default.
    Returns:
      ax: the axes drawn on.
    Raises:
      ModelError: if there is no such column, or the fit has no columns.
    """
    each = fit.by_observation
    found = residuals_of(each, "quantile", seed=seed).to_numpy(float)
    values = np.asarray(fitted(each), float) if against == FITTED else _column(fit, against, data)
    label = "fitted value" if against == FITTED else drawn(against)
    return _over(values, found, label, seed, ax)


def _over(values: Any, found: Floats, label: str, seed: int, ax: Axes | None) -> Axes:
    """Draw quantile residuals (n,) over values (n,), numbers or names."""
    if values.shape != found.shape:
        raise ModelError(
            "residuals over the fitted values are for responses with one mean",
            hint='Name a column: against="x".',
        )
    ax = new_axes() if ax is None else ax
    if values.dtype.kind in "ifu":
        places, slices = values.astype(float), _slices(values.astype(float))
    else:
        levels, slices = np.unique(values.astype(str), return_inverse=True)
        places = slices + np.random.default_rng(seed).uniform(-0.2, 0.2, len(found))
        if len(levels) <= MOST_LEVELS:
            ax.set_xticks(range(len(levels)), [drawn(level, BESIDE) for level in levels])
    some = np.unique(np.linspace(0, len(found) - 1, min(len(found), MOST_POINTS)).astype(int))
    ax.plot(places[some], found[some], "o", color=BLUE, markersize=2.5, alpha=0.35)
    _means(ax, values if values.dtype.kind in "ifu" else slices, found, slices)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    title = f"Quantile residuals (n = {len(found):,}), and their means"
    return finish(ax, title, "y", xlabel=label, ylabel="quantile residual")


def _slices(values: Floats) -> Ints:
    """(n,) which slice each row is in, of about equally many rows; rows of one value stay together."""
    ends = np.unique(np.quantile(values, np.linspace(0.0, 1.0, SLICES + 1)[1:-1]))
    return np.searchsorted(ends, values, side="left")


def _means(ax: Axes, values: Any, found: Floats, slices: Ints) -> None:
    count = np.bincount(slices)
    used = count > 0
    middle = np.bincount(slices, np.asarray(values, float))[used] / count[used]
    mean = np.bincount(slices, found)[used] / count[used]
    band = 2.0 / np.sqrt(count[used])
    ax.fill_between(middle, -band, band, color=GREY, alpha=0.25, linewidth=0)
    ax.plot(middle, mean, "o-", color=ORANGE, linewidth=1.4, markersize=3)


def _column(fit: FittedModel, name: str, data: Any) -> Any:
    """(n,) a column of the data, on the rows used, for each observation."""
    rows = rows_with_columns(fit, data)
    if name not in rows:
        known = ", ".join(str(each) for each in rows if not str(each).startswith("."))
        raise ModelError(f"the data have no column {name!r}", hint=f'"fitted", or one of {known}.')
    column = rows[name]
    frequency = fit.model.design.frequency
    if isinstance(frequency, np.ndarray):
        column = column.repeat(frequency.astype(int))
    return column.to_numpy(float) if pd.api.types.is_numeric_dtype(column) else column.to_numpy(str)


@kinds.takes(num_draws=kinds.whole(1, 100_000), seed=kinds.seed, ax=kinds.optional(one_axes))
@of_observations
def rootogram(
    fit: FittedModel, num_draws: int = DRAWS, seed: int = 0, ax: Axes | None = None
) -> Axes:
    """Draw a hanging rootogram of counts: bars of what was seen hang from what the model expects.

    Heights are square roots, so that rare counts are seen beside zeros. A bar that ends above the axis is of a
    count that is rarer than the model says, one that ends below of one that is more frequent; where it ends in
    the band, draws of the model vary as much.

    Args:
      fit: a fitted model of counts, with its rows.
      num_draws: responses drawn, from which what is expected is known.
      seed: of the draws.
      ax: axes to draw on; a new figure by default.
    Returns:
      ax: the axes drawn on.
    Raises:
      ModelError: if responses are not counts.
    References:
      Kleiber, Zeileis (2016), The American Statistician 70(3), 296-303.
    """
    if fit.model.family.measure != "counts":
        raise ModelError(
            f"a rootogram is of counts, and responses are {fit.model.family.measure or 'others'}",
            hint="Use fit.plot.ppc(), which draws any response.",
        )
    return _hang(fit, num_draws, seed, new_axes() if ax is None else ax, MOST_NAMES)


def _hang(fit: FittedModel, num_draws: int, seed: int, ax: Axes, most_names: int) -> Axes:
    found = frequencies(fit, num_draws=num_draws, level=0.95, seed=seed)
    places = np.arange(len(found.observed))
    expected, seen = np.sqrt(found.mean), np.sqrt(found.observed)
    low, high = (np.sqrt(end) - expected for end in (found.lower, found.upper))
    ax.bar(places, seen, 0.85, bottom=expected - seen, color=BLUE, alpha=0.55, label="data")
    ax.fill_between(places, -high, -low, color=GREY, alpha=0.35, linewidth=0, step="mid")
    ax.plot(places, expected, "o-", color=ORANGE, markersize=3.5, linewidth=1.2, label="the model")
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    names = [_named(low, high) for low, high in zip(found.edges[:-1], found.edges[1:], strict=True)]
    step = max(1, -(-len(names) // most_names))
    ax.set_xticks(places[::step], names[::step])
    ax.legend(frameon=False, fontsize="small")
    title = f"Counts (n = {fit.nobs:,}), hanging from what the model expects"
    return finish(
        ax, title, "y", xlabel=drawn(fit.model.design.response_name), ylabel="root of rows"
    )


def _named(low: float, high: float) -> str:
    first, last = round(low + 0.5), round(high - 0.5)
    return f"{first}" if first == last else f"{first}-{last}"


@kinds.takes(seed=kinds.seed, axes=kinds.optional(axes_of_panels))
@of_observations
def check(
    fit: FittedModel, seed: int = 0, axes: Sequence[Axes] | None = None
) -> NDArray[np.object_]:
    """Draw one page of model checks: residuals by quantiles and over fitted values, responses, effects.

    Args:
      fit: a fitted model with its rows.
      seed: of randomized quantile residuals and of draws.
      axes: four, or as many as there are panels; a new figure by default.
    Returns:
      axes: those drawn on: quantiles of residuals, residuals over fitted values where responses have one mean,
        counts as a rootogram or other responses beside draws, and quantiles of the effects of each coefficient
        of a grouping factor, at most three.
    """
    found = residuals_of(fit, "quantile", seed=seed).to_numpy(float)
    drawings: list[Callable[[Axes], object]] = [functools.partial(draw_qq, found)]
    if not fit.model.family.is_unordered:
        means = np.asarray(fitted(fit), float)
        drawings.append(lambda ax: _over(means, found, "fitted value", seed, ax))
    if fit.model.family.measure == "counts":
        drawings.append(lambda ax: _hang(fit, DRAWS, seed, ax, FEW_NAMES))
    else:
        drawings.append(lambda ax: ppc(fit, ax, seed=seed))
    terms = [term for term in fit.model.design.terms if term.role == "group"]
    chosen = [(term.group, column) for term in terms for column in term.columns][:3]
    for group, column in dict.fromkeys(chosen):
        drawings.append(functools.partial(_effects_qq, fit, group, column))
    drawn_on = panels(len(drawings), axes)
    for draw, ax in zip(drawings, drawn_on, strict=False):
        draw(ax)
        ax.set_title(ax.get_title(loc="left").split(" (n =")[0], loc="left", fontsize="small")
        if ax.get_legend() is not None:
            ax.get_legend().remove()
    return drawn_on


def _effects_qq(fit: FittedModel, group: str, column: str, ax: Axes) -> Axes:
    """Quantiles of effects over those of a normal distribution."""
    chosen = effects_of(fit, group, column)
    found = np.sort(chosen.values)
    normal = normal_quantiles(np.arange(1.0, len(found) + 1.0), len(found))
    spread = float(found.std()) or 1.0
    ax.plot(normal, found.mean() + spread * normal, color=ORANGE, linewidth=1.2)
    ax.plot(normal, found, "o", color=BLUE, markersize=3, alpha=0.7)
    return finish(ax, drawn(chosen.label), "y", xlabel="normal quantile", ylabel="effect")
