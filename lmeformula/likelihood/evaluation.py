"""A likelihood at one vector of coordinates, and where an ascent of it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from lmeformula.arrays import Floats, Mask

# A gain below which the maximum counts as found, whether or not another step could be taken.
CONVERGED_GAIN = 1e-6


class Evaluation(NamedTuple):
    """The likelihood at one vector of coordinates: others first, then the elements of the factors.

    Attributes:
      coordinates: (m + t,).
      value: log-likelihood.
      score: its derivative in the coordinates.
      information: an approximation to its negative second derivative.
      slopes: (k, k) derivative in the factor Lambda of each term.
      worked: whatever else was worked out on the way, or a `Recalled` that gives it; None where nothing was.
    """

    coordinates: Floats
    value: float
    score: Floats
    information: Floats
    slopes: tuple[Floats, ...]
    worked: Any

    @property
    def is_worked_out(self) -> bool:
        """Whether there is a detail."""
        return self.worked is not None

    @property
    def detail(self) -> Any:
        """Whatever else was worked out on the way."""
        return self.worked.detail() if isinstance(self.worked, Recalled) else self.worked


@runtime_checkable
class Recalled(Protocol):
    """The detail of an evaluation that a checkpoint has told the numbers of."""

    def detail(self) -> Any:
        """Work it out again, the first time."""


Measure: TypeAlias = Callable[[Evaluation, Mask], Evaluation]


def nowhere(coordinates: Floats) -> Evaluation:
    """A point where the likelihood cannot be worked out: every other one is higher."""
    d = len(coordinates)
    return Evaluation(coordinates, -np.inf, np.zeros(d), np.eye(d), (), None)


def where_told(
    look: Callable[[Floats, tuple[Floats, ...]], Evaluation],
    factors: Callable[[Floats], tuple[Floats, ...]],
) -> Callable[[Floats], Evaluation]:
    """A likelihood (coordinates, factors there) -> Evaluation as `ascend` takes it: for any coordinates.

    Beyond what numbers of this precision tell apart it is nowhere.
    """

    def evaluate(coordinates: Floats) -> Evaluation:
        try:
            return look(coordinates, factors(coordinates))
        except np.linalg.LinAlgError:
            return nowhere(coordinates)

    return evaluate


def last_kept(evaluate: Callable[[Floats], Evaluation]) -> Callable[[Floats], Evaluation]:
    """A likelihood that is not worked out again where it was last."""
    last: Evaluation | None = None

    def kept(coordinates: Floats) -> Evaluation:
        nonlocal last
        if last is None or not np.array_equal(coordinates, last.coordinates):
            last = evaluate(coordinates)
        return last

    return kept


class Summit(NamedTuple):
    """Where the ascent ended.

    Attributes:
      point: the last point.
      elements: (t,) elements of the factors there, those that rest on a face exactly.
      resting: (t,) which do.
      gain: twice the rise of the log-likelihood that is in sight, over all directions.
      num_evaluations: how often the likelihood was evaluated.
    """

    point: Evaluation
    elements: Floats
    resting: Mask
    gain: float
    num_evaluations: int

    @property
    def on_face(self) -> bool:
        """Whether some elements rest on a face."""
        return bool(self.resting.any())

    @property
    def converged(self) -> bool:
        """Whether no rise is left."""
        return self.gain < CONVERGED_GAIN
