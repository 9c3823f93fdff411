"""Walk along the ridge of a log-likelihood, one coordinate held and the others at their best.

References: Venzon, Moolgavkar (1988), Applied Statistics 37, 87-94, for profile intervals; Bates (2010), lme4:
Mixed-effects modeling with R, section 1.5, for zeta; Nocedal, Wright (2006), Numerical
Optimization, 2nd ed., sections 6.1 and 18.3, for the formula and its damping.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from lmeformula.arrays import Floats

# The other coordinates are at their best where the gradient, in the metric of the information, is shorter than
# this: the log-likelihood is then short of its ridge by about its square.
GRADIENT = 1e-4
# A wanted zeta is found when it is missed by less than this; a last step of Newton's leaves about its square.
ZETA = 1e-3
# Step of the differences for the information.
DIFFERENCE = 1e-4
MAX_STEPS = 40
# Newton steps of the others at a value of the first coordinate, how long they may be, in standard errors, and
# how often one is halved.
MAX_SETTLING, LONGEST, MOST_HALVINGS = 200, 2.0, 20
# A curvature that is seen counts with at least this share of what is known of it.
DAMPED = 0.2
# A log-likelihood above the fit's by more than this says that the fit was not at the maximum.
HIGHER = 1e-3


class Surface(NamedTuple):
    """A log-likelihood in dimensionless coordinates, the first of which is the one to be held.

    Attributes:
      value: coordinates (m,) -> log-likelihood and its gradient (m,).
      top: (m,) its maximum.
      interior: coordinates (m,) -> the same, drawn back from where the log-likelihood is flat because a
        covariance is nearly singular; a search starts there.
      limits: of the first coordinate: beyond them its parameter is at the boundary for all that matters.
    """

    value: Callable[[Floats], tuple[float, Floats]]
    top: Floats
    interior: Callable[[Floats], Floats]
    limits: tuple[float, float]


class Stop(NamedTuple):
    """A point of the ridge.

    Attributes:
      at: the first coordinate.
      others: (m - 1,) the best others.
      zeta: signed root of twice the fall of the log-likelihood from its maximum.
      slope: derivative of zeta in the first coordinate.
      settled: whether the others are at their best to the tolerance.
    """

    at: float
    others: Floats
    zeta: float
    slope: float
    settled: bool


class Ridge:
    """The ridge of a surface, explored from its top.

    What gradients say of the curvature on the way is remembered, by the formula of Broyden, Fletcher, Goldfarb
    and Shanno for all coordinates: so it tells how the others go along with the first one, and their Newton
    steps.

    Args:
      surface: the log-likelihood.
    Raises:
      HigherGroundError: if the others can do better at the top.
    """

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        start = surface.interior(surface.top)
        self._first = _information(surface.value, start)
        whole = sl.inv(self._first)
        self._across = sl.cholesky(self._first[1:, 1:], lower=True)
        self._bends = self._first
        self._last: _Settled | None = None
        self.maximum = surface.value(surface.top)[0]
        settled = self._settle(self._place(float(start[0]), start[1:]))
        if settled.value > self.maximum + HIGHER:
            raise HigherGroundError(settled.value - self.maximum)
        self.maximum = max(self.maximum, settled.value)
        slope = 1.0 / math.sqrt(whole[0, 0])
        self.summit = Stop(float(surface.top[0]), settled.coordinates[1:], 0.0, slope, True)

    def visit(self, at: float, near: Stop | None = None) -> Stop:
        """The point of the ridge at a value of the first coordinate.

        Args:
          at: the value.
          near: a point of the ridge to start from; the top by default.
        Returns:
          The point.
        Raises:
          HigherGroundError: if the log-likelihood is higher there than at the top.
        """
        if near is None or near is self.summit:
            near, self._bends, self._last = self.summit, self._first, None
        found = self._settle(max(self._guesses(at, near), key=lambda one: one.value))
        if not found.settled and self._bends is not self._first:
            # What was learnt on the way may be of no use here.
            self._bends, self._last = self._first, None
            again = self._settle(self._place(at, near.others))
            found = max(found, again, key=lambda one: (one.settled, one.value))
        fall = self.maximum - found.value
        if fall < -HIGHER:
            raise HigherGroundError(-fall)
        sign = 1.0 if at > self.summit.at else -1.0
        zeta = sign * math.sqrt(2.0 * max(fall, 0.0))
        slope = -float(found.gradient[0]) / zeta if zeta else self.summit.slope
        return Stop(at, found.coordinates[1:], zeta, slope, found.settled)

    def seek(self, target: float, near: Stop | None = None) -> Stop:
        """Go to where zeta is `target`, which is not zero.

        Args:
          target: signed.
          near: a point on the way that is already known; the top by default.
        Returns:
          The point, whose first coordinate is Newton's from ZETA off; or that at the limit of the surface, if
          the log-likelihood does not fall so far before it.
        """
        sign = math.copysign(1.0, target)
        limit = self.surface.limits[1 if sign > 0 else 0]
        inner, outer = self.summit if near is None else near, None
        for _ in range(MAX_STEPS):
            at = _propose(inner, outer, target, limit)
            stop = self.visit(at, inner)
            if abs(stop.zeta - target) < ZETA and stop.slope > 0:
                corrected = stop.at + (target - stop.zeta) / stop.slope
                return stop._replace(at=corrected, zeta=target)
            if abs(stop.zeta) > abs(target):
                outer = stop
            elif at == limit:
                return stop
            else:
                inner = stop
        return inner._replace(at=math.nan, settled=False)

    def _guesses(self, at: float, near: Stop) -> list[_Settled]:
        """Where to start from at a value of the first coordinate, if the others are best at another one.

        Where the ridge goes on as it is curved there; where that is far, where they are as well.
        """
        way = np.linalg.solve(self._bends[1:, 1:], self._bends[1:, 0]) * (near.at - at)
        length = float(np.linalg.norm(self._across.T @ way))
        guesses = [near.others + way * min(1.0, LONGEST / max(length, LONGEST))]
        if length > LONGEST:
            guesses.append(near.others)
        return [self._place(at, guess) for guess in guesses]

    def _place(self, at: float, others: Floats) -> _Settled:
        start = self.surface.interior(np.concatenate([[at], others]))
        return _Settled(start, *self._look(start), False)

    def _settle(self, point: _Settled) -> _Settled:
        """Maximise over the others, from a point."""
        for _ in range(MAX_SETTLING):
            self._learn(point)
            missing = self._missing(point)
            if missing < GRADIENT:
                return point._replace(settled=True)
            following = self._higher(point)
            if following is None and self._bends is not self._first:
                self._bends, self._last = self._first, None
                following = self._higher(point)
            if following is None:
                break
            point = following
        return point._replace(settled=bool(self._missing(point) < 10 * GRADIENT))

    def _missing(self, point: _Settled) -> float:
        """The length of the others' gradient in the metric of the information at the top."""
        if not np.isfinite(point.value):
            return math.inf
        along = sl.solve_triangular(self._across, point.gradient[1:], lower=True)
        return float(np.linalg.norm(along))

    def _higher(self, point: _Settled) -> _Settled | None:
        """A point higher up: at Newton's step of the others, or as far along it as raises the value enough."""
        if not np.isfinite(point.value):
            return None
        step = np.linalg.solve(self._bends[1:, 1:], point.gradient[1:])
        length = float(np.linalg.norm(self._across.T @ step))
        step *= min(1.0, LONGEST / max(length, LONGEST))
        promise = float(step @ point.gradient[1:])
        rounding = 1e-13 * abs(point.value)
        for halvings in range(MOST_HALVINGS):
            share = 0.5**halvings
            at = point.coordinates.copy()
            at[1:] += share * step
            value, gradient = self._look(at)
            if value >= point.value + 1e-4 * share * promise - rounding:
                return _Settled(at, value, gradient, False)
        return None

    def _learn(self, point: _Settled) -> None:
        """Take note of how the gradient has changed since the last point, held positive definite."""
        before, self._last = self._last, point
        if before is None or not (np.isfinite(before.value) and np.isfinite(point.value)):
            return
        move, change = point.coordinates - before.coordinates, before.gradient - point.gradient
        bent = self._bends @ move
        known, seen = float(move @ bent), float(move @ change)
        if known <= 0.0:
            return
        share = 1.0 if seen >= DAMPED * known else (1.0 - DAMPED) * known / (known - seen)
        change = share * change + (1.0 - share) * bent
        self._bends = (
            self._bends
            - np.outer(bent, bent) / known
            + np.outer(change, change) / float(move @ change)
        )

    def _look(self, at: Floats) -> tuple[float, Floats]:
        """The log-likelihood and its gradient; minus infinity where a step went too far for the arithmetic."""
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                value, gradient = self.surface.value(at)
        except np.linalg.LinAlgError:
            return -math.inf, np.zeros(len(at))
        finite = np.isfinite(value) and np.isfinite(gradient).all()
        return (value, gradient) if finite else (-math.inf, np.zeros(len(at)))


class HigherGroundError(Exception):
    """The log-likelihood is higher elsewhere than at the maximum that was given."""


class _Settled(NamedTuple):
    """Coordinates (m,), the value and its gradient (m,) there, and whether the others are at their best."""

    coordinates: Floats
    value: float
    gradient: Floats
    settled: bool


def _propose(inner: Stop, outer: Stop | None, target: float, limit: float) -> float:
    """The next value of the first coordinate: Newton's outwards, between two points a cubic's."""
    if outer is None:
        step = (target - inner.zeta) / inner.slope if inner.slope > 0 else math.inf
        reach = math.copysign(1.0 + 2.0 * abs(inner.zeta), target) / max(abs(inner.slope), 0.1)
        step = reach if abs(step) > 2.0 * abs(reach) else step
        at = inner.at + step
        return min(at, limit) if target > 0 else max(at, limit)
    width, rise = outer.at - inner.at, outer.zeta - inner.zeta
    share = (target - inner.zeta) / rise
    first, last = (
        rise / (stop.slope * width) if stop.slope > 0 else 1.0 for stop in (inner, outer)
    )
    # The cubic through both points, as a function of zeta, with their slopes.
    s = share
    cubic = s * s * (3 - 2 * s) + first * s * (1 - s) ** 2 - last * s * s * (1 - s)
    if not 0.02 < cubic < 0.98:
        cubic = 0.5 if not 0.0 < share < 1.0 else min(max(share, 0.05), 0.95)
    return inner.at + width * cubic


def _information(value: Callable[[Floats], tuple[float, Floats]], at: Floats) -> Floats:
    """(m, m) negative second derivative by differences of the gradient, made positive definite.

    Coordinates are dimensionless, with standard errors of the order of one and less: an eigenvalue far
    below that belongs to a direction in which there is nothing to see.
    """
    m = len(at)
    falls = [value(at - step)[1] - value(at + step)[1] for step in DIFFERENCE * np.eye(m)]
    rows = np.array(falls) / (2.0 * DIFFERENCE)
    matrix = 0.5 * (rows + rows.T)
    values, vectors = np.linalg.eigh(matrix)
    lifted = np.maximum(np.abs(values), 0.5 / m)
    return np.asarray((vectors * lifted) @ vectors.T)
