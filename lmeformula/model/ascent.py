"""Newton ascent of a likelihood in free coordinates, some of which are elements of covariance factors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.model.factors import FactorSpace

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# A step changes an element of a factor by at most this, plus its own size.
LONGEST_STEP = 0.5
MAX_STEPS = 200
# Steps from a further start, after which it must have risen above the best so far.
TRIAL_STEPS = 15
# What is added to the diagonal of the information, scaled to one.
LEAST_DAMPING = 1e-10
# A further step that promises less than this in log-likelihood is not taken.
NEGLIGIBLE_GAIN = 1e-9
# A gain below which the maximum counts as found, whether or not another step could be taken.
CONVERGED_GAIN = 1e-6
# A face is left if the log-likelihood rises by this per row and squared distance.
FREEING_CURVATURE = 1e-6


class Point(NamedTuple):
    """The likelihood at one vector of coordinates: others first, then the elements of the factors.

    Attributes:
      coordinates: (m + t,).
      value: log-likelihood.
      score: its derivative in the coordinates.
      information: an approximation to its negative second derivative.
      slopes: (k, k) derivative in the factor Lambda of each term.
      detail: whatever else was worked out on the way.
    """

    coordinates: Floats
    value: float
    score: Floats
    information: Floats
    slopes: tuple[Floats, ...]
    detail: Any


class Summit(NamedTuple):
    """Where the ascent ended.

    Attributes:
      point: the last point.
      elements: (t,) elements of the factors there, those that rest on a face exactly.
      on_face: whether any do.
      gain: rise of the log-likelihood that another step promises.
      num_evaluations: how often the likelihood was evaluated.
    """

    point: Point
    elements: Floats
    on_face: bool
    gain: float
    num_evaluations: int

    @property
    def converged(self) -> bool:
        """Whether no rise is left."""
        return self.gain < CONVERGED_GAIN


def ascend(
    evaluate: Callable[[Floats], Point],
    space: FactorSpace,
    start: Floats,
    num_rows: int,
    negligible: float = NEGLIGIBLE_GAIN,
) -> Summit:
    """Climb to a maximum; to the highest found from several starts where a structure has several maxima.

    Newton's method, each step shortened until the likelihood rises. Elements that end next to a face, where
    the covariance is singular, are put to rest there, and set free if the likelihood rises away from it.

    Args:
      evaluate: coordinates -> Point; elements are given settled, away from where factors are singular.
      space: the elements of the factors, the last coordinates.
      start: (m + t,) where to start.
      num_rows: number of rows, the scale of the likelihood.
      negligible: a further step that promises less than this in log-likelihood is not taken.
    Returns:
      The summit, whether or not it is one.
    """
    nothing = np.zeros(space.size, bool)
    best = _climb(evaluate, space, start, nothing, num_rows, negligible)
    others, count = len(start) - space.size, best.num_evaluations
    starts = [(elements, nothing) for elements in space.alternatives(start[others:])]
    while starts:
        elements, resting = starts.pop(0)
        another = np.concatenate([best.point.coordinates[:others], elements])
        found = _climb(evaluate, space, another, resting, num_rows, negligible, TRIAL_STEPS)
        count += found.num_evaluations
        if found.point.value > best.point.value and not found.converged:
            higher = found.point.coordinates
            found = _climb(evaluate, space, higher, nothing, num_rows, negligible)
            count += found.num_evaluations
        if found.point.value > best.point.value:
            best = found
        if not starts and not resting.any():
            starts = _without_doubtful(best, space, others)
    return best._replace(num_evaluations=count)


def _without_doubtful(summit: Summit, space: FactorSpace, others: int) -> list[tuple[Floats, Mask]]:
    """Starts at the summit with one after the other of its doubtful elements at rest on a face."""
    covariance = np.linalg.pinv(summit.point.information, rcond=1e-10, hermitian=True)
    errors = np.sqrt(np.maximum(np.diag(covariance)[others:], 0.0))
    starts = []
    for term, face in space.doubtful(summit.elements, errors):
        resting = np.zeros(space.size, bool)
        resting[space.places(term, face)] = True
        starts.append((space.at_rest(term, face, summit.elements), resting))
    return starts


def _climb(
    evaluate: Callable[[Floats], Point],
    space: FactorSpace,
    start: Floats,
    resting: Mask,
    num_rows: int,
    negligible: float,
    max_steps: int = MAX_STEPS,
) -> Summit:
    """Climb to the maximum that is next, from elements of which some rest on faces."""
    others = len(start) - space.size
    count = 0

    def look(coordinates: Floats) -> Point:
        nonlocal count
        count += 1
        elements = space.settle(coordinates[others:])
        return evaluate(np.concatenate([coordinates[:others], elements]))

    point = look(start)
    gain, damping = np.inf, LEAST_DAMPING
    for _ in range(max_steps):
        idle = space.idle(point.coordinates[others:])
        resting = resting & ~idle
        free = np.concatenate([np.ones(others, bool), ~(resting | idle)])
        step = _step(point, free, others, damping)
        gain, before = float(point.score @ step), count
        following = _line_search(look, point, step, gain) if gain >= negligible else None
        is_trusted = count - before < 3
        damping = max(0.1 * damping, LEAST_DAMPING) if is_trusted else max(10 * damping, 0.1)
        if following is None:
            freed = _leave_a_face(look, space, point, resting, others, num_rows)
            if freed is None:
                break
            point, resting = freed
            continue
        point, resting = _rest_on_faces(look, space, following, resting, others)
    elements = space.rest(point.coordinates[others:], resting)
    return Summit(point, elements, bool(resting.any()), gain, count)


def _step(point: Point, free: Mask, others: int, damping: float) -> Floats:
    """Newton's step in the free coordinates, those of factors held to a trusted length.

    Damping, relative to the information of each coordinate, shortens it where it was too long before.
    """
    step = np.zeros(len(free))
    information = point.information if free.all() else point.information[np.ix_(free, free)]
    scale = np.sqrt(np.maximum(np.abs(information.diagonal()), 1e-300))
    scaled = information / (scale[:, None] * scale)
    scaled.reshape(-1)[:: len(scaled) + 1] += damping
    uphill = point.score[free] / scale
    try:
        np.linalg.cholesky(scaled)
        step[free] = np.linalg.solve(scaled, uphill) / scale
    except np.linalg.LinAlgError:
        # Where the likelihood bends upwards, the step goes as far as if it bent downwards.
        values, vectors = np.linalg.eigh(scaled)
        step[free] = vectors @ (vectors.T @ uphill / np.maximum(np.abs(values), damping)) / scale
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


def _rest_on_faces(
    look: Callable[[Floats], Point], space: FactorSpace, point: Point, resting: Mask, others: int
) -> tuple[Point, Mask]:
    """Take elements that lie next to a face there, where that does not lower the likelihood."""
    for term, face in space.faces:
        places, elements = space.places(term, face), point.coordinates[others:]
        if resting[places].all() or not space.is_near(term, face, elements):
            continue
        moved = space.at_rest(term, face, elements)
        there = look(np.concatenate([point.coordinates[:others], moved]))
        if there.value >= point.value:
            point, resting = there, resting.copy()
            resting[places] = True
    return point, resting


def _leave_a_face(
    look: Callable[[Floats], Point],
    space: FactorSpace,
    point: Point,
    resting: Mask,
    others: int,
    num_rows: int,
) -> tuple[Point, Mask] | None:
    """Set the elements of a face free away from which the likelihood rises, if there is one."""
    before, elements = point.coordinates[:others], point.coordinates[others:]
    for term, face in space.faces:
        places = space.places(term, face)
        if not resting[places].all():
            continue
        moved, curvature = space.escape(term, face, elements, point.score[others:], point.slopes)
        if curvature > FREEING_CURVATURE * num_rows:
            away = look(np.concatenate([before, moved]))
            if away.value > point.value:
                return away, resting & (moved == elements)
    return None
