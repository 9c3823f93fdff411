"""Newton ascent of a likelihood in free coordinates, some of which are elements of covariance factors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

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
# Of so few rows the likelihood may have a second maximum at correlations of the other sign.
FEW_ROWS = 100
# What is added to the diagonal of the information, scaled to one.
LEAST_DAMPING = 1e-10
# A coordinate that changes the log-likelihood by less within its trusted length makes no difference.
FLAT = 1e-9
# Halvings, of the exponent, of the damping that keeps a step within what is trusted.
TRUST_STEPS = 6
# A further step that promises less than this in log-likelihood is not taken.
NEGLIGIBLE_GAIN = 1e-9
# A gain below which the maximum counts as found, whether or not another step could be taken.
CONVERGED_GAIN = 1e-6
# From so many steps on, or where none rises, the information is measured, where that can be done: one that
# leaves out how coefficients and factors depend on each other leads to and fro across a ridge.
SLOW_STEPS = 15
# Newton steps at the end, of the information as it is measured; one after which less than this is gained is the
# last, and directions with a smaller share of information are left alone. Values differ by rounding.
MOST_POLISHING, POLISHED, KNOWN, ROUNDING = 4, 1e-20, 1e-5, 1e-12
# A face this near is rested on for so little: between the two the likelihood differs by rounding.
NOTHING = 1e-8
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


Measure: TypeAlias = Callable[[Point, Mask], Point]


def nowhere(coordinates: Floats, factors: tuple[Floats, ...]) -> Point:
    """A point where the likelihood cannot be worked out: every other one is higher."""
    d = len(coordinates)
    slopes = tuple(np.zeros_like(factor) for factor in factors)
    return Point(coordinates, -np.inf, np.zeros(d), np.eye(d), slopes, None)


def where_told(
    look: Callable[[Floats, tuple[Floats, ...]], Point],
    factors: Callable[[Floats], tuple[Floats, ...]],
) -> Callable[[Floats], Point]:
    """A likelihood (coordinates, factors there) -> Point as `ascend` takes it: for any coordinates.

    Beyond what numbers of this precision tell apart it is nowhere.
    """

    def evaluate(coordinates: Floats) -> Point:
        there = factors(coordinates)
        try:
            return look(coordinates, there)
        except np.linalg.LinAlgError:
            return nowhere(coordinates, there)

    return evaluate


class Summit(NamedTuple):
    """Where the ascent ended.

    Attributes:
      point: the last point.
      elements: (t,) elements of the factors there, those that rest on a face exactly.
      resting: (t,) which do.
      gain: twice the rise of the log-likelihood that is in sight, over all directions.
      num_evaluations: how often the likelihood was evaluated.
    """

    point: Point
    elements: Floats
    resting: Mask
    gain: float
    num_evaluations: int

    @property
    def on_face(self) -> bool:
        """Whether some elements rest on a face."""
        return bool(self.resting.any())

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
    *,
    thorough: bool = False,
    further: tuple[Floats, ...] = (),
    measure: Measure | None = None,
    polished: bool = False,
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
      thorough: from the end, try each variance at zero that the data hardly tell from it, whatever its
        structure, and of few rows correlations of the other sign, and of one of either sign: a likelihood of
        few effects may have another maximum there.
      further: elements (t,) each to start from as well.
      measure: point, free coordinates (m + t,) -> the point with its negative second derivative itself in place
        of an approximation to it, which a slow ascent goes on with; None where it cannot be had.
      polished: whether to go on, by measured informations, as far as scores that are known to rounding tell.
    Returns:
      The summit, whether or not it is one.
    """
    nothing = np.zeros(space.size, bool)
    best = _climb(evaluate, space, start, nothing, num_rows, negligible, measure=measure)
    others, count = len(start) - space.size, best.num_evaluations
    starts = [(other, nothing) for other in (*space.alternatives(start[others:]), *further)]
    is_last = False
    while starts or not is_last:
        if not starts:
            starts, is_last = _without_doubtful(best, space, others, thorough), True
            if thorough and num_rows <= FEW_ROWS:
                starts += [(elements, nothing) for elements in space.turned(best.elements)]
                starts += space.aligned(best.elements)
            continue
        elements, resting = starts.pop(0)
        another = np.concatenate([best.point.coordinates[:others], elements])
        found = _climb(
            evaluate, space, another, resting, num_rows, negligible, max_steps=TRIAL_STEPS
        )
        count += found.num_evaluations
        if found.point.value > best.point.value:
            # On to the end, and off faces that it started on.
            higher, resting = found.point.coordinates, found.resting
            found = _climb(evaluate, space, higher, resting, num_rows, negligible, measure=measure)
            count += found.num_evaluations
        if found.point.value > best.point.value:
            best = found
    best = best._replace(num_evaluations=count)
    if polished and measure is not None:
        best = _polished(evaluate, space, best, others, measure)
    return best


def _polished(
    evaluate: Callable[[Floats], Point],
    space: FactorSpace,
    summit: Summit,
    others: int,
    measure: Measure,
) -> Summit:
    """Newton steps of the measured information, along what has some: what is said of a place that is nearly
    a maximum would go with the way that led there."""
    count, point, gain = summit.num_evaluations, summit.point, summit.gain
    for _ in range(MOST_POLISHING):
        elements = point.coordinates[others:]
        free = np.concatenate([np.ones(others, bool), ~(summit.resting | space.idle(elements))])
        if not free.any() or not gain > POLISHED:
            break
        ways = _ways(measure(point, free), free, others)
        step = ways.newton(KNOWN)
        if ways.excess(step) > 1.0:
            break
        settled = space.settle(elements + step[others:])
        following = evaluate(np.concatenate([point.coordinates[:others] + step[:others], settled]))
        count += 1
        if not following.value >= point.value - ROUNDING * (1.0 + abs(point.value)):
            break
        point, gain = following, float(following.score @ step)
    # The gain that the ascent ended with says whether it did its work; it is not better for being polished.
    elements = space.rest(point.coordinates[others:], summit.resting)
    return summit._replace(point=point, elements=elements, num_evaluations=count)


def _without_doubtful(
    summit: Summit, space: FactorSpace, others: int, thorough: bool
) -> list[tuple[Floats, Mask]]:
    """Starts at the summit with one after the other of its doubtful elements at rest on a face."""
    covariance = np.linalg.pinv(summit.point.information, rcond=1e-10, hermitian=True)
    errors = np.sqrt(np.maximum(np.diag(covariance)[others:], 0.0))
    starts = []
    for term, face in space.doubtful(summit.elements, errors, thorough):
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
    *,
    measure: Measure | None = None,
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

    point, is_beside = look(start), True
    gain, damping, is_slow = np.inf, LEAST_DAMPING, False
    for number in range(max_steps):
        is_slow = is_slow or number >= SLOW_STEPS
        idle = space.idle(point.coordinates[others:])
        resting = resting & ~idle
        free = np.concatenate([np.ones(others, bool), ~(resting | idle)])
        if measure is not None and is_slow:
            point = measure(point, free)
        ways = _ways(point, free, others)
        gain, before = ways.gain(), count
        step = _step(ways, damping) if gain >= negligible else np.zeros(len(free))
        promise = float(point.score @ step)
        following = _line_search(look, point, step, promise) if promise > 0.0 else None
        is_trusted = count - before < 3
        damping = max(0.1 * damping, LEAST_DAMPING) if is_trusted else max(10 * damping, 0.1)
        if following is None:
            freed = _leave_a_face(look, space, point, resting, others, num_rows)
            if freed is None and gain >= negligible and measure is not None and not is_slow:
                # Perhaps for want of a better information.
                is_slow = True
                continue
            if freed is None and is_beside:
                # An ascent that starts next to a face may have had no step to take.
                is_beside, at_rest = False, resting.sum()
                point, resting = _rest_on_faces(look, space, point, resting, others)
                if resting.sum() > at_rest:
                    continue
            if freed is None:
                freed = _empty(look, space, point, resting, others)
            if freed is None:
                break
            point, resting = freed
            continue
        point, resting = _rest_on_faces(look, space, following, resting, others)
    elements = space.rest(point.coordinates[others:], resting)
    return Summit(point, elements, resting, gain, count)


class _Ways(NamedTuple):
    """The information in its own directions, of the free coordinates.

    Attributes:
      free: (d,) which coordinates move.
      scale: (f,) what a free coordinate is divided by: its information's root.
      values: (f,) eigenvalues of the scaled information.
      vectors: (f, f) their vectors, in columns.
      along: (f,) the scaled score along each.
      trusted: (f,) how far a free coordinate may move at once; inf for those that are not elements of factors.
    """

    free: Mask
    scale: Floats
    values: Floats
    vectors: Floats
    along: Floats
    trusted: Floats

    def step(self, damping: float) -> Floats:
        """(d,) Newton's step, uphill where the likelihood bends upwards, with so much damping."""
        lengths = self.along / np.maximum(np.abs(self.values) + damping, damping)
        step = np.zeros(len(self.free))
        step[self.free] = self.vectors @ lengths / self.scale
        return step

    def newton(self, least: float) -> Floats:
        """(d,) Newton's step, in the directions that have more than the least information."""
        with np.errstate(divide="ignore", invalid="ignore"):
            lengths = np.where(self.values > least, self.along / self.values, 0.0)
        step = np.zeros(len(self.free))
        step[self.free] = self.vectors @ lengths / self.scale
        return step

    def excess(self, step: Floats) -> float:
        """How many times further than trusted a step goes."""
        return float((np.abs(step[self.free]) / self.trusted).max(initial=0.0))

    def gain(self) -> float:
        """Twice the rise that is in sight, over all directions, each as far as it can be trusted.

        A direction without information promises nothing, however long its step would be; and it stands in the
        way of no other.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = 1.0 / (np.abs(self.vectors) / (self.scale * self.trusted)[:, None]).max(
                axis=0, initial=0.0
            )
            lengths = np.minimum(np.abs(self.along) / np.abs(self.values), reach)
        return float(np.nansum(np.abs(self.along) * lengths))


def _ways(point: Point, free: Mask, others: int) -> _Ways:
    """Look at the likelihood in the directions of its information."""
    elements = point.coordinates[others:]
    limits = np.concatenate([np.full(others, np.inf), LONGEST_STEP + np.abs(elements)])
    trusted = limits[free]
    information = point.information if free.all() else point.information[np.ix_(free, free)]
    # What a coordinate changes the likelihood by within its whole trusted length may be rounding: no scale.
    least = FLAT / np.minimum(trusted, 1.0) ** 2
    scale = np.sqrt(np.maximum(np.abs(information.diagonal()), least))
    values, vectors = np.linalg.eigh(information / (scale[:, None] * scale))
    return _Ways(free, scale, values, vectors, vectors.T @ (point.score[free] / scale), trusted)


def _step(ways: _Ways, damping: float) -> Floats:
    """Newton's step, damped just as far as to keep every element within its trusted length.

    Damping, relative to the information of each coordinate, shortens the step in directions that have little of
    it and leaves the others nearly as they are.
    """
    step = ways.step(damping)
    if ways.excess(step) <= 1.0:
        return step
    low, high = damping, max(10.0 * damping, 1e-8)
    while ways.excess(ways.step(high)) > 1.0:
        low, high = high, 10.0 * high
    for _ in range(TRUST_STEPS):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if ways.excess(ways.step(middle)) > 1.0 else (low, middle)
    return ways.step(high)


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
        if there.value >= point.value - NOTHING:
            point, resting = there, resting.copy()
            resting[places] = True
    return point, resting


def _empty(
    look: Callable[[Floats], Point], space: FactorSpace, point: Point, resting: Mask, others: int
) -> tuple[Point, Mask] | None:
    """Take a variance that is next to nothing to zero, where that does not lower the likelihood."""
    for moved, at_rest in space.emptied(point.coordinates[others:], resting):
        there = look(np.concatenate([point.coordinates[:others], moved]))
        if there.value >= point.value - NOTHING and at_rest.sum() > resting.sum():
            return there, at_rest
    return None


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
    if not np.isfinite(point.value):
        return None
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
