"""Adam on the score: for densities whose information is of no use.

Reference: Kingma and Ba (2015), Adam: a method for stochastic optimization, algorithm 1.
"""

from __future__ import annotations

import tensorflow as tf

from lmeformula.em.types import Tensor

DECAY = (0.9, 0.999)
SMALL = 1e-8


def step(momentum: Tensor, score: Tensor, count: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """One step of Adam, uphill.

    Args:
      momentum: (2, d) running means of the score and of its square.
      score: (d,).
      count: () iterations before this one.
      rate: learning rate, in units of the parameters.
    Returns:
      step: (d,).
      momentum: (2, d) for the next iteration.
    """
    first = DECAY[0] * momentum[0] + (1 - DECAY[0]) * score
    second = DECAY[1] * momentum[1] + (1 - DECAY[1]) * score**2
    power = tf.cast(count + 1, score.dtype)
    mean = first / (1 - tf.pow(tf.constant(DECAY[0], score.dtype), power))
    spread = second / (1 - tf.pow(tf.constant(DECAY[1], score.dtype), power))
    return rate * mean / (tf.sqrt(spread) + SMALL), tf.stack([first, second])
