"""What one evaluation of an ascent leaves to the next: where to look for the mode, and what scores said."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Floats
from lmeformula.checkpoint.trees import Tree
from lmeformula.likelihood.laplace.likelihood import Marginal
from lmeformula.likelihood.laplace.modes import KnownMode, effects_held
from lmeformula.likelihood.laplace.secants import Move

# After a step that promised more the information itself is for nothing: one that is never indefinite leads on.
# After one that promised less, as the information told, it will do as it was.
CLOSE, SETTLED = 40.0, 0.02
# The same of integrals, each of which takes longer than what its nodes say of the information besides: after a
# step that promised more, a fresh one saves another step.
SETTLED_EXACTLY = 1e-6


class Trail(NamedTuple):
    """What one evaluation leaves to the next.

    Attributes:
      begin: (q,) where the last search for a mode began; None before the first.
      last: the mode that was found last, with its derivatives, and the factors there: from there the next
        search starts.
      latest: coordinates and score of the last point.
      moves: that led there.
      written: the information as it was written out last, if it will do.
      is_old: whether the last evaluation did with an earlier one.
    """

    begin: Floats | None = None
    last: tuple[KnownMode, tuple[Floats, ...]] | None = None
    latest: tuple[Floats, Floats] | None = None
    moves: tuple[Move, ...] = ()
    written: Floats | None = None
    is_old: bool = False

    def begin_at(self, plan: Layout, coordinates: Floats, lambdas: tuple[Floats, ...]) -> Floats:
        """(q,) where to begin the search at other coordinates, with these factors."""
        if self.last is None:
            # As before, where no mode was found since.
            return np.zeros(plan.num_effects) if self.begin is None else self.begin
        known, at = self.last
        if known.reaches(coordinates):
            return known.mode_at(coordinates)
        return effects_held(plan, at, known.u, lambdas)

    def leads_far(self, coordinates: Floats) -> bool:
        """Whether the step to these coordinates promised much; the first one goes anywhere."""
        if self.latest is None:
            return True
        return float(self.latest[1] @ (coordinates - self.latest[0])) > CLOSE

    def is_settled(self, coordinates: Floats, little: float = SETTLED) -> bool:
        """Whether the step promised little, as the information told that was written out last.

        Once: where it has to do again and again, as on the way to a limit, it does not.
        """
        if self.written is None or self.latest is None or self.is_old:
            return False
        step = coordinates - self.latest[0]
        promise, told = float(self.latest[1] @ step), float(step @ self.written @ step)
        return promise < little and 0.5 * promise < told < 2.0 * promise


class TrailMemory:
    """The trail of an ascent, and what its way to integrate effects out remembers; see `Memory`.

    Args:
      marginal: that way.
    """

    def __init__(self, marginal: Marginal) -> None:
        self.trail, self.marginal = Trail(), marginal

    @property
    def held(self) -> tuple[Trail, Any]:
        """Both."""
        return self.trail, self.marginal.held

    @held.setter
    def held(self, held: tuple[Trail, Any]) -> None:
        self.trail, self.marginal.held = held

    def noted(self, before: tuple[Trail, Any]) -> Tree:
        """Without the mode: where the search began tells as much, in fewer numbers."""
        trail, marginal = before
        begin = self.trail.begin
        return trail._replace(begin=begin, last=None), self.marginal.noted(marginal)
