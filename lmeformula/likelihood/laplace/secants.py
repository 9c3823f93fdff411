"""An approximate information corrected by what the scores at earlier points say of it.

The coefficients' information and the factors' average information leave out how the two depend on each other.
Thresholds do much: larger effects stretch the scale that they are on. (Measured: 8 to 10 evaluations instead of
10 to 15 where a family has parameters of its own, and no fewer where it has none.)

Reference: Nocedal, Wright (2006), Numerical Optimization, 2nd ed., section 6.1, for the BFGS update.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats

# So many of the latest moves are taken notice of.
MEMORY = 6
# A move is left out whose score fell by less or by more than so many times what the information promised: it
# was too long for one second derivative to describe.
LARGEST_RATIO = 1.5


class Move(NamedTuple):
    """From one point to the next.

    Attributes:
      step: (d,) change of the coordinates.
      fall: (d,) fall of the score.
    """

    step: Floats
    fall: Floats


def remember(moves: tuple[Move, ...], step: Floats, fall: Floats) -> tuple[Move, ...]:
    """The moves with another one, the oldest forgotten."""
    return (*moves, Move(step, fall))[-MEMORY:]


def corrected(information: Floats, moves: tuple[Move, ...]) -> Floats:
    """The information (d, d), changed as little as lets it agree with the moves, the latest one last.

    Args:
      information: positive definite.
      moves: the moves that ended here, in order.
    Returns:
      A positive definite matrix B with B step = fall for the last move that was taken notice of.
    Example:
      >>> true = np.array([[2.0, 1.0], [1.0, 3.0]])
      >>> step = np.array([1.0, 0.5])
      >>> found = corrected(np.diag([2.0, 3.0]), remember((), step, true @ step))
      >>> (found @ step).round(12).tolist() == (true @ step).tolist()
      True
    """
    found = information
    for step, fall in moves:
        along = found @ step
        promised, seen = float(step @ along), float(step @ fall)
        if promised <= 0.0 or not promised / LARGEST_RATIO < seen < promised * LARGEST_RATIO:
            continue
        found = found - np.outer(along, along) / promised + np.outer(fall, fall) / seen
    return found
