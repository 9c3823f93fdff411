"""Profile likelihoods, a parameter at a time, and the intervals that they give."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.axes import BLUE, GREY, ORANGE, axes_of_panels, lighten, panels
from lmeformula.checkpoint.journal import kept_in, piece
from lmeformula.checkpoint.trees import Tree
from lmeformula.errors import ModelError
from lmeformula.estimation.continued import continued
from lmeformula.fit import FittedModel, not_of_draws
from lmeformula.inference.profile_likelihoods import has_profile, slice_of
from lmeformula.inference.profile_surface import Slice
from lmeformula.inference.profile_walk import HigherGroundError, Ridge, Stop
from lmeformula.prediction.intervals import chosen, cutoff, interval_frame
from lmeformula.prediction.parameters import Parameter
from lmeformula.text.names import drawn
from lmeformula.text.render import to_text
from lmeformula.text.table import Kind, Table, columns_of
from lmeformula.watch import watched

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# A profile has points at these steps of zeta.
SPACING = 0.5
# The columns of intervals as they are headed and written.
WRITTEN: dict[str, tuple[str, Kind]] = {
    "parameter": ("", "text"),
    "estimate": ("estimate", "number"),
    "lower": ("lower", "number"),
    "upper": ("upper", "number"),
}


@dataclass(frozen=True, slots=True, eq=False)
class ParameterProfile:
    """The profile likelihood of one parameter.

    Attributes:
      parameter: which.
      values: (m,) ascending, on the reporting scale; the estimate is one of them.
      zeta: (m,) signed roots of twice the fall of the log-likelihood, the other parameters at their best: near
        a straight line where the normal approximation holds on this scale.
      slopes: (m,) derivative of the value in zeta; infinite at a boundary.
      bounded: whether the first and the last value are the parameter's bounds, where the log-likelihood has
        not yet fallen as far as was asked for.
      is_sound: whether zeta rises with the value throughout, and every search for the best others ended.
    """

    parameter: Parameter
    values: Floats
    zeta: Floats
    slopes: Floats
    bounded: tuple[bool, bool]
    is_sound: bool

    def at(self, zeta: float) -> float:
        """The value at a given zeta, from the cubic between the nearest points; a bound, or nan, outside."""
        if zeta < self.zeta[0]:
            return float(self.values[0]) if self.bounded[0] else math.nan
        if zeta > self.zeta[-1]:
            return float(self.values[-1]) if self.bounded[1] else math.nan
        # Where the profile is not sound it may turn back: what turns back is left out.
        rising = np.append(True, self.zeta[1:] > np.maximum.accumulate(self.zeta)[:-1])
        x, y, slopes = self.zeta[rising], self.values[rising], self.slopes[rising]
        # Slopes are held where they would bend a cubic out of its monotone course (Fritsch, Carlson 1980).
        secants = np.diff(y) / np.diff(x)
        least = np.minimum(np.append(secants, np.inf), np.append(np.inf, secants))
        return float(CubicHermiteSpline(x, y, np.clip(slopes, 0.0, 3.0 * least))(zeta))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Profile:
    """Profile likelihoods of some parameters of a fit.

    Attributes:
      profiles: one for each parameter.
      restricted: whether those of the covariance parameters are of the restricted likelihood.
      level: coverage that the points reach out to.
    """

    profiles: tuple[ParameterProfile, ...]
    restricted: bool
    level: float

    @kinds.takes(level=kinds.coverage)
    def confint(self, level: float = 0.95) -> pd.DataFrame:
        """Intervals by interpolation between the points; see `Fit.confint` for those that are searched for.

        Args:
          level: coverage, up to that of the profile.
        Returns:
          frame: parameter, estimate, lower, upper, note.
        Raises:
          ModelError: for a level that the profile does not reach.
        """
        if not 0 < level <= self.level:
            raise ModelError(
                f"level is {level:g}, and the profile goes out to {self.level:g}",
                hint="Ask for it with fit.profile(level=...).",
            )
        cut = cutoff(level)
        return interval_frame(
            [p.parameter for p in self.profiles],
            [(p.at(-cut), p.at(cut)) for p in self.profiles],
            [
                note_of(p.parameter, p.bounded[0] and p.zeta[0] > -cut, p.is_sound)
                for p in self.profiles
            ],
        )

    def to_frame(self) -> pd.DataFrame:
        """A row for each point: parameter, value, zeta."""
        return pd.concat(
            [
                pd.DataFrame({"parameter": p.parameter.name, "value": p.values, "zeta": p.zeta})
                for p in self.profiles
            ],
            ignore_index=True,
        )

    @kinds.takes(axes=kinds.optional(axes_of_panels))
    def plot(self, axes: Sequence[Axes] | None = None) -> NDArray[np.object_]:
        """Draw zeta against each parameter: straight lines where likelihoods are those of normal distributions.

        Horizontal lines mark the 95 % interval, vertical ones its ends.

        Args:
          axes: one for each parameter; a new figure by default.
        Returns:
          axes: (number of parameters,) of those drawn on.
        """
        drawn_on = panels(len(self.profiles), axes)
        ends = self.confint(min(0.95, self.level))[["lower", "upper"]].itertuples(index=False)
        for one, ax, (lower, upper) in zip(self.profiles, drawn_on, ends, strict=True):
            _draw(one, ax, lower, upper)
        return drawn_on

    def __repr__(self) -> str:
        """The 95 % intervals, or narrower ones if the profiles end before."""
        level = min(0.95, self.level)
        frame = self.confint(level)
        headings = WRITTEN | ({"note": ("note", "text")} if frame["note"].any() else {})
        what = "Restricted profile likelihood" if self.restricted else "Profile likelihood"
        points = sum(len(p.values) for p in self.profiles)
        title = f"{what}, {points} points, {100 * level:g} % intervals"
        return to_text(Table(title, columns_of(frame.itertuples(), headings)))


@kinds.takes(
    parm=kinds.optional(kinds.names),
    level=kinds.coverage,
    checkpoint=kinds.optional(kinds.path),
)
@not_of_draws("profiles")
def profile(
    fit: FittedModel,
    parm: Sequence[str] | str | None = None,
    level: float = 0.99,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Profile:
    """Profile the likelihood of some parameters.

    Each point is a maximum over all other parameters with the one held, started from the last point. Of a
    REML fit the covariance parameters are profiled over the restricted likelihood, and the fixed effects, which
    that has none of, over the likelihood. (lme4 profiles the likelihood for all of them.)

    Args:
      fit: one by exact, quadrature or laplace, or one with effects by Student's t in blocks of one or two.
      parm: parameter names, one or several; by default all that have a profile: correlations that hang on
        several parameters of their structure, as those of `toep` beyond the first, have none.
      level: coverage that the points reach out to.
      checkpoint: a folder, which is made, for the parameters that are done: killed at any moment, the call goes
        on after them when it is made again, and ends at the same bits. It is removed at the end.
    Returns:
      The profiles.
    Raises:
      ModelError: for a parameter or a method that cannot be profiled, or if the fit is not at the maximum.
      CheckpointError: if the checkpoint is of another call, damaged, or in use by another process.
    """
    cut = cutoff(level)
    targets = [*np.arange(SPACING, cut - 0.5 * SPACING, SPACING), cut]
    with continued(checkpoint, "profile", fit, parm=parm, level=level):
        found = _explored(fit, parm, lambda cross, ridge: _profile(cross, ridge, targets))
    return Profile(tuple(ParameterProfile(*each) for each in found), fit.reml, level)


@kinds.takes(
    parm=kinds.optional(kinds.names),
    level=kinds.coverage,
    checkpoint=kinds.optional(kinds.path),
)
@not_of_draws("profile intervals")
def profile_intervals(
    fit: FittedModel,
    parm: Sequence[str] | str | None = None,
    level: float = 0.95,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Intervals of the values whose profile log-likelihood is not significantly below the maximum.

    The ends are searched for: zeta there is that of the level to 1e-3, before a last step of Newton's
    method which leaves about the square of that, so that they are good to some 1e-5 standard errors.

    Args:
      fit: one by exact, quadrature or laplace, or one with effects by Student's t in blocks of one or two.
      parm: parameter names, one or several; by default all that have a profile: correlations that hang on
        several parameters of their structure, as those of `toep` beyond the first, have none.
      level: coverage.
      checkpoint: see `profile`.
    Returns:
      frame: parameter, estimate, lower, upper, note. A bound of the parameter (an sd of zero, a correlation
        of 1) is the end where the log-likelihood does not fall far enough before it.
    Raises:
      ModelError: as `profile`.
    """
    cut = cutoff(level)
    with continued(checkpoint, "profile intervals", fit, parm=parm, level=level):
        found = _explored(fit, parm, lambda cross, ridge: _interval(cross, ridge, cut))
    rows, ends, notes = zip(*found, strict=True) if found else ((), (), ())
    return interval_frame(rows, ends, notes)


def _explored(
    fit: FittedModel, parm: Sequence[str] | str | None, explore: Callable[[Slice, Ridge], Tree]
) -> list[tuple[Any, ...]]:
    """Each parameter, and what is found along its ridge.

    Raises:
      ModelError: if the log-likelihood is higher somewhere than at the fit.
    """
    found = []
    asked = [each for each in chosen(fit, parm) if parm is not None or has_profile(fit, each)]
    with one_blas_thread(), watched("profile", len(asked), "parameters") as watch:
        for index in asked:
            with kept_in(None):
                cross = slice_of(fit, index)
            try:
                along = piece("profile", index, partial(_along, explore, cross))
                found.append((cross.parameter, *along))
                watch.step()
            except HigherGroundError as error:
                raise ModelError(
                    f"the log-likelihood is higher by {error.args[0]:.3g} at other values of "
                    f"{cross.parameter.name}: the fit is not at its maximum",
                    hint="See fit.outcome; rescale the columns, or simplify the random-effects terms, and fit "
                    "again.",
                ) from None
    return found


def _along(explore: Callable[[Slice, Ridge], Tree], cross: Slice) -> Tree:
    return explore(cross, Ridge(cross.surface))


def note_of(parameter: Parameter, touches: bool, is_sound: bool) -> str:
    """What a reader should know of a profile interval."""
    if not is_sound:
        return (
            "rough: the log-likelihood is flat or has several maxima; look at fit.profile().plot()"
        )
    if touches and parameter.bounds[0] == 0.0:
        return "zero is not excluded"
    return ""


def _profile(cross: Slice, ridge: Ridge, targets: Sequence[float]) -> Tree:
    """What `ParameterProfile` has beside the parameter."""
    sides: list[list[Stop]] = []
    bounded = []
    for sign, limit in zip((-1.0, 1.0), cross.surface.limits, strict=True):
        side: list[Stop] = []
        for target in targets:
            last = side[-1] if side else ridge.summit
            if last.at != limit and last.settled:
                side.append(ridge.seek(sign * target, side[-1] if side else None))
        last = side[-1] if side else ridge.summit
        sides.append(side)
        bounded.append(last.at == limit)
    below, above = sides
    stops = [*reversed(below), ridge.summit, *above]
    lost = any(math.isnan(stop.at) for stop in stops)
    stops = [stop for stop in stops if not math.isnan(stop.at)]
    values = np.array([cross.report(stop.at) for stop in stops])
    zeta = np.array([stop.zeta for stop in stops])
    slopes = np.array(
        [cross.report_slope(s.at) / s.slope if s.slope > 0 else np.inf for s in stops]
    )
    rises = bool((np.diff(zeta) > 0).all()) and all(stop.settled for stop in stops) and not lost
    if values[0] > values[-1]:
        values, zeta, slopes, bounded = values[::-1], -zeta[::-1], slopes[::-1], bounded[::-1]
    return values, zeta, slopes, (bounded[0], bounded[1]), rises


def _interval(cross: Slice, ridge: Ridge, cut: float) -> tuple[tuple[float, float], str]:
    """The ends of a parameter's interval, and what a reader should know of it."""
    stops = [
        ridge.summit if ridge.summit.at == limit else ridge.seek(target)
        for target, limit in zip((-cut, cut), cross.surface.limits, strict=True)
    ]
    ends = [math.nan if math.isnan(s.at) else cross.report(s.at) for s in stops]
    lower, upper = reversed(ends) if ends[0] > ends[1] else ends
    is_sound = all(stop.settled for stop in stops)
    note = note_of(cross.parameter, lower == cross.parameter.bounds[0], is_sound)
    return (lower, upper), note


def _draw(profile: ParameterProfile, ax: Axes, lower: float, upper: float) -> None:
    fine = np.linspace(profile.zeta[0], profile.zeta[-1], 101)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    ax.plot([profile.at(zeta) for zeta in fine], fine, color=BLUE, linewidth=1.2)
    ax.plot(profile.values, profile.zeta, "o", color=BLUE, markersize=2.5)
    for end in (lower, upper):
        if math.isfinite(end):
            ax.axvline(end, color=ORANGE, linewidth=1.0)
    ax.set_title(drawn(profile.parameter.name), loc="left", fontsize="medium")
    ax.set_ylabel("zeta")
    lighten(ax, grid="y")
