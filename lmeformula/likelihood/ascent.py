"""Newton ascent of a likelihood in free coordinates, some of which are elements of covariance factors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.likelihood.elsewhere import arcs, emptied, supports, turned
from lmeformula.likelihood.evaluation import Evaluation, Measure, Summit
from lmeformula.likelihood.factors import FactorSpace
from lmeformula.likelihood.hill import Hill
from lmeformula.likelihood.polishing import polished_summit
from lmeformula.watch import Ascent, ascending

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
# Steps at the end that promise less than what is negligible.
MOST_LAST = 2
# From so many steps on, or where none rises, the information is measured, where that can be done: one that
# leaves out how coefficients and factors depend on each other leads to and fro across a ridge.
SLOW_STEPS = 15
# A rise of less, relative to the value, is none.
UNTOLD = 1e-15
# A face this near is rested on, and none is left, for so little: between the two a likelihood that is worked
# out differs by rounding.
NOTHING = 1e-8
# The same of one that is estimated: across a face its score is zero but for noise, which the least step off it
# makes a difference of.
NOTHING_ESTIMATED = 1e-5
# A further ascent is over where no more than this is left to a known maximum, in squared standard errors, and
# the quadratic there told what it came to but for so much.
BESIDE, TOLD = 0.25, 0.1
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
    last: float | None = None,
    *,
    thorough: bool = False,
    further: tuple[Floats, ...] = (),
    measure: Measure | None = None,
    polished: bool = False,
    max_steps: int = MAX_STEPS,
    alone: bool = False,
    nothing: float = NOTHING,
    costly: bool = False,
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
      last: but for MOST_LAST steps that promise this, where the information tells them well: along a way
        without information there would be no end of them.
      thorough: from the end, try each variance at zero that the data hardly tell from it, whatever its
        structure, and of few rows, or where a covariance is singular, correlations of the other sign, and of
        one of either sign: a likelihood of few effects may have another maximum there.
      further: elements (t,) each to start from as well.
      measure: point, free coordinates (m + t,) -> the point with its negative second derivative itself in place
        of an approximation to it, which a slow ascent goes on with; None where it cannot be had.
      polished: whether to go on, by measured informations, as far as scores that are known to rounding tell.
      max_steps: most steps of one climb.
      alone: whether to climb from that start only, whatever maxima a structure is known to have elsewhere.
      nothing: what a log-likelihood may lack that is as high, of one that is estimated.
      costly: whether an evaluation takes long: where a single standard deviation is all that there is, a
        likelihood that rises from zero leads to the maximum that is known, and is not followed there.
    Returns:
      The summit, whether or not it is one.
    """
    if not len(start):
        return Summit(evaluate(start), start, np.zeros(0, bool), 0.0, 1)
    hill = Hill(evaluate, space, num_rows, negligible, measure, last or negligible, nothing, costly)
    unrested, others = np.zeros(space.size, bool), len(start) - space.size
    # Where other coordinates go along, measuring takes too long to be tried out.
    trial, steps = (hill._replace(measure=None), TRIAL_STEPS) if others else (hill, MORE_STEPS)
    best = _climb(hill, start, space.resting(start[others:]), max_steps)
    count = best.num_evaluations
    known = () if alone else space.alternatives(start[others:])
    starts = [(other, unrested) for other in (*known, *further)]
    is_last = False
    while starts or not is_last:
        if not starts:
            starts = [] if alone else _without_doubtful(hill, best, thorough)
            is_last = True
            if thorough and (num_rows <= FEW_ROWS or space.any_singular(best.resting)):
                starts += [(elements, unrested) for elements in turned(space, best.elements)]
                starts += supports(space, best.elements)
                for arc, resting in arcs(space, best.elements):
                    starts += [(elements, resting) for elements in _tops(hill, best, arc)]
                    count += len(arc)
            continue
        elements, resting = starts.pop(0)
        another = np.concatenate([hill.others(best.point), elements])
        found = _climb(trial, another, resting, steps, known=best)
        count += found.num_evaluations
        if _is_higher(found, best) or _may_be_higher(found, best):
            # On to the end, and off faces that it started on.
            found = _climb(hill, found.point.coordinates, found.resting)
            count += found.num_evaluations
        if _is_higher(found, best):
            best = found
    best = best._replace(num_evaluations=count)
    return best if measure is None or not polished else polished_summit(hill, measure, best)


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


def _tops(hill: Hill, best: Summit, arc: Floats) -> list[Floats]:
    """The highest of those elements (a, t) on a half circle that stand above their neighbours.

    Where other coordinates go with them, what they are at the best so far says little elsewhere: then a few
    angles are climbed from besides, whatever their height.
    """
    before = hill.others(best.point)
    values = np.array([hill.at(before, hill.space.settle(elements)).value for elements in arc])
    return list(arc[tops_on(values, len(before) > 0)])


def tops_on(values: Floats, with_others: bool) -> Ints:
    """Places on a half circle to climb from: the highest of those that stand above their neighbours.

    Args:
      values: (a,) log-likelihoods.
      with_others: whether other coordinates go along, so that these say little.
    """
    values = np.where(np.isfinite(values), values, -np.inf)
    is_top = (values >= np.roll(values, 1)) & (values > np.roll(values, -1))
    tops = np.flatnonzero(is_top)
    tops = tops[np.argsort(-values[tops])][:MOST_TOPS]
    if with_others:
        tops = np.union1d(tops, np.rint(np.multiply(ASIDE, len(values))).astype(int))
    return tops


def _without_doubtful(hill: Hill, summit: Summit, thorough: bool) -> list[tuple[Floats, Mask]]:
    """Starts at the summit with one after the other of its doubtful elements at rest on a face.

    Single standard deviations that rest at zero take its place: each alone may account for what varies.
    """
    space = hill.space
    covariance = np.linalg.pinv(summit.point.information, rcond=1e-10, hermitian=True)
    others = len(covariance) - space.size
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


def _is_beside(hill: Hill, point: Evaluation, known: Summit) -> bool:
    """Whether a point is where a known maximum is the only one: nearby, where its quadratic tells all.

    That quadratic has to have told the value and the slope there.
    """
    others, elements = known.point.coordinates, hill.elements(known.point)
    signs = np.ones(len(others))
    signs[len(signs) - hill.space.size :] = hill.space.signs(hill.elements(point), elements)
    move = signs * point.coordinates - others
    pull = known.point.information @ move
    square = float(move @ pull)
    if not (known.converged and square < BESIDE) or known.resting.any():
        return False
    fall, slope = known.point.value - point.value, signs * point.score + pull - known.point.score
    is_told = abs(fall - 0.5 * square) <= TOLD * square
    return is_told and abs(float(slope @ move)) <= TOLD * square


def _climb(
    hill: Hill,
    start: Floats,
    resting: Mask,
    max_steps: int = MAX_STEPS,
    known: Summit | None = None,
) -> Summit:
    """As `_climbed`, in the sight of who looks."""
    with ascending() as ascent:
        return _climbed(hill, start, resting, max_steps, known, ascent)


def _climbed(
    hill: Hill,
    start: Floats,
    resting: Mask,
    max_steps: int,
    known: Summit | None,
    ascent: Ascent,
) -> Summit:
    """Climb to the maximum that is next, from elements of which some rest on faces.

    That may be a known one: it is not climbed again from where it is clear that it is.
    """
    evaluate, space, measure, negligible = hill.evaluate, hill.space, hill.measure, hill.negligible
    count = 0

    def look(coordinates: Floats) -> Evaluation:
        nonlocal count
        count += 1
        others, elements = np.split(coordinates, [len(coordinates) - space.size])
        return evaluate(np.concatenate([others, space.settle(elements)]))

    hill = hill._replace(evaluate=look)
    point, is_beside = look(start), True
    gain, damping, is_slow, num_level = np.inf, LEAST_DAMPING, False, 0
    is_left, num_last = known is None, 0
    for number in range(max_steps):
        is_slow = is_slow or number >= SLOW_STEPS
        resting = resting & ~space.idle(hill.elements(point))
        free = hill.free(point, resting)
        if known is not None and not resting.any() and _is_beside(hill, point, known):
            return known._replace(num_evaluations=count)
        if measure is not None and is_slow:
            point = measure(point, free)
        ways = hill.ways(point, free)
        gain, before = ways.gain(), count
        if known is not None and not is_left and resting.any() and gain < MOST_IN_SIGHT:
            if hill.has_one_way and next(_ways_off(hill, point, resting, gain), None) is not None:
                return known._replace(num_evaluations=count)
            # What is higher next to a face than the top of it will be is no way to a maximum there.
            freed = _leave_a_face(hill, point, resting, gain)
            if freed is not None:
                is_left, (point, resting) = True, freed
                continue
        enough = hill.last if num_last < MOST_LAST else negligible
        num_last += gain < negligible
        ascent.sees(gain, enough)
        step = ways.trusted_step(damping) if gain >= enough else np.zeros(len(free))
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
            freed = _leave_a_face(hill, point, resting)
            if freed is None and gain >= negligible and measure is not None and not is_slow:
                # Perhaps for want of a better information.
                is_slow = True
                continue
            if freed is None and is_beside:
                # An ascent that starts next to a face may have had no step to take.
                is_beside, at_rest = False, resting.sum()
                point, resting = _rest_on_faces(hill, point, resting)
                if resting.sum() > at_rest:
                    continue
            if freed is None:
                freed = _empty(hill, point, resting)
            if freed is None:
                break
            point, resting = freed
            continue
        point, resting = _rest_on_faces(hill, following, resting)
    elements = space.rest(hill.elements(point), resting)
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


def _rest_on_faces(hill: Hill, point: Evaluation, resting: Mask) -> tuple[Evaluation, Mask]:
    """Take elements that lie next to a face there, where that does not lower the likelihood."""
    space = hill.space
    for term, face in space.faces:
        places, elements = space.places(term, face), hill.elements(point)
        if resting[places].all() or not space.is_near(term, face, elements):
            continue
        there = hill.at(hill.others(point), space.at_rest(term, face, elements))
        if there.value >= point.value - hill.nothing:
            point, resting = there, resting.copy()
            resting[places] = True
    return point, resting


def _empty(hill: Hill, point: Evaluation, resting: Mask) -> tuple[Evaluation, Mask] | None:
    """Take a variance that is next to nothing to zero, where that does not lower the likelihood."""
    for moved, at_rest in emptied(hill.space, hill.elements(point), resting):
        there = hill.at(hill.others(point), moved)
        if there.value >= point.value - hill.nothing and at_rest.sum() > resting.sum():
            return there, at_rest
    return None


def _leave_a_face(
    hill: Hill, point: Evaluation, resting: Mask, least: float = 0.0
) -> tuple[Evaluation, Mask] | None:
    """Set the elements of a face free away from which the likelihood rises, if there is one.

    Args:
      hill: the likelihood.
      point: on the face.
      resting: (t,) which elements rest.
      least: how much it has to rise; where it promises less than that nothing is tried.
    """
    elements = hill.elements(point)
    for moved in _ways_off(hill, point, resting, least):
        for share in SHORTER:
            # What makes no difference on the face jumps.
            shares = np.where(hill.space.idle(elements), 1.0, share)
            away = hill.at(hill.others(point), elements + shares * (moved - elements))
            if away.value > point.value + hill.nothing + least:
                return away, resting & (moved == elements)
    return None


def _ways_off(hill: Hill, point: Evaluation, resting: Mask, least: float = 0.0) -> Iterator[Floats]:
    """Elements (t,) next to each face that rests from which the curvature promises more than the least."""
    space, elements = hill.space, hill.elements(point)
    if not np.isfinite(point.value):
        return
    for term, face in space.faces:
        if not resting[space.places(term, face)].all():
            continue
        score = point.score[len(point.score) - space.size :]
        moved, curvature = space.escape(term, face, elements, score, point.slopes)
        promise = 0.5 * curvature * float(np.sum((moved - elements) ** 2))
        if curvature > FREEING_CURVATURE * hill.num_rows and promise > least:
            yield moved
