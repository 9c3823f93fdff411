"""The highest maxima of many likelihoods, from several starts, with standard deviations that rest at zero."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.covariance.chart import SHORT
from lmeformula.likelihood.ascent import FREEING_CURVATURE, HIGHER, NOTHING
from lmeformula.likelihood.factors import DOUBTFUL, FactorSpace
from lmeformula.likelihood.replicates.ascent import Heights, Look, Tops, climb_all

# How far from a face, in elements, an ascent that looks for a maximum next to it begins.
BESIDE = 0.01
# A covariance with correlations of which less is left is nearly singular: its faces are for a single ascent.
CLEAR = 0.01
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
      columns: faces of those: the elements of a column of a factor, the diagonal one first.
    """

    alone: Ints
    others: Ints
    columns: tuple[Ints, ...]

    @classmethod
    def of(cls, space: FactorSpace) -> Charted:
        """Those of a space whose charts are linear."""
        alone = space.alone()
        faces = [space.places(term, face) for term, face in space.faces]
        columns = tuple(places for places in faces if not np.isin(places, alone).any())
        others = np.array([places[0] for places in columns], np.int64)
        return cls(alone, others, columns)


def highest(
    look: Look,
    space: FactorSpace,
    start: Floats,
    num_rows: int,
    *,
    thorough: bool,
    further: tuple[Floats, ...] = (),
) -> Highest:
    """Climb to the highest maxima that a single ascent would look for.

    Args:
      look: the likelihoods of m replicates.
      space: the elements of the factors, the last coordinates, of linear charts.
      start: (m, d) where to start.
      num_rows: number of rows.
      thorough: whether to look for others next to each face that the data hardly tell an element from.
      further: elements (t,) each to start from as well.
    """
    charted, (m, d) = Charted.of(space), start.shape
    t, every = space.size, np.arange(m)
    first = d - t
    best = climb_all(look, start, every, t)
    for elements in further:
        moved = start.copy()
        moved[:, first:] = elements
        best = best.better(climb_all(look, moved, every, t), every, HIGHER)
    if thorough:
        faces = (*(np.array([place]) for place in charted.alone), *charted.columns)
        variances = _variances(best, first)
        for places in faces:
            size = np.abs(best.coordinates[:, first + places])
            near = (size < DOUBTFUL * np.sqrt(variances[:, places])).any(axis=1)
            mine = np.flatnonzero(best.found & near)
            if len(mine):
                moved = best.coordinates[mine]
                moved[:, first + places], moved[:, first + places[0]] = 0.0, BESIDE
                best = best.better(climb_all(look, moved, mine, t), mine, HIGHER)
    return _at_rest(look, charted, best, first, num_rows)


def _variances(best: Tops, first: int) -> Floats:
    """(m, t) approximate variances of the elements."""
    inverse = np.linalg.pinv(best.information, rcond=1e-10, hermitian=True)
    return np.asarray(np.maximum(np.einsum("add->ad", inverse)[:, first:], 0.0))


def _at_rest(look: Look, charted: Charted, best: Tops, first: int, num_rows: int) -> Highest:
    """Take standard deviations that are next to nothing to zero, and the others to their best there."""
    elements = best.coordinates[:, first:]
    found = best.found & (np.abs(elements) < FAR).all(axis=1)
    found &= (np.abs(elements[:, charted.others]) > CLEAR).all(axis=1)
    resting = np.zeros(elements.shape, bool)
    resting[:, charted.alone] = np.abs(elements[:, charted.alone]) < SHORT
    mine = np.flatnonzero(found & resting.any(axis=1))
    best = best._replace(found=found)
    if not len(mine):
        return Highest(best, resting & found[:, None])
    held = np.zeros(best.coordinates.shape, bool)
    held[:, first:] = resting

    def look_held(x: Floats, which: Ints) -> Heights:
        there = look(np.where(held[which], 0.0, x), which)
        return Heights(there.values, np.where(held[which], 0.0, there.scores))

    moved = np.where(held[mine], 0.0, best.coordinates[mine])
    top = climb_all(look_held, moved, mine, elements.shape[1])
    # Next to zero a log-likelihood is quadratic: it rises away from there where its score does.
    beside = np.where(held[mine], SHORT, top.coordinates)
    rise = look(beside, mine).scores / SHORT
    stays = (np.where(held[mine], rise, 0.0) <= FREEING_CURVATURE * num_rows).all(axis=1)
    stays &= top.found & (top.values >= best.values[mine] - NOTHING)
    coordinates, values, found = best.coordinates.copy(), best.values.copy(), best.found.copy()
    coordinates[mine], values[mine] = top.coordinates, top.values
    found[mine] = stays
    information = best.information.copy()
    information[mine] = top.information
    return Highest(Tops(coordinates, values, information, found), resting & found[:, None])
