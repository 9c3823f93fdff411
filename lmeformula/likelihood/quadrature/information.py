"""The negative second derivative of the log-likelihood, from the nodes at which it is integrated.

It is what the complete data say on average over the posterior, less the posterior variance of their score. With
effects that move along with the parameters, as the modes do, it is the same, but no large terms cancel: each
direction takes every node along, and what is left to be missing is what the modes do not follow.

References: Louis (1982), J. R. Stat. Soc. B 44, 226-233.
"""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.likelihood.laplace.directions import Directions
from lmeformula.likelihood.quadrature.rows import Place, Rows, moved

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
        self._loads = [
            of.loads(tuple(change[j] for change in along.changes))
            if any(change[j].any() for change in along.changes)
            else np.zeros((len(place.base), 0))
            for j in range(m)
        ]
        # An effect that blocks share has its prior once.
        self._moves = of.by_block(along.moves)
        if of.is_nested:
            self._moves[np.diff(of.groups, prepend=-1) == 0, 0] = 0.0
        self._complete, self._missing = np.zeros((m, m)), np.zeros((m, m))
        f = len(place.at.own)
        self._across, self._own = np.zeros((f, m)), np.zeros((f, f))

    def add(
        self, blocks: Ints, nodes: Floats, rows: Rows, shares: Floats, mean_slopes: Floats
    ) -> None:
        """Add blocks whose nodes (l, N, k) have these shares (l, N); those without any add nothing.

        Args:
          blocks: (l,) which.
          nodes, shares: see above.
          rows: of the blocks.
          mean_slopes: (K m, N) the rows' slopes times the shares.
        """
        of, mixture = self.place.of, self.place.of.model.stack.mixture
        size, times, n = len(rows.block), len(mixture.readers), len(of.order)
        stacked = (np.arange(times)[:, None] * n + rows.stacked[:size]).ravel()
        block = np.tile(rows.block, times)
        steps = np.empty((self.along.size, len(stacked), nodes.shape[1]))
        for step, base, loads in zip(steps, self.along.predictors.T, self._loads, strict=True):
            step[:] = moved(base, loads, stacked, block, nodes[:, :, : loads.shape[1]])
        mass = shares[block]
        second = rows.second
        if second is None:
            second = rows.derivatives.slopes(rows.eta.ravel(), self.place.at.own).second
        weights = np.where(mass > 0.0, mass * second.reshape(mass.shape), 0.0)
        flat = steps.reshape(len(steps), -1)
        self._complete -= (flat * weights.ravel()) @ flat.T
        read = steps[:, : len(rows.stacked)]
        self._add_own(rows, read, mass[:size])
        has = mass[: len(rows.stacked)] > 0.0
        scores = self._scores(rows, read, np.where(has, rows.first, 0.0), has[:size], len(blocks))
        scores -= np.einsum("lnk,lkd->dln", nodes, self._moves[blocks])
        self._add_missing(blocks, scores, shares)

    def total(self, slopes: Floats) -> Floats:
        """(m, m) the information, of posterior means (v n,) of the rows' slopes."""
        plan, along, found = self.place.of.plan, self.along, self._complete - self._missing
        for pull, changes, effects in zip(
            plan.split(plan.gather(slopes)), along.changes, plan.split(along.moves), strict=True
        ):
            paired = np.einsum("dab,la,lbe->de", changes, pull, effects, optimize=True)
            found -= paired + paired.T
        across = along.own.T @ self._across
        found -= across + across.T + along.own.T @ self._own @ along.own
        found += along.moves.T @ along.moves
        return 0.5 * (found + found.T)

    def _scores(
        self, rows: Rows, steps: Floats, first: Floats, has: Mask, num_blocks: int
    ) -> Floats:
        """(m, l, N) slopes of the log density of each block's rows along the directions."""
        size, num_nodes = len(rows.block), first.shape[1]
        own = np.where(has, rows.own_each, 0.0)
        found = np.empty((len(steps), num_blocks, num_nodes))
        for j, step in enumerate(steps):
            each = (first * step).reshape(-1, size, num_nodes).sum(axis=0)
            if self.along.own[:, j].any():
                each += np.tensordot(self.along.own[:, j], own, 1)
            found[j] = rows.sums(num_blocks, each)
        return found

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

    def _add_own(self, rows: Rows, steps: Floats, mass: Floats) -> None:
        """Add how scores move with the family's own parameters."""
        at = self.place.at.own
        if not len(at):
            return
        times = len(rows.stacked) // max(1, len(rows.block))
        has, all_mass = mass > 0.0, np.tile(mass, (times, 1))

        def slopes(own: Floats) -> tuple[Floats, Floats]:
            found = rows.derivatives.scores(rows.eta.ravel(), own)
            return found.first.reshape(all_mass.shape), found.own_each.reshape(-1, *mass.shape)

        step = ROUGH_STEP if self.along.is_rough else STEP
        for s, unit in enumerate(np.eye(len(at))):
            ahead = slopes(at + step * unit)
            if self.along.is_rough:
                back, length = (rows.first, rows.own_each), step
            else:
                back, length = slopes(at - step * unit), 2.0 * step
            first, each = ((a - b) / length for a, b in zip(ahead, back, strict=True))
            first = np.where(all_mass > 0.0, all_mass * first, 0.0)
            self._across[s] += steps.reshape(len(steps), -1) @ first.ravel()
            self._own[s] += np.where(has, mass * each, 0.0).sum(axis=(1, 2))


def _spread(away: Floats, shares: Floats) -> Floats:
    """(m, m) sums of products of what is apart from means (m, ...), with shares (...)."""
    flat = away.reshape(len(away), -1)
    return np.asarray((flat * shares.ravel()) @ flat.T)
