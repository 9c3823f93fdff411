"""Newton's steps along the own directions of an information, each as far as it can be trusted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.covariance.eigen import symmetric_eigen

# A step changes an element of a factor by at most this, plus its own size.
LONGEST_STEP = 0.5
# A coordinate that changes the log-likelihood by less within its trusted length makes no difference.
FLAT = 1e-9
# Halvings, of the exponent, of the damping that keeps a step within what is trusted.
TRUST_STEPS = 6


class Ways(NamedTuple):
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
        return self._all_along(self.along / np.maximum(np.abs(self.values) + damping, damping))

    def trusted_step(self, damping: float) -> Floats:
        """Newton's step, damped just as far as to keep every element within its trusted length.

        Damping, relative to the information of each coordinate, shortens the step in directions that have
        little of it and leaves the others nearly as they are.
        """
        step = self.step(damping)
        if self.excess(step) <= 1.0:
            return step
        low, high = damping, max(10.0 * damping, 1e-8)
        while self.excess(self.step(high)) > 1.0:
            low, high = high, 10.0 * high
        for _ in range(TRUST_STEPS):
            middle = float(np.sqrt(low * high))
            low, high = (middle, high) if self.excess(self.step(middle)) > 1.0 else (low, middle)
        return self.step(high)

    def newton(self, least: float) -> Floats:
        """(d,) Newton's step, in the directions that have more than the least information."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._all_along(np.where(self.values > least, self.along / self.values, 0.0))

    def _all_along(self, lengths: Floats) -> Floats:
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
            along = np.abs(self.along)
            rises = along * np.minimum(along / np.abs(self.values), reach)
        return float(rises[along > 0.0].sum())


def ways_of(score: Floats, information: Floats, free: Mask, limits: Floats) -> Ways:
    """Look at a likelihood in the directions of its information.

    Args:
      score: (d,) its derivative.
      information: (d, d) its negative second derivative, or nearly so.
      free: (d,) which coordinates move.
      limits: (d,) how far each may move at once.
    """
    trusted = limits[free]
    information = information if free.all() else information[np.ix_(free, free)]
    # What a coordinate changes the likelihood by within its whole trusted length may be rounding: no scale.
    least = FLAT / np.minimum(trusted, 1.0) ** 2
    scale = np.sqrt(np.maximum(np.abs(information.diagonal()), least))
    values, vectors = symmetric_eigen(information / (scale[:, None] * scale))
    return Ways(free, scale, values, vectors, vectors.T @ (score[free] / scale), trusted)
