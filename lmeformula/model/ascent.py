"""Newton ascent of a likelihood in free coordinates, some of which are elements of covariance factors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.model.factors import FactorSpace

Floats = NDArray[np.float64]

# A column of a factor that is shorter than this is tried at zero.
SHORT = 1e-3
# A step changes an element of a factor by at most this, plus its own size.
LONGEST_STEP = 0.5
MAX_STEPS = 200
# A further step that promises less than this in log-likelihood is not taken.
NEGLIGIBLE_GAIN = 1e-9
# A gain below which the maximum counts as found, whether or not another step could be taken.
CONVERGED_GAIN = 1e-6
# A variance at zero is set free if the log-likelihood rises by this per row and unit of relative variance.
FREEING_SLOPE = 1e-6


class Point(NamedTuple):
    """The likelihood at one vector of coordinates: others first, then the elements of the factors.

    Attributes:
      coordinates: (m + t,).
      value: log-likelihood.
      score: its derivative in the coordinates.
      information: an approximation from above to its negative second derivative; positive semidefinite.
      pulls: (k, k) of each term: K with d log-likelihood / d Lambda = -K Lambda.
      detail: whatever else was worked out on the way.
    """

    coordinates: Floats
    value: float
    score: Floats
    information: Floats
    pulls: tuple[Floats, ...]
    detail: Any


class Summit(NamedTuple):
    """Where the ascent ended.

    Attributes:
      point: the last point.
      frozen: (m + t,) coordinates that belong to columns of factors at zero.
      gain: rise of the log-likelihood that another step promises.
      num_evaluations: how often the likelihood was evaluated.
    """

    point: Point
    frozen: NDArray[np.bool_]
    gain: float
    num_evaluations: int

    @property
    def converged(self) -> bool:
        """Whether no rise is left."""
        return self.gain < CONVERGED_GAIN


def ascend(
    evaluate: Callable[[Floats], Point], space: FactorSpace, start: Floats, num_rows: int
) -> Summit:
    """Climb to a maximum.

    Newton's method, each step shortened until the likelihood rises. A column of a factor that ends near zero
    is taken there, and one that lies there is set free if the likelihood rises with its variance.

    Args:
      evaluate: coordinates -> Point; diagonal elements of factors are given at least SMALLEST in size.
      space: the elements of the factors, the last coordinates.
      start: (m + t,) where to start.
      num_rows: number of rows, the scale of the likelihood.
    Returns:
      The summit, whether or not it is one.
    """
    others = len(start) - space.size
    count = 0

    def look(coordinates: Floats) -> Point:
        nonlocal count
        count += 1
        elements = space.keep_off_zero(coordinates[others:])
        return evaluate(np.concatenate([coordinates[:others], elements]))

    point = look(start)
    frozen = np.zeros(len(start), bool)
    gain = np.inf
    for _ in range(MAX_STEPS):
        step = _step(point, ~frozen, others)
        gain = float(point.score @ step)
        following = _line_search(look, point, step, gain) if gain >= NEGLIGIBLE_GAIN else None
        if following is None:
            freed = _free_a_column(look, space, point, frozen, others, num_rows)
            if freed is None:
                break
            point, frozen = freed
            continue
        point, frozen = _freeze_columns(look, space, following, frozen, others)
    return Summit(point, frozen, gain, count)


def _step(point: Point, free: NDArray[np.bool_], others: int) -> Floats:
    """Newton's step in the free coordinates, those of factors held to a trusted length."""
    step = np.zeros(len(free))
    information = point.information[np.ix_(free, free)]
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    scaled = information / np.outer(scale, scale) + 1e-10 * np.eye(len(information))
    step[free] = np.linalg.solve(scaled, point.score[free] / scale) / scale
    trusted = LONGEST_STEP + np.abs(point.coordinates[others:])
    return step / max(1.0, float((np.abs(step[others:]) / trusted).max(initial=0.0)))


def _line_search(
    look: Callable[[Floats], Point], point: Point, step: Floats, gain: float
) -> Point | None:
    """The first of the step, its half, its quarter ... that raises the likelihood enough."""
    rounding = 1e-13 * abs(point.value)
    for halvings in range(20):
        share = 0.5**halvings
        following = look(point.coordinates + share * step)
        if following.value >= point.value + 1e-4 * share * gain - rounding:
            return following
    return None


def _freeze_columns(
    look: Callable[[Floats], Point],
    space: FactorSpace,
    point: Point,
    frozen: NDArray[np.bool_],
    others: int,
) -> tuple[Point, NDArray[np.bool_]]:
    """Take short columns to zero where that does not lower the likelihood."""
    for column in space.columns:
        places = others + column
        is_short = float(np.linalg.norm(point.coordinates[places])) < SHORT
        if frozen[places].all() or not is_short:
            continue
        coordinates = point.coordinates.copy()
        coordinates[places] = 0.0
        at_zero = look(coordinates)
        if at_zero.value >= point.value:
            point, frozen = at_zero, frozen.copy()
            frozen[places] = True
    return point, frozen


def _free_a_column(
    look: Callable[[Floats], Point],
    space: FactorSpace,
    point: Point,
    frozen: NDArray[np.bool_],
    others: int,
    num_rows: int,
) -> tuple[Point, NDArray[np.bool_]] | None:
    """Set a column free in which the likelihood rises from zero, if there is one.

    For a short column x the log-likelihood is quadratic, -x'Kx / 2: it rises along the eigenvector of K's
    least eigenvalue, restricted to the elements that the column has, if that is negative.
    """
    matrices = [matrix for basis in space.bases for matrix in basis]
    for column in space.columns:
        places = others + column
        if not frozen[places].all():
            continue
        pull = point.pulls[space.owner[column[0]]]
        rows = [matrices[element] for element in column]
        curvature = np.array([[-np.einsum("ab,ac,cb->", r, pull, s) for s in rows] for r in rows])
        values, vectors = np.linalg.eigh(curvature)
        if values[-1] > FREEING_SLOPE * num_rows:
            coordinates, freed = point.coordinates.copy(), frozen.copy()
            coordinates[places] = 10 * SHORT * vectors[:, -1]
            freed[places] = False
            away = look(coordinates)
            if away.value > point.value:
                return away, freed
    return None
