"""Adam on the score: for densities whose information is of no use.

Reference: Kingma and Ba (2015), Adam: a method for stochastic optimization, algorithm 1.
"""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats

DECAY = (0.9, 0.999)
SMALL = 1e-8


def step(momentum: Floats, score: Floats, count: int, rate: float) -> tuple[Floats, Floats]:
    """One step of Adam, uphill.

    Args:
      momentum: (2, d) running means of the score and of its square.
      score: (d,).
      count: iterations before this one.
      rate: learning rate, in units of the parameters.
    Returns:
      step: (d,).
      momentum: (2, d) for the next iteration.
    """
    first = DECAY[0] * momentum[0] + (1 - DECAY[0]) * score
    second = DECAY[1] * momentum[1] + (1 - DECAY[1]) * score**2
    mean = first / (1 - DECAY[0] ** (count + 1))
    spread = second / (1 - DECAY[1] ** (count + 1))
    return rate * mean / (np.sqrt(spread) + SMALL), np.stack([first, second])
