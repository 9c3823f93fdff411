"""Newton ascents of many likelihoods of the same coordinates, side by side.

What one fit looks at one after the other, arrays with a replicate in front have at once. There is no way here
to rest on a face of a covariance with correlations, and none past places without derivatives: an ascent that
does not arrive says so, and is for `likelihood.ascent`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.likelihood.newton import LONGEST_STEP

# Most steps, and halvings of one.
MOST_STEPS, MOST_HALVINGS = 40, 20
# An information is measured by differences of scores that far apart.
APART = 1e-5
# A correction by less than this share of what a move and a missing change could be together is none.
TOLD = 1e-6
# Where so short a step does not gain less, with an information measured to both sides, rounding is all that is
# left; such an information is for directions with much less of it than others, and steps no longer than that.
ROUNDED, SHORT = 1e-13, 1e-6
# Smallest share of the largest eigenvalue of an information that is one.
LEAST = 1e-9


class Effort(NamedTuple):
    """How hard an ascent tries.

    Attributes:
      last: the step that gains less than this is the last, and is taken.
      falling: with what each step says of it, an information serves while a step gains less than this share of
        what the one before did; then it is measured anew.
    """

    last: float
    falling: float


# What the last step leaves is 1e-9 standard errors or less.
WHOLE = Effort(1e-16, 0.3)
# On the way to a maximum that is probably known.
TRIAL = Effort(1e-2, 0.7)


class Heights(NamedTuple):
    """The log-likelihoods of a replicates at one place each.

    Attributes:
      values: (a,) minus infinity, or not a number, where there is none.
      scores: (a, d) their derivatives in the coordinates.
    """

    values: Floats
    scores: Floats


# Coordinates (a, d) of some replicates, and which (a,) they are -> their likelihoods there.
Look: TypeAlias = Callable[[Floats, Ints], Heights]


def among(look: Look, some: Ints) -> Look:
    """The likelihoods of some replicates, which are numbered anew."""
    return lambda x, which: look(x, some[which])


def holding(look: Look, held: Mask) -> Look:
    """The likelihoods with coordinates `held` (m, d) of each replicate at zero."""

    def look_held(x: Floats, which: Ints) -> Heights:
        there = look(np.where(held[which], 0.0, x), which)
        return Heights(there.values, np.where(held[which], 0.0, there.scores))

    return look_held


class Tops(NamedTuple):
    """Where ascents ended.

    Attributes:
      coordinates: (m, d).
      values: (m,) log-likelihoods there.
      information: (m, d, d) their negative second derivatives, as measured next to there.
      found: (m,) whether it is a maximum, to rounding.
    """

    coordinates: Floats
    values: Floats
    information: Floats
    found: Mask

    def better(self, others: Tops, which: Ints, least: float) -> Tops:
        """These, with those of `others`, of the replicates `which` (a,), that are higher by `least`."""
        is_higher = others.found & ~(others.values <= self.values[which] + least)
        mine = which[is_higher]
        coordinates, values = self.coordinates.copy(), self.values.copy()
        information, found = self.information.copy(), self.found.copy()
        coordinates[mine], values[mine] = others.coordinates[is_higher], others.values[is_higher]
        information[mine], found[mine] = others.information[is_higher], True
        return Tops(coordinates, values, information, found)


def climb_all(
    look: Look,
    start: Floats,
    which: Ints,
    num_elements: int,
    information: Floats | None = None,
    effort: Effort = WHOLE,
) -> Tops:
    """Climb to the next maximum, each replicate for itself.

    Args:
      look: the likelihoods.
      start: (m, d) where to start.
      which: (m,) the replicates.
      num_elements: how many of the coordinates, the last ones, are elements of factors: no step goes further in
        these than can be trusted.
      information: (m, d, d) what the informations are about, at the start; measured where that is not given.
      effort: how hard it tries.
    Returns:
      The maxima.
    References:
      Nocedal, Wright (2006), Numerical Optimization, 2nd ed., section 6.2, for the symmetric rank-one update.
    """
    m, d = start.shape
    x, (values, scores) = start.copy(), look(start, which)
    is_due = np.full(m, information is None)
    information = np.zeros((m, d, d)) if information is None else information.copy()
    gains, found = np.full(m, np.inf), np.zeros(m, bool)
    # Whether an information is to be measured here, and to both sides: one-sided differences led nowhere.
    is_fine = np.zeros(m, bool)
    active = np.flatnonzero(np.isfinite(values) & np.isfinite(scores).all(axis=1))
    for _ in range(MOST_STEPS):
        for finely in (False, True):
            due = active[is_due[active] & (is_fine[active] == finely)]
            if len(due):
                information[due] = measured(look, x[due], which[due], scores[due], finely)
        step = _steps(information[active], scores[active], x[active], num_elements)
        now = (scores[active] * step).sum(axis=1)
        is_slow = ~(now < effort.falling * gains[active])
        gains[active] = now
        is_last = (now < effort.last) | ((now < ROUNDED) & is_slow & is_fine[active])
        x[active[is_last]] += step[is_last]
        found[active[is_last]] = True
        was_due, was_fine = is_due[active[~is_last]], is_fine[active[~is_last]]
        active, step, is_slow = active[~is_last], step[~is_last], is_slow[~is_last]
        if not len(active):
            break
        moved, rises, there = _line_search(look, x, values, step, gains[active], active, which)
        mine = active[rises]
        moves, changes = moved[rises] - x[mine], scores[mine] - there.scores[rises]
        information[mine] = _corrected(information[mine], moves, changes)
        x[mine], values[mine], scores[mine] = moved[rises], there.values[rises], there.scores[rises]
        is_due[active] = is_slow | ~rises
        is_fine[active] = was_due & (is_slow | ~rises) & (gains[active] < SHORT)
        active = active[rises | ~was_due | ((gains[active] < SHORT) & ~was_fine)]
    return Tops(x, values, information, found)


def _corrected(information: Floats, moves: Floats, changes: Floats) -> Floats:
    """(a, d, d) informations that give the changes (a, d) of scores along the last moves (a, d)."""
    missing = changes - np.einsum("aij,aj->ai", information, moves)
    along = (missing * moves).sum(axis=1)
    sizes = np.linalg.norm(missing, axis=1) * np.linalg.norm(moves, axis=1)
    is_told = np.abs(along) > TOLD * sizes
    scaled = missing / np.where(is_told, along, np.inf)[:, None]
    return np.asarray(information + scaled[:, :, None] * missing[:, None])


def measured(look: Look, x: Floats, which: Ints, scores: Floats, finely: bool) -> Floats:
    """(a, d, d) negative second derivatives, by differences of scores that are looked at all at once.

    Args:
      look, x, which: as of `climb_all`.
      scores: (a, d) there.
      finely: by differences to both sides, for directions with much less information than others have.
    """
    a, d = x.shape
    apart = APART * np.maximum(1.0, np.abs(x))
    many = np.repeat(which, d)

    def beside(sign: float) -> Floats:
        moved = np.repeat(x[:, None], d, axis=1)
        moved[:, np.arange(d), np.arange(d)] += sign * apart
        return look(moved.reshape(a * d, d), many).scores.reshape(a, d, d)

    before, width = (beside(-1.0), 2.0 * apart) if finely else (scores[:, None], apart)
    found = (before - beside(1.0)) / width[:, :, None]
    return np.asarray(np.nan_to_num(0.5 * (found + found.transpose(0, 2, 1))))


def _steps(information: Floats, scores: Floats, x: Floats, num_elements: int) -> Floats:
    """(a, d) Newton's steps, uphill where a likelihood bends upwards, as far as they can be trusted."""
    scale = np.sqrt(np.maximum(np.abs(np.einsum("add->ad", information)), LEAST))
    values, vectors = np.linalg.eigh(information / (scale[:, :, None] * scale[:, None]))
    sizes = np.abs(values)
    sizes = np.maximum(sizes, LEAST * sizes.max(axis=1, keepdims=True) + LEAST)
    along = np.einsum("aij,ai->aj", vectors, scores / scale) / sizes
    step = np.einsum("aij,aj->ai", vectors, along) / scale
    last = step.shape[1] - num_elements
    excess = (np.abs(step) / (LONGEST_STEP + np.abs(x)))[:, last:].max(axis=1, initial=0.0)
    return np.asarray(step / np.maximum(1.0, excess)[:, None])


def _line_search(
    look: Look,
    x: Floats,
    values: Floats,
    step: Floats,
    gains: Floats,
    active: Ints,
    which: Ints,
) -> tuple[Floats, Mask, Heights]:
    """The first of each step, its half, its quarter ... that raises the likelihood enough, by Armijo's rule.

    Returns:
      (a, d) the places, (a,) whether there is one, and what is there.
    """
    a = len(active)
    before = values[active]
    moved, rises = x[active].copy(), np.zeros(a, bool)
    heights = Heights(np.full(a, -np.inf), np.zeros_like(step))
    left, share = np.arange(a), 1.0
    for _ in range(MOST_HALVINGS):
        places = x[active[left]] + share * step[left]
        there = look(places, which[active[left]])
        least = before[left] + 1e-4 * share * gains[left] - 1e-13 * np.abs(before[left])
        enough = (there.values >= least) & np.isfinite(there.scores).all(axis=1)
        mine = left[enough]
        moved[mine], rises[mine] = places[enough], True
        heights.values[mine], heights.scores[mine] = there.values[enough], there.scores[enough]
        left, share = left[~enough], 0.5 * share
        if not len(left):
            break
    return moved, rises, heights
