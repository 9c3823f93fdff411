"""The highest maxima of many likelihoods, from several starts, with standard deviations that rest at zero."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.covariance.chart import SHORT
from lmeformula.likelihood.ascent import (
    FEW_ROWS,
    FREEING_CURVATURE,
    HIGHER,
    NOTHING,
    tops_on,
)
from lmeformula.likelihood.elsewhere import arcs, supports, turned
from lmeformula.likelihood.factors import DOUBTFUL, FactorSpace
from lmeformula.likelihood.replicates.ascent import (
    TRIAL,
    Heights,
    Look,
    Tops,
    among,
    climb_all,
    holding,
    measured,
)

# How far from a face, in elements, an ascent that looks for a maximum next to it begins.
BESIDE = 0.01
# A covariance with correlations of which less is left is nearly singular: its faces are for a single ascent.
CLEAR = 0.01
# An ascent that is less than this from a maximum, in squared standard errors, leads to it.
NEXT_TO = 1.0
# Elements are made smaller so often at most, and to no less than this; what is left of them is enough.
MOST_SHRINKING, LEAST_LEFT, ENOUGH_LEFT = 4, 0.05, 0.8
# Replicates whose mean information is about the expected one.
ENOUGH = 20
# An element further out than this is on its way to where the likelihood has no limit.
FAR = 1e3


class Highest(NamedTuple):
    """The maxima.

    Attributes:
      tops: where they are; elements that rest on a face do so exactly. Only those that are `found` are maxima
        as a single ascent knows them.
      resting: (m, t) elements that rest at zero.
    """

    tops: Tops
    resting: Mask


class Charted(NamedTuple):
    """Which elements of linear charts are what.

    Attributes:
      alone: (s,) standard deviations without correlations: each is a face of its own.
      others: diagonal elements of covariances with correlations.
      last: those of their last columns, which have no other elements: each is a face of its own, too.
      columns: all faces of those: the elements of a column of a factor, the diagonal one first.
    """

    alone: Ints
    others: Ints
    last: Ints
    columns: tuple[Ints, ...]

    @classmethod
    def of(cls, space: FactorSpace) -> Charted:
        """Those of a space whose charts are linear."""
        alone = space.alone()
        faces = [space.places(term, face) for term, face in space.faces]
        columns = tuple(places for places in faces if not np.isin(places, alone).any())
        others = np.array([places[0] for places in columns], np.int64)
        last = np.array([places[0] for places in columns if len(places) == 1], np.int64)
        return cls(alone, others, last, columns)


def highest(
    look: Look,
    space: FactorSpace,
    start: Floats,
    num_rows: int,
    num_effects: int,
    *,
    thorough: bool,
    further: tuple[Floats, ...] = (),
    information: Floats | None = None,
) -> Highest:
    """Climb to the highest maxima that a single ascent would look for.

    Args:
      look: the likelihoods of m replicates.
      space: the elements of the factors, the last coordinates, of linear charts.
      start: (m, d) where to start.
      num_rows: number of rows.
      num_effects: number of effects.
      thorough: whether to look for others next to each face that the data hardly tell an element from.
      further: elements (t,) each to start from as well.
      information: (m, d, d) what is known of it at the start; see `climb_all`.
    """
    charted, (m, d) = Charted.of(space), start.shape
    t, every = space.size, np.arange(m)
    first = d - t
    if information is None:
        information = np.broadcast_to(_expected(look, start), (m, d, d))
    best = climb_all(look, start, every, t, information)
    # Those without a maximum are for a single ascent, wherever it would find one.
    mine = np.flatnonzero(best.found)
    for elements in further if len(mine) else ():
        moved = best.coordinates[mine]
        moved[:, first:] = elements
        best = _higher(look, best, _shrunk(look, moved, mine, first, num_effects), mine, t)
    if thorough:
        faces = (*(np.array([place]) for place in charted.alone), *charted.columns)
        variances = _variances(best, first)
        for places in faces:
            size = np.abs(best.coordinates[:, first + places])
            near = (size < DOUBTFUL * np.sqrt(variances[:, places])).any(axis=1)
            mine = np.flatnonzero(best.found & near)
            moved = best.coordinates[mine]
            moved[:, first + places], moved[:, first + places[0]] = 0.0, BESIDE
            if len(places) == 1 and len(mine):
                apart = ~_rises_to(look, best, moved, mine, first + places[0])
                mine, moved = mine[apart], moved[apart]
            if len(mine):
                best = _higher(look, best, moved, mine, t)
    found = _at_rest(look, charted, best, first, num_rows)
    return _without_rivals(look, space, found, num_rows) if thorough else found


def _shrunk(look: Look, start: Floats, which: Ints, first: int, num_effects: int) -> Floats:
    """(a, d) starts with elements that are far too large made smaller, as by EM for their common size.

    Its steps pass no maximum: the size goes to where the effects, of which there are so many, put it.
    """
    x, active = start.copy(), np.arange(len(start))
    there = look(x, which)
    for _ in range(MOST_SHRINKING):
        elements, scores = x[active, first:], there.scores[:, first:]
        square = 1.0 + np.einsum("at,at->a", elements, scores) / num_effects
        goes_on = np.isfinite(there.values) & (square < ENOUGH_LEFT**2)
        size = np.sqrt(np.maximum(square, LEAST_LEFT**2))[goes_on]
        active, before = active[goes_on], there.values[goes_on]
        if not len(active):
            break
        moved = x[active]
        moved[:, first:] *= size[:, None]
        there = look(moved, which[active])
        rises = there.values > before
        active, there = active[rises], Heights(there.values[rises], there.scores[rises])
        x[active] = moved[rises]
    return x


def _rises_to(look: Look, best: Tops, start: Floats, which: Ints, place: int) -> Mask:
    """(a,) whether likelihoods rise from next to zero of one element all the way to their best.

    They are even in it: where they rise from zero there is no maximum.
    """
    height, middle = look(start, which), start.copy()
    middle[:, place] = 0.5 * np.abs(best.coordinates[which, place])
    halfway = look(middle, which)
    is_way = (height.scores[:, place] > 0.0) & (halfway.scores[:, place] > 0.0)
    is_way &= (middle[:, place] > start[:, place]) & (halfway.values > height.values)
    return np.asarray(is_way)


def _higher(look: Look, best: Tops, start: Floats, which: Ints, num_elements: int) -> Tops:
    """The best, or maxima that ascents of the replicates `which` (a,) from other starts lead to, if higher.

    An ascent that comes next to the best is left there.
    """
    about = np.where(best.found[which, None, None], best.information[which], np.eye(start.shape[1]))
    way = climb_all(look, start, which, num_elements, about, TRIAL)
    apart = way.coordinates - best.coordinates[which]
    # Elements of factors may have the other sign, for the same covariance.
    apart[:, -num_elements:] = np.abs(way.coordinates[:, -num_elements:])
    apart[:, -num_elements:] -= np.abs(best.coordinates[which, -num_elements:])
    distance = np.einsum("ai,aij,aj->a", apart, about, apart)
    others = np.flatnonzero(~(distance < NEXT_TO) | ~best.found[which])
    if not len(others):
        return best
    top = climb_all(look, way.coordinates[others], which[others], num_elements)
    return best.better(top, which[others], HIGHER)


def _expected(look: Look, start: Floats) -> Floats:
    """(d, d) about the information that a response is expected to have at the start: a mean over some."""
    some = np.arange(min(len(start), ENOUGH))
    scores = look(start[some], some).scores
    each = measured(look, start[some], some, scores, finely=False)
    return np.asarray(each.mean(axis=0))


def _variances(best: Tops, first: int) -> Floats:
    """(m, t) approximate variances of the elements."""
    inverse = np.linalg.pinv(best.information, rcond=1e-10, hermitian=True)
    return np.asarray(np.maximum(np.einsum("add->ad", inverse)[:, first:], 0.0))


def _at_rest(look: Look, charted: Charted, best: Tops, first: int, num_rows: int) -> Highest:
    """Take standard deviations that are next to nothing to zero, and the others to their best there.

    Of a covariance with correlations what its last column holds beyond the others, too.
    """
    elements = best.coordinates[:, first:]
    found = best.found & (np.abs(elements) < FAR).all(axis=1)
    resting = np.zeros(elements.shape, bool)
    for places in (charted.alone, charted.last):
        resting[:, places] = np.abs(elements[:, places]) < SHORT
    is_clear = resting | (np.abs(elements) > CLEAR)
    found &= is_clear[:, charted.others].all(axis=1)
    mine = np.flatnonzero(found & resting.any(axis=1))
    best = best._replace(found=found)
    if not len(mine):
        return Highest(best, resting & found[:, None])
    held = np.zeros(best.coordinates.shape, bool)
    held[:, first:] = resting
    moved = np.where(held[mine], 0.0, best.coordinates[mine])
    top = climb_all(holding(look, held), moved, mine, elements.shape[1])
    # Next to zero a log-likelihood is quadratic: it rises away from there where its score does.
    beside = np.where(held[mine], SHORT, top.coordinates)
    rise = look(beside, mine).scores / SHORT
    stays = (np.where(held[mine], rise, 0.0) <= FREEING_CURVATURE * num_rows).all(axis=1)
    stays &= top.found & (top.values >= best.values[mine] - NOTHING)
    coordinates, values, found = best.coordinates.copy(), best.values.copy(), best.found.copy()
    # A step where a score is zero is rounding.
    coordinates[mine], values[mine] = np.where(held[mine], 0.0, top.coordinates), top.values
    found[mine] = stays
    information = best.information.copy()
    information[mine] = top.information
    return Highest(Tops(coordinates, values, information, found), resting & found[:, None])


def _without_rivals(look: Look, space: FactorSpace, found: Highest, num_rows: int) -> Highest:
    """The maxima, but for those beside which another one is higher, which is for a single ascent to find.

    Of few rows, and on a face of a covariance with correlations, there may be one at correlations turned about,
    at other axes, and at other sets of standard deviations without correlations.
    """
    if not (space.any_singular(np.ones(space.size, bool)) or len(space.alone()) > 1):
        return found
    tops, resting = found
    first, is_few = tops.coordinates.shape[1] - space.size, num_rows <= FEW_ROWS
    starts, held, which = [], [], []
    for r in map(int, np.flatnonzero(tops.found)):
        if not (is_few or space.any_singular(resting[r])):
            continue
        here = tops.coordinates[r]
        nothing = np.zeros(space.size, bool)
        about = [(elements, nothing) for elements in turned(space, here[first:])]
        for elements, rests in (*about, *supports(space, here[first:])):
            starts.append(elements)
            held.append(rests)
            which.append(r)
        for arc, rests in arcs(space, here[first:]):
            places = np.hstack([np.tile(here[:first], (len(arc), 1)), arc])
            values = look(places, np.full(len(arc), r)).values
            for place in tops_on(values, len(here) > space.size):
                starts.append(arc[place])
                held.append(rests)
                which.append(r)
    if not starts:
        return found
    mine, rests = np.array(which), np.zeros((len(starts), tops.coordinates.shape[1]), bool)
    rests[:, first:] = held
    begin = tops.coordinates[mine]
    begin[:, first:] = starts
    every = np.arange(len(mine))
    top = climb_all(holding(among(look, mine), rests), begin, every, space.size)
    # From there off the face, which may lead higher.
    off = climb_all(look, np.where(rests, BESIDE, top.coordinates), mine, space.size)
    values = np.fmax(top.values, off.values)
    is_rival = np.isfinite(values) & (values > tops.values[mine] + HIGHER)
    kept = tops.found.copy()
    kept[mine[is_rival]] = False
    return Highest(tops._replace(found=kept), resting & kept[:, None])


def measured_finely(look: Look, x: Floats, which: Ints, resting: Mask) -> Floats:
    """(m, d, d) informations at maxima; rows of zeros for elements (m, t) that rest.

    Args:
      look: the likelihoods.
      x: (m, d) the maxima.
      which: (m,) the replicates.
      resting: (m, t).
    """
    moves = np.ones(x.shape, bool)
    moves[:, x.shape[1] - resting.shape[1] :] = ~resting
    found = measured(look, x, which, np.zeros_like(x), finely=True)
    return np.asarray(np.where(moves[:, :, None] & moves[:, None], found, 0.0))
