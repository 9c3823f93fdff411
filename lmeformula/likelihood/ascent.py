"""Newton ascent of a likelihood in free coordinates, some of which are elements of covariance factors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.likelihood.evaluation import Evaluation, Measure, Summit
from lmeformula.likelihood.factors import FactorSpace
from lmeformula.likelihood.newton import LONGEST_STEP, Ways, ways_of

MAX_STEPS = 200
# A maximum is higher than one that was found if it is by this; along a level way there are no others.
HIGHER = 1e-7
# Of what an ascent that was left has in sight counts no more than this.
MOST_IN_SIGHT = 1.0
# Steps from a further start, after which it must have risen above the best so far; more of them, with measured
# informations, where covariances are all that moves, and evaluations cost little.
TRIAL_STEPS, MORE_STEPS = 15, 30
# Of so few rows the likelihood may have a second maximum at correlations of the other sign. Of more rows in few
# groups it may where a covariance is singular: its column spaces are many, and between two of them is a valley.
FEW_ROWS = 100
# So many of the local maxima on a half circle are started from, or these shares of it.
MOST_TOPS, ASIDE = 4, (1 / 4, 1 / 9, 8 / 9, 3 / 4)
# What is added to the diagonal of the information, scaled to one.
LEAST_DAMPING = 1e-10
# A further step that promises less than this in log-likelihood is not taken.
NEGLIGIBLE_GAIN = 1e-9
# From so many steps on, or where none rises, the information is measured, where that can be done: one that
# leaves out how coefficients and factors depend on each other leads to and fro across a ridge.
SLOW_STEPS = 15
# Newton steps at the end, of the information as it is measured; one after which less than this is gained is the
# last, and directions with a smaller share of information are left alone. Values differ by rounding.
MOST_POLISHING, POLISHED, KNOWN, ROUNDING = 4, 1e-20, 1e-5, 1e-12
# A rise of less, relative to the value, is none.
UNTOLD = 1e-15
# A face this near is rested on, and none is left, for so little: between the two the likelihood differs by
# rounding.
NOTHING = 1e-8
# A face is left if the log-likelihood rises by this per row and squared distance.
FREEING_CURVATURE = 1e-6
# Shares of the way off it that are tried: the maximum may be nearer than the way is long.
SHORTER = (1.0, 0.2, 0.04)
# So many whole steps in a row that rise by less than this share of what they promise lead nowhere, such as to
# and fro across a variance of zero.
MOST_LEVEL, LEVEL = 3, 0.01


def ascend(
    evaluate: Callable[[Floats], Evaluation],
    space: FactorSpace,
    start: Floats,
    num_rows: int,
    negligible: float = NEGLIGIBLE_GAIN,
    *,
    thorough: bool = False,
    further: tuple[Floats, ...] = (),
    measure: Measure | None = None,
    polished: bool = False,
    max_steps: int = MAX_STEPS,
    alone: bool = False,
) -> Summit:
    """Climb to a maximum; to the highest found from several starts where a structure has several maxima.

    Newton's method, each step shortened until the likelihood rises. Elements that end next to a face, where
    the covariance is singular, are put to rest there, and set free if the likelihood rises away from it.

    Args:
      evaluate: coordinates -> Evaluation; elements are given settled, away from where factors are singular.
      space: the elements of the factors, the last coordinates.
      start: (m + t,) where to start; what is on a face rests there to begin with.
      num_rows: number of rows, the scale of the likelihood.
      negligible: a further step that promises less than this in log-likelihood is not taken.
      thorough: from the end, try each variance at zero that the data hardly tell from it, whatever its
        structure, and of few rows, or where a covariance is singular, correlations of the other sign, and of
        one of either sign: a likelihood of few effects may have another maximum there.
      further: elements (t,) each to start from as well.
      measure: point, free coordinates (m + t,) -> the point with its negative second derivative itself in place
        of an approximation to it, which a slow ascent goes on with; None where it cannot be had.
      polished: whether to go on, by measured informations, as far as scores that are known to rounding tell.
      max_steps: most steps of one climb.
      alone: whether to climb from that start only, whatever maxima a structure is known to have elsewhere.
    Returns:
      The summit, whether or not it is one.
    """
    nothing, others = np.zeros(space.size, bool), len(start) - space.size
    resting = space.resting(start[others:])
    best = _climb(
        evaluate, space, start, resting, num_rows, negligible, measure=measure, max_steps=max_steps
    )
    count = best.num_evaluations
    known = () if alone else space.alternatives(start[others:])
    starts = [(other, nothing) for other in (*known, *further)]
    is_last = False
    while starts or not is_last:
        if not starts:
            starts = [] if alone else _without_doubtful(best, space, others, thorough)
            is_last = True
            if thorough and (num_rows <= FEW_ROWS or space.any_singular(best.resting)):
                starts += [(elements, nothing) for elements in space.turned(best.elements)]
                starts += space.supports(best.elements)
                for arc, resting in space.arcs(best.elements):
                    tops = _tops(evaluate, space, best, arc)
                    starts += [(elements, resting) for elements in tops]
                    count += len(arc)
            continue
        elements, resting = starts.pop(0)
        another = np.concatenate([best.point.coordinates[:others], elements])
        found = _climb(
            evaluate,
            space,
            another,
            resting,
            num_rows,
            negligible,
            measure=None if others else measure,
            max_steps=TRIAL_STEPS if others else MORE_STEPS,
        )
        count += found.num_evaluations
        if _is_higher(found, best) or _may_be_higher(found, best):
            # On to the end, and off faces that it started on.
            higher, resting = found.point.coordinates, found.resting
            found = _climb(evaluate, space, higher, resting, num_rows, negligible, measure=measure)
            count += found.num_evaluations
        if _is_higher(found, best):
            best = found
    best = best._replace(num_evaluations=count)
    if polished and measure is not None:
        best = _polished(evaluate, space, best, others, measure)
    return best


def _is_higher(found: Summit, best: Summit) -> bool:
    """Whether an ascent came higher than the best one, by more than both leave undone where that arrived.

    Or as high, and to rest on more faces: what is next to one is no other maximum.
    """
    is_simpler = found.resting.sum() > best.resting.sum()
    least = HIGHER if best.converged and not is_simpler else 0.0
    return found.point.value > best.point.value + least


def _may_be_higher(found: Summit, best: Summit) -> bool:
    """Whether an ascent that was left on its way to a maximum has as much in sight as it lacks.

    Where much is in sight, or the best is no maximum, no quadratic tells.
    """
    in_sight = min(found.gain, MOST_IN_SIGHT)
    is_left = best.converged and not found.converged
    return is_left and found.point.value + in_sight > best.point.value + HIGHER


def _tops(
    evaluate: Callable[[Floats], Evaluation], space: FactorSpace, best: Summit, arc: Floats
) -> list[Floats]:
    """The highest of those elements (a, t) on a half circle that stand above their neighbours.

    Where other coordinates go with them, what they are at the best so far says little elsewhere: then a few
    angles are climbed from besides, whatever their height.
    """
    before = best.point.coordinates[: len(best.point.coordinates) - space.size]
    values = np.array(
        [evaluate(np.concatenate([before, space.settle(elements)])).value for elements in arc]
    )
    values = np.where(np.isfinite(values), values, -np.inf)
    is_top = (values >= np.roll(values, 1)) & (values > np.roll(values, -1))
    tops = np.flatnonzero(is_top)
    tops = tops[np.argsort(-values[tops])][:MOST_TOPS]
    if len(before):
        tops = np.union1d(tops, np.rint(np.multiply(ASIDE, len(arc))).astype(int))
    return list(arc[tops])


def _polished(
    evaluate: Callable[[Floats], Evaluation],
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
        ways = _look(measure(point, free), free, others)
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


def _look(point: Evaluation, free: Mask, others: int) -> Ways:
    """Look at the likelihood in the directions of its information."""
    elements = point.coordinates[others:]
    limits = np.concatenate([np.full(others, np.inf), LONGEST_STEP + np.abs(elements)])
    return ways_of(point.score, point.information, free, limits)


def _without_doubtful(
    summit: Summit, space: FactorSpace, others: int, thorough: bool
) -> list[tuple[Floats, Mask]]:
    """Starts at the summit with one after the other of its doubtful elements at rest on a face.

    Single standard deviations that rest at zero take its place: each alone may account for what varies.
    """
    covariance = np.linalg.pinv(summit.point.information, rcond=1e-10, hermitian=True)
    errors = np.sqrt(np.maximum(np.diag(covariance)[others:], 0.0))
    starts, alone = [], space.alone()
    for term, face in space.doubtful(summit.elements, errors, thorough):
        resting = np.zeros(space.size, bool)
        places = space.places(term, face)
        resting[places] = True
        moved = space.at_rest(term, face, summit.elements)
        others_alone = np.setdiff1d(alone, places)
        moved[others_alone[summit.resting[others_alone]]] = np.abs(summit.elements[places]).max()
        starts.append((moved, resting))
    return starts


def _climb(
    evaluate: Callable[[Floats], Evaluation],
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

    def look(coordinates: Floats) -> Evaluation:
        nonlocal count
        count += 1
        elements = space.settle(coordinates[others:])
        return evaluate(np.concatenate([coordinates[:others], elements]))

    point, is_beside = look(start), True
    gain, damping, is_slow, num_level = np.inf, LEAST_DAMPING, False, 0
    for number in range(max_steps):
        is_slow = is_slow or number >= SLOW_STEPS
        idle = space.idle(point.coordinates[others:])
        resting = resting & ~idle
        free = np.concatenate([np.ones(others, bool), ~(resting | idle)])
        if measure is not None and is_slow:
            point = measure(point, free)
        ways = _look(point, free, others)
        gain, before = ways.gain(), count
        step = ways.trusted_step(damping) if gain >= negligible else np.zeros(len(free))
        promise = float(point.score @ step)
        # Where gradients are rounding, a flat direction promises more than any step along it.
        is_told = promise > UNTOLD * (1.0 + abs(point.value))
        following = _line_search(look, point, step, promise) if is_told else None
        is_trusted = count - before < 3
        damping = max(0.1 * damping, LEAST_DAMPING) if is_trusted else max(10 * damping, 0.1)
        if following is not None:
            is_level = is_trusted and following.value - point.value <= LEVEL * promise
            num_level = num_level + 1 if is_level else 0
            following = following if num_level <= MOST_LEVEL else None
        if following is None:
            num_level = 0
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


def _line_search(
    look: Callable[[Floats], Evaluation], point: Evaluation, step: Floats, gain: float
) -> Evaluation | None:
    """The first of the step, its half, its quarter ... that raises the likelihood enough."""
    rounding = 1e-13 * abs(point.value)
    for halvings in range(20):
        share = 0.5**halvings
        following = look(point.coordinates + share * step)
        if following.value >= point.value + 1e-4 * share * gain - rounding:
            return following
    return None


def _rest_on_faces(
    look: Callable[[Floats], Evaluation],
    space: FactorSpace,
    point: Evaluation,
    resting: Mask,
    others: int,
) -> tuple[Evaluation, Mask]:
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
    look: Callable[[Floats], Evaluation],
    space: FactorSpace,
    point: Evaluation,
    resting: Mask,
    others: int,
) -> tuple[Evaluation, Mask] | None:
    """Take a variance that is next to nothing to zero, where that does not lower the likelihood."""
    for moved, at_rest in space.emptied(point.coordinates[others:], resting):
        there = look(np.concatenate([point.coordinates[:others], moved]))
        if there.value >= point.value - NOTHING and at_rest.sum() > resting.sum():
            return there, at_rest
    return None


def _leave_a_face(
    look: Callable[[Floats], Evaluation],
    space: FactorSpace,
    point: Evaluation,
    resting: Mask,
    others: int,
    num_rows: int,
) -> tuple[Evaluation, Mask] | None:
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
            for share in SHORTER:
                # What makes no difference on the face jumps.
                shares = np.where(space.idle(elements), 1.0, share)
                there = elements + shares * (moved - elements)
                away = look(np.concatenate([before, there]))
                if away.value > point.value + NOTHING:
                    return away, resting & (moved == elements)
    return None
