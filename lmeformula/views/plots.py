"""View stage: pictures of a fit on matplotlib axes; every function takes axes and returns them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Ints
from lmeformula.axes import (
    BLUE,
    GREY,
    ORANGE,
    axes_of_panels,
    finish,
    lighten,
    new_axes,
    num_columns,
    one_axes,
    panels,
)
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.prediction.draws import effect_draws
from lmeformula.prediction.intervals import chosen as places_of
from lmeformula.prediction.ranef import effects_of
from lmeformula.prediction.residuals import residuals as residuals_of
from lmeformula.text.names import BESIDE, drawn
from lmeformula.text.numbers import decimals_for, short
from lmeformula.views.check_plots import residuals_against

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELLED_LEVELS = 150  # more levels than this are drawn as a band, with the names of the extremes
EXTREMES = 5  # on either side
LARGE_NAMES = 40  # so many names have room for letters of the usual size
FEW_POINTS = 40  # no more points than this are marked on a line
RUG_LEVELS = 30  # fewer levels than this are shown one by one under a histogram

_takes_effect = kinds.takes(
    group=kinds.optional(kinds.text),
    column=kinds.optional(kinds.text),
    ax=kinds.optional(one_axes),
)


@kinds.takes(parameters=kinds.optional(kinds.names), axes=kinds.optional(axes_of_panels))
def convergence(
    fit: FittedModel, parameters: Sequence[str] | None = None, axes: Sequence[Axes] | None = None
) -> NDArray[np.object_]:
    """Draw the way of the parameters over the iterations, a panel each.

    A band of one standard error around the final estimate gives each panel its scale: wiggles well
    inside the band do not matter.

    Args:
      fit: a model fitted by `mcem`.
      parameters: their names; by default the first twelve.
      axes: one for each parameter; a new figure by default.
    Returns:
      axes: (number of parameters,) of those drawn on.
    Raises:
      ModelError: if the fit has no iterations, or no such parameter.
    """
    history = fit.trace
    if len(history) == 0:
        raise ModelError(
            f"a fit by the {fit.method} method keeps no iterations to draw",
            hint='Fit with method="mcem" to follow the parameters.',
        )
    places = places_of(fit, fit.param_names[:12] if parameters is None else parameters)
    names = [fit.param_names[place] for place in places]
    drawn_on = panels(len(names), axes)
    for name, error, ax in zip(names, fit.param_stderr[places], drawn_on, strict=True):
        values = history[name].to_numpy()
        _convergence_panel(ax, history["iteration"].to_numpy(), values, float(error))
        ax.set_title(f"{drawn(name)}  {short(float(values[-1]))}", loc="left", fontsize="medium")
    for ax in drawn_on[-num_columns(len(names)) :]:
        ax.set_xlabel("iteration")
    return drawn_on


@kinds.takes(
    term=kinds.optional(kinds.text),
    count=kinds.whole(1),
    ax=kinds.optional(one_axes),
)
def trace(
    fit: FittedModel, term: str | None = None, count: int = 7, ax: Axes | None = None
) -> Axes:
    """Draw successive Monte Carlo draws of some random effects, each in a lane of its own.

    Each lane has a scale of its own; the number at the right end of each is the mean of its draws and, in
    brackets, their standard deviation.

    Args:
      fit: a model fitted by `mcem`.
      term: name of a random-effects term; the first by default.
      count: number of effects.
      ax: axes to draw on; a new figure by default.
    Returns:
      ax: the axes drawn on.
    Raises:
      ModelError: if the fit has no draws of that term.
    """
    term = fit.model.design.terms[0].name if term is None and fit.model.design.terms else term
    shown = effect_draws(fit, term, count)
    if ax is None:
        ax = new_axes(height=1.2 + 0.45 * len(shown))
    for place, effect in enumerate(shown):
        lane = 1.1 * float(np.ptp(effect.draws))
        y = place - (effect.draws - effect.mean) / (lane or 1.0)  # the axis points down
        ax.axhline(place, color=GREY, linewidth=0.6, alpha=0.6)
        marker = "o" if len(y) <= FEW_POINTS else ""
        ax.plot(
            np.arange(1, len(y) + 1), y, color=BLUE, linewidth=0.7, marker=marker, markersize=2.5
        )
        decimals = max(0, decimals_for([effect.sd]) - 2)
        label = f"{effect.mean:.{decimals}f} ({effect.sd:.{decimals}f})"
        ax.text(
            1.01, place, label, transform=ax.get_yaxis_transform(), va="center", fontsize="small"
        )
    scalar = all(effect.column == "Intercept" for effect in shown)
    names = [drawn(e.level if scalar else f"{e.level}: {e.column}", BESIDE) for e in shown]
    ax.set_yticks(range(len(shown)), names)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.margins(x=0.01)
    ax.locator_params(axis="x", integer=True)
    ax.tick_params(axis="y", length=0)
    title = f"Draws of {len(shown)} effects, with mean (sd)"
    term = drawn(shown[0].term)
    return finish(ax, title, None, xlabel="draw in the last E-step", ylabel=term)


@kinds.takes(ax=kinds.optional(one_axes), against=kinds.optional(kinds.text), seed=kinds.seed)
def residuals(
    fit: FittedModel,
    ax: Axes | None = None,
    *,
    against: str | None = None,
    data: Any = None,
    seed: int = 0,
) -> Axes:
    """Draw the residuals of the rows that were fitted: a histogram, or quantile residuals over what is named.

    Args:
      fit: a fitted model.
      ax: axes to draw on; a new figure by default.
      against: "fitted", or a column of the data, whether the formula has it or not; see `residuals_against`.
      data: for a column, the table that was fitted, where the fit has it not.
      seed: of quantile residuals of counts and classes.
    Returns:
      ax: the axes drawn on.
    Raises:
      ModelError: if there is no such column.
    """
    if against is not None:
        return residuals_against(fit, against, data=data, seed=seed, ax=ax)
    return residual_histogram(residuals_of(fit.by_observation), fit.sigma, ax)


def residual_histogram(
    values: ArrayLike, sd: float | None = None, ax: Axes | None = None, title: str = "Residuals"
) -> Axes:
    """Draw a histogram of residuals, of fitted or of held-out rows.

    Args:
      values: (n,) observed minus predicted; NaN are left out.
      sd: the standard deviation that the model gives to residuals, to draw its normal curve.
      ax: axes to draw on; a new figure by default.
      title: above the axes.
    Returns:
      ax: the axes drawn on.
    """
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    ax = new_axes() if ax is None else ax
    _density(ax, finite, "residuals")
    if sd is not None:
        _normal_curve(ax, sd, f"normal, sd {short(sd)}")
    ax.axvline(0.0, color=GREY, linewidth=0.8)
    _legend_above(ax)
    title = f"{title} (n = {len(finite):,})"
    return finish(ax, title, "y", xlabel="observed - predicted", ylabel="density")


@_takes_effect
def histogram(
    fit: FittedModel, group: str | None = None, column: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the spread of a grouping factor's effects, with the normal curve that was estimated.

    What is drawn are the posterior means: they are nearer to zero than effects are, the more so the fewer rows
    a level has, so that they spread less than the curve even where the model is right.

    Args:
      fit: a fitted model.
      group: the grouping factor; the first by default.
      column: the coefficient; the first of that factor by default.
      ax: axes to draw on; a new figure by default.
    Returns:
      ax: the axes drawn on.
    Raises:
      ModelError: if there is no such grouping factor or coefficient.
    """
    chosen = effects_of(fit, group, column)
    ax = new_axes() if ax is None else ax
    if len(chosen.values) < RUG_LEVELS:
        ax.plot(
            chosen.values,
            np.full(len(chosen.values), 0.03),
            linestyle="none",
            marker="|",
            markersize=12,
            markeredgewidth=1.5,
            color=BLUE,
            transform=ax.get_xaxis_transform(),
            label="posterior means, shrunken towards zero",
        )
    else:
        _density(ax, chosen.values, "posterior means, shrunken towards zero")
    if chosen.sd > 0:
        _normal_curve(ax, chosen.sd, f"effects as estimated, sd {short(chosen.sd)}")
    _legend_above(ax)
    title = f"{drawn(chosen.label)}: {len(chosen.values):,} levels"
    effect = _effect_on(fit)
    return finish(ax, title, "y", xlabel=effect, ylabel="density")


@_takes_effect
def effects(
    fit: FittedModel, group: str | None = None, column: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the effects of a grouping factor by size, with 95 % intervals (a caterpillar plot).

    Args:
      fit: a fitted model.
      group: the grouping factor; the first by default.
      column: the coefficient; the first of that factor by default.
      ax: axes to draw on; a new figure by default.
    Returns:
      ax: the axes drawn on: a line and a name for each of up to 150 levels; one band for more, with the
        names of the lowest and the highest.
    Raises:
      ModelError: if there is no such grouping factor or coefficient.
    """
    chosen = effects_of(fit, group, column)
    order = np.argsort(chosen.values, kind="stable")
    values, half = chosen.values[order], 1.96 * chosen.cond_sd[order]
    places = np.arange(1, len(values) + 1)
    named = len(values) <= LABELLED_LEVELS
    if ax is None:
        each = 0.2 if len(values) <= LARGE_NAMES else 0.11
        ax = new_axes(height=1.2 + each * len(values) if named else 4.5)
    ax.axvline(0.0, color=GREY, linewidth=0.8)
    if named:
        ax.hlines(places, values - half, values + half, color=BLUE, alpha=0.5, linewidth=1.5)
        ax.plot(values, places, "o", color=BLUE, markersize=4)
        size = "medium" if len(values) <= LARGE_NAMES else "xx-small"
        ax.set_yticks(places, [drawn(chosen.levels[i], BESIDE) for i in order], fontsize=size)
        ax.tick_params(axis="y", length=0)
    else:
        ax.fill_betweenx(places, values - half, values + half, color=BLUE, alpha=0.25, linewidth=0)
        ax.plot(values, places, color=BLUE, linewidth=1.5)
        ax.set_ylabel("rank")
        _name_extremes(ax, [drawn(chosen.levels[i], BESIDE) for i in order], values, half)
    ax.set_ylim(0.3, len(values) + 0.7)
    title = f"{drawn(chosen.label)}: {len(values):,} levels"
    effect = f"{_effect_on(fit)}, with 95 % intervals"
    return finish(ax, title, "x", xlabel=effect)


def _effect_on(fit: FittedModel) -> str:
    """On which scale effects are: of the predictor, which is the response's with an identity link alone."""
    response, link = drawn(fit.model.design.response_name), fit.model.family.link
    if fit.model.family.is_distributional:
        return "effect on the linear predictor"
    if fit.model.family.is_latent:
        return f"effect on the {link} scale behind {response}"
    return f"effect on {response}" if link == "identity" else f"effect on {link}({response})"


def _name_extremes(ax: Axes, names: Sequence[str], values: Floats, half: Floats) -> None:
    """Write the names of the lowest and the highest levels beside the band, a line each."""
    for places, side in ((range(EXTREMES), 0), (range(len(names) - EXTREMES, len(names)), 1)):
        for number, place in enumerate(places):
            ax.annotate(
                names[place],
                (values[place] + half[place], place + 1),
                xytext=(
                    0.995 if side == 0 else 0.005,
                    (0.03 if side == 0 else 0.78) + 0.045 * number,
                ),
                textcoords="axes fraction",
                ha="right" if side == 0 else "left",
                fontsize="x-small",
            )


def _convergence_panel(ax: Axes, iterations: Ints, values: Floats, error: float) -> None:
    last = float(values[-1])
    scale = error if math.isfinite(error) and error > 0 else float(np.ptp(values)) or 1.0
    if math.isfinite(error):
        ax.axhspan(last - error, last + error, color=GREY, alpha=0.18, linewidth=0)
    ax.axhline(last, color=ORANGE, linewidth=1.0)
    marker = "o" if len(values) <= FEW_POINTS else ""
    ax.plot(iterations, values, color=BLUE, linewidth=1.2, marker=marker, markersize=2.5)
    low, high = float(values.min()), float(values.max())
    pad = 0.05 * (max(high, last + scale) - min(low, last - scale))
    ax.set_ylim(min(low, last - 1.3 * scale) - pad, max(high, last + 1.3 * scale) + pad)
    ax.locator_params(axis="x", integer=True, nbins=6)
    ax.locator_params(axis="y", nbins=4)
    lighten(ax, grid=None)


def _density(ax: Axes, values: Floats, label: str) -> None:
    # Freedman-Diaconis widths, within limits that keep a bar visible and a shape recognisable.
    edges = np.histogram_bin_edges(values, "fd") if len(values) > 1 else np.array([0.0, 1.0])
    bins = int(np.clip(len(edges) - 1, 10, 60))
    ax.hist(values, bins=bins, density=True, color=BLUE, alpha=0.55, linewidth=0, label=label)


def _normal_curve(ax: Axes, sd: float, label: str) -> None:
    x = np.linspace(-3.6 * sd, 3.6 * sd, 201)
    y = np.exp(-0.5 * (x / sd) ** 2) / (sd * math.sqrt(2 * math.pi))
    ax.plot(x, y, color=ORANGE, linewidth=1.5, label=label)


def _legend_above(ax: Axes) -> None:
    """Put the legend in a line of its own above what is drawn."""
    ax.set_ylim(0, 1.2 * ax.get_ylim()[1])
    ax.legend(loc="upper center", ncols=2, frameon=False, fontsize="small")
