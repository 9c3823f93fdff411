"""Row by row, the log density of the response and its first three derivatives in the linear predictor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lmeformula.model.family import Family

Floats = NDArray[np.float64]


class RowDerivatives(NamedTuple):
    """The log density summed over rows, and its derivatives in the predictor, (n,) each."""

    value: float
    first: Floats
    second: Floats
    third: Floats


def row_derivatives(
    family: Family, response: tuple[Floats, ...]
) -> Callable[[Floats], RowDerivatives]:
    """Compile the derivatives of a family's log density at given responses.

    Args:
      family: the family; its density gives value and slope, and automatic differentiation the rest.
      response: the response arrays (n,) that the density reads.
    Returns:
      A function of the linear predictor (n,).
    """
    given = tuple(tf.constant(array, tf.float64) for array in response)
    own = tf.zeros([0], tf.float64)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def derive(eta: Any) -> tuple[Any, ...]:
        # Rows are independent: the gradient of a sum over rows is the derivative of each.
        with tf.GradientTape() as outer:
            outer.watch(eta)
            with tf.GradientTape() as inner:
                inner.watch(eta)
                value, slope = family.density(eta[:, None], given, own)
            second = inner.gradient(slope, eta)
        third = outer.gradient(second, eta)
        return tf.reduce_sum(value), slope[:, 0], second, third

    def at(eta: Floats) -> RowDerivatives:
        value, first, second, third = derive(tf.constant(eta, tf.float64))
        return RowDerivatives(float(value), first.numpy(), second.numpy(), third.numpy())

    return at
