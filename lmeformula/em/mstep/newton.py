"""Newton's step towards the maximum of the likelihood, held between it and the EM step.

The EM (gradient) step divides the score by the complete-data information, Newton's by the observed
information, which is smaller where information is missing. In the basis that makes the complete information
the identity, the observed one is diagonal with the fractions of information that were observed, in (0, 1]
near the maximum: a floor under these fractions gives every method between, and a step that is safe where the
observed information is indefinite or known only roughly.

References: Louis (1982), JRSS B 44, 226-233; Lange (1995), JRSS B 57, 425-437, the EM gradient algorithm;
Gu and Kong (1998), PNAS 95, 7270-7274, for estimating the information on the way.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from lmeformula.em.types import Tensor


class Metric(NamedTuple):
    """The observed information, held up by a floor.

    Attributes:
      information: (d, d) positive definite.
      inverse: (d, d) its inverse.
      fraction: () smallest fraction of the complete information that was observed, before the floor.
    """

    information: Tensor
    inverse: Tensor
    fraction: Tensor


def metric(complete: Tensor, observed: Tensor, floor: Tensor) -> Metric:
    """Combine the complete and observed information.

    Args:
      complete: (d, d) complete-data information, positive definite.
      observed: (d, d) observed information, or an estimate of it.
      floor: () least fraction of the complete information to use, in (0, 1]; 1 makes the step that of EM.
    Returns:
      The metric.
    """
    root = tf.linalg.cholesky(complete)
    inside = tf.linalg.triangular_solve(root, observed)
    inside = tf.linalg.triangular_solve(root, tf.transpose(inside))
    fractions, vectors = tf.linalg.eigh(0.5 * (inside + tf.transpose(inside)))
    held = tf.clip_by_value(fractions, floor, tf.ones_like(floor))
    basis = root @ vectors
    back = tf.linalg.triangular_solve(tf.transpose(root), vectors, lower=False)
    return Metric(
        (basis * held) @ tf.transpose(basis),
        (back / held) @ tf.transpose(back),
        tf.reduce_min(fractions),
    )


def step(bent: Metric, score: Tensor) -> Tensor:
    """The step (d,) for a score (d,)."""
    return tf.linalg.matvec(bent.inverse, score)
