"""The negative second derivative of the log-likelihood, from the nodes at which it is integrated.

It is what the complete data say on average over the posterior, less the posterior variance of their score. With
effects that move along with the parameters, as the modes do, it is the same, but no large terms cancel: each
direction takes every node along, and what is left to be missing is what the modes do not follow.

References: Louis (1982), J. R. Stat. Soc. B 44, 226-233.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.likelihood.laplace.directions import Directions
from lmeformula.likelihood.quadrature.rows import Place, Reading, Rows, times_mass

# Step of two-sided differences in the family's own parameters, whose scores are smooth: its square is what is
# left out; and of one-sided ones, which are enough on the way.
STEP, ROUGH_STEP = 1e-4, 1e-6


class Information:
    """Adds up the information of blocks; `total` has all but what Lambda has by its own second derivative.

    Args:
      place: where.
      along: in which directions.
    """

    def __init__(self, place: Place, along: Directions) -> None:
        of, m = place.of, along.size
        self.place, self.along = place, along
        # The directions in which factors move, and the columns of the effects that rows read then.
        turning = np.zeros(m, bool)
        for change in along.changes:
            turning |= change.any(axis=(1, 2))
        self._turning = np.flatnonzero(turning)
        self._loads = np.zeros((of.width, len(place.base), len(self._turning)))
        for t, j in enumerate(self._turning):
            self._loads[:, :, t] = of.loads(tuple(change[j] for change in along.changes)).T
        # An effect that blocks share has its prior once.
        self._moves = of.by_block(along.moves)
        if of.is_nested:
            self._moves[np.diff(of.groups, prepend=-1) == 0, 0] = 0.0
        self._complete, self._missing = np.zeros((m, m)), np.zeros((m, m))
        f = len(place.at.own)
        self._across, self._own = np.zeros((f, m)), np.zeros((f, f))

    def add(self, nodes: Floats, centre: Floats, rows: Rows, mass: Floats, shares: Floats) -> None:
        """Add blocks whose nodes (l, N, k) have these shares (l, N); those without any add nothing.

        Args:
          nodes: see above.
          centre: (l, k) what effects are measured from: next to it predictors hardly move, as modes move along.
          rows: of the blocks.
          mass: (v m, N) the shares, row by row.
          shares: see above.
        """
        reading, own = rows.reading, self.place.at.own
        of_block, read = reading.stacked_block, slice(reading.num_read)
        away = nodes - centre[:, None]
        base, loads = self.along.predictors[reading.stacked], self._loads[:, reading.stacked]
        base[:, self._turning] += np.einsum("amt,ma->mt", loads, centre[of_block])
        columns = _Columns(base, loads, self._turning)
        second = rows.second
        if second is None:
            second = reading.derivatives.slopes(rows.eta.ravel(), own).second
        weights = times_mass(mass, second.reshape(mass.shape))
        effects = [away[of_block, :, a] for a in range(nodes.shape[2])]
        self._complete -= columns.squares(weights, effects)
        read_columns = columns.of_rows(read)
        read_effects = [each[read] for each in effects]
        self._add_own(rows, read_columns, read_effects, mass[read])
        first = rows.first
        if not np.isfinite(first.sum()):
            first = np.where(mass[read] > 0.0, first, 0.0)
        scores = read_columns.products(reading, first, away)
        for a in range(nodes.shape[2]):
            scores -= self._moves[reading.blocks, a].T[:, :, None] * nodes[:, :, a]
        for s, each in enumerate(rows.own_each):
            if not np.isfinite(each.sum()):
                each = np.where(mass[: len(each)] > 0.0, each, 0.0)
            scores += self.along.own[s][:, None, None] * reading.sums(each)
        self._add_missing(reading.blocks, scores, shares)

    def total(self, slopes: Floats) -> Floats:
        """(m, m) the information, of posterior means (v n,) of the rows' slopes."""
        plan, along, found = self.place.of.plan, self.along, self._complete - self._missing
        m = along.size
        for pull, changes, effects in zip(
            plan.split(plan.gather(slopes)), along.changes, plan.split(along.moves), strict=True
        ):
            crossed = np.tensordot(pull, effects, axes=(0, 0))
            paired = changes.reshape(m, -1) @ crossed.reshape(-1, m)
            found -= paired + paired.T
        across = along.own.T @ self._across
        found -= across + across.T + along.own.T @ self._own @ along.own
        found += along.moves.T @ along.moves
        return 0.5 * (found + found.T)

    def _add_missing(self, blocks: Ints, scores: Floats, shares: Floats) -> None:
        """Add the posterior variance of scores (m, l, N): of each group of blocks, as these are independent."""
        of = self.place.of
        if of.is_nested:
            # Given the shared effect blocks are independent; it moves all of them.
            num = round(shares.shape[1] ** 0.5)
            scores, shares = (
                scores.reshape(*scores.shape[:2], num, num),
                shares.reshape(-1, num, num),
            )
            outer = shares.sum(axis=2)
            means = (scores * shares).sum(axis=3)
            means = np.where(outer > 0.0, means / np.where(outer > 0.0, outer, 1.0), 0.0)
            self._missing += _spread(scores - means[..., None], shares)
            firsts = np.flatnonzero(np.diff(of.groups[blocks], prepend=-1))
            scores, shares = np.add.reduceat(means, firsts, axis=1), outer[firsts]
        means = (scores * shares).sum(axis=2)
        self._missing += _spread(scores - means[:, :, None], shares)

    def _add_own(self, rows: Rows, columns: _Columns, effects: list[Floats], mass: Floats) -> None:
        """Add how scores move with the family's own parameters."""
        at, size, derivatives = self.place.at.own, len(rows.values), rows.reading.derivatives
        if not len(at):
            return

        def slopes(own: Floats) -> tuple[Floats, Floats]:
            found = derivatives.scores(rows.eta.ravel(), own)
            return found.first.reshape(mass.shape), found.own_each.reshape(rows.own_each.shape)

        step = ROUGH_STEP if self.along.is_rough else STEP
        for s, unit in enumerate(np.eye(len(at))):
            ahead = slopes(at + step * unit)
            if self.along.is_rough:
                back, length = (rows.first, rows.own_each), step
            else:
                back, length = slopes(at - step * unit), 2.0 * step
            with np.errstate(invalid="ignore"):
                first, each = ((a - b) / length for a, b in zip(ahead, back, strict=True))
            self._across[s] += columns.sums(times_mass(mass, first), effects)
            self._own[s] += [times_mass(mass[:size], own).sum() for own in each]


class _Columns(NamedTuple):
    """How stacked rows move along directions: by base + sum_a loads[a] v_a, v being what effects are away.

    Attributes:
      base: (w, m) at the centre.
      loads: (k, w, t) what each effect adds, in those directions in which factors move.
      turning: (t,) which these are.
    """

    base: Floats
    loads: Floats
    turning: Ints

    def of_rows(self, rows: slice) -> _Columns:
        """Those of some rows."""
        return _Columns(self.base[rows], self.loads[:, rows], self.turning)

    def sums(self, of_rows: Floats, effects: list[Floats]) -> Floats:
        """(m,) sums over rows and nodes of the moves times what is said of each (w, N)."""
        found = self.base.T @ of_rows.sum(axis=1)
        for load, effect in zip(self.loads, effects, strict=True):
            found[self.turning] += load.T @ np.einsum("mn,mn->m", of_rows, effect)
        return np.asarray(found)

    def squares(self, weights: Floats, effects: list[Floats]) -> Floats:
        """(m, m) sums over rows and nodes of products of moves, times weights (w, N)."""
        turning, base = self.turning, self.base
        found = base.T @ (weights.sum(axis=1)[:, None] * base)
        for a, load in enumerate(self.loads):
            weighted = weights * effects[a]
            across = base.T @ (weighted.sum(axis=1)[:, None] * load)
            found[:, turning] += across
            found[turning] += across.T
            for b in range(a + 1):
                moment = np.einsum("mn,mn->m", weighted, effects[b])
                both = load.T @ (moment[:, None] * self.loads[b])
                found[np.ix_(turning, turning)] += both if a == b else both + both.T
        return np.asarray(found)

    def products(self, reading: Reading, of_rows: Floats, away: Floats) -> Floats:
        """(m, l, N) sums over each block's rows of the moves times what is said of each (w, N)."""
        m, t = self.base.shape[1], len(self.turning)
        found = reading.products(np.hstack([self.base, *self.loads]), of_rows)
        for a in range(len(self.loads)):
            found[self.turning] += away[:, :, a] * found[m + a * t : m + (a + 1) * t]
        return found[:m]


def _spread(away: Floats, shares: Floats) -> Floats:
    """(m, m) sums of products of what is apart from means (m, ...), with shares (...)."""
    flat = away.reshape(len(away), -1)
    return np.asarray((flat * shares.ravel()) @ flat.T)
