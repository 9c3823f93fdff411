"""A likelihood as an ascent sees it: places, what may move there, and the ways of its information."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.likelihood.evaluation import Evaluation, Measure
from lmeformula.likelihood.factors import FactorSpace
from lmeformula.likelihood.newton import LONGEST_STEP, Ways, ways_of


class Hill(NamedTuple):
    """A likelihood to be climbed; attributes as arguments of `ascend`."""

    evaluate: Callable[[Floats], Evaluation]
    space: FactorSpace
    num_rows: int
    negligible: float
    measure: Measure | None
    last: float
    nothing: float
    costly: bool = False

    @property
    def has_one_way(self) -> bool:
        """Whether one standard deviation is all that could lead elsewhere, and looking there takes long."""
        return self.costly and self.space.size == 1

    def elements(self, point: Evaluation) -> Floats:
        """(t,) the elements of the factors at a point, the last of its coordinates."""
        return point.coordinates[len(point.coordinates) - self.space.size :]

    def others(self, point: Evaluation) -> Floats:
        """(m,) its other coordinates."""
        return point.coordinates[: len(point.coordinates) - self.space.size]

    def free(self, point: Evaluation, resting: Mask) -> Mask:
        """(m + t,) which coordinates of a point may move: not elements (t,) that rest or make no difference."""
        is_free = ~(resting | self.space.idle(self.elements(point)))
        return np.concatenate([np.ones(len(self.others(point)), bool), is_free])

    def at(self, others: Floats, elements: Floats) -> Evaluation:
        """The likelihood at coordinates."""
        return self.evaluate(np.concatenate([others, elements]))

    def ways(self, point: Evaluation, free: Mask) -> Ways:
        """The directions of a point's information, of the coordinates that are free."""
        limits = np.full(len(free), np.inf)
        limits[len(limits) - self.space.size :] = LONGEST_STEP + np.abs(self.elements(point))
        return ways_of(point.score, point.information, free, limits)
