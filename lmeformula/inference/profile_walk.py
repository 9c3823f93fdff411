"""Walk along the ridge of a log-likelihood, one coordinate held and the others at their best.

References: Venzon, Moolgavkar (1988), Applied Statistics 37, 87-94, for profile intervals; Bates (2010), lme4:
Mixed-effects modeling with R, section 1.5, for zeta.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg as sl
from scipy.optimize import minimize

from lmeformula.arrays import Floats

# The other coordinates are at their best where the gradient, in the metric of the information, is shorter than
# this: the log-likelihood is then short of its ridge by about its square.
GRADIENT = 1e-4
# A wanted zeta is found when it is missed by less than this; a last step of Newton's leaves about its square.
ZETA = 1e-3
# Step of the differences for the information.
DIFFERENCE = 1e-4
MAX_STEPS = 40
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

    Args:
      surface: the log-likelihood.
    Raises:
      HigherGroundError: if the others can do better at the top.
    """

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        start = surface.interior(surface.top)
        curvature = _information(surface.value, start)
        whole = sl.inv(curvature)
        self._across = sl.cholesky(curvature[1:, 1:], lower=True)
        self._tangent = whole[1:, 0] / whole[0, 0]
        self.maximum = surface.value(surface.top)[0]
        settled = self._settle(float(surface.top[0]), (start[1:],))
        if settled.value > self.maximum + HIGHER:
            raise HigherGroundError(settled.value - self.maximum)
        self.maximum = max(self.maximum, settled.value)
        self.summit = Stop(
            float(surface.top[0]), settled.others, 0.0, 1.0 / math.sqrt(whole[0, 0]), True
        )

    def visit(self, at: float, guesses: tuple[Floats, ...] = ()) -> Stop:
        """The point of the ridge at a value of the first coordinate.

        Args:
          at: the value.
          guesses: (m - 1,) others to start from, the best of them; along the tangent at the top by default.
        Returns:
          The point.
        Raises:
          HigherGroundError: if the log-likelihood is higher there than at the top.
        """
        tangent = self.summit.others + self._tangent * (at - self.summit.at)
        found = self._settle(at, guesses or (tangent,))
        fall = self.maximum - found.value
        if fall < -HIGHER:
            raise HigherGroundError(-fall)
        sign = 1.0 if at > self.summit.at else -1.0
        zeta = sign * math.sqrt(2.0 * max(fall, 0.0))
        slope = -found.pull / zeta if zeta else self.summit.slope
        return Stop(at, found.others, zeta, slope, found.settled)

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
            fraction = (at - inner.at) * sign
            guesses: tuple[Floats, ...] = ()
            if inner is not self.summit:
                # The ridge bends: go on as it went from the top to the last point, or from there.
                way, length = inner.others - self.summit.others, abs(inner.at - self.summit.at)
                guesses = (inner.others + min(fraction / length, 1.0) * way, inner.others)
            stop = self.visit(at, guesses)
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

    def _settle(self, at: float, guesses: tuple[Floats, ...]) -> _Settled:
        """Maximise over the others, from the best guess."""
        value = self._look
        starts = [self.surface.interior(np.concatenate([[at], guess])) for guess in guesses]
        origin = starts[0] if len(starts) == 1 else max(starts, key=lambda start: value(start)[0])
        if len(origin) == 1:
            found, gradient = value(origin)
            return _Settled(origin[1:], found, float(gradient[0]), True)

        def place(z: Floats) -> Floats:
            move: Floats = sl.solve_triangular(self._across, z, lower=True, trans="T")
            return origin[1:] + move

        def fall(z: Floats) -> tuple[float, Floats]:
            found, gradient = value(np.concatenate([[at], place(z)]))
            if not np.isfinite(found):
                # A slope to turn back from.
                return 1e10 * (1.0 + float(z @ z)), 2e10 * z
            return -found, -sl.solve_triangular(self._across, gradient[1:], lower=True)

        end = minimize(
            fall,
            np.zeros(len(origin) - 1),
            jac=True,
            method="BFGS",
            options={"gtol": GRADIENT, "norm": 2, "maxiter": 200},
        )
        others = place(end.x)
        pull = float(value(np.concatenate([[at], others]))[1][0])
        settled = bool(np.linalg.norm(end.jac) < 10 * GRADIENT)
        return _Settled(others, -float(end.fun), pull, settled)

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
    others: Floats
    value: float
    pull: float
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
