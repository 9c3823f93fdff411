"""Functions of one variable with their first and second derivatives, added up and multiplied together."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats


def times(a: Floats, b: Floats) -> Floats:
    """The product of two functions.

    Args:
      a, b: (3, ...) value, first and second derivative.
    Returns:
      (3, ...) those of the product.
    Example:
      >>> x = np.array([3.0, 1.0, 0.0])
      >>> times(x, x).tolist()
      [9.0, 6.0, 2.0]
    """
    first = a[1] * b[0] + a[0] * b[1]
    return np.stack([a[0] * b[0], first, a[2] * b[0] + 2.0 * a[1] * b[1] + a[0] * b[2]])


def power(a: Floats, exponent: float) -> Floats:
    """A power of a positive function.

    Args:
      a: (3, ...) value, first and second derivative.
      exponent: any number.
    Returns:
      (3, ...) those of the power.
    Example:
      >>> power(np.array([4.0, 1.0, 0.0]), 0.5).tolist()
      [2.0, 0.25, -0.03125]
    """
    value = a[0] ** exponent
    first = exponent * a[0] ** (exponent - 1.0)
    second = exponent * (exponent - 1.0) * a[0] ** (exponent - 2.0)
    return np.stack([value, first * a[1], second * a[1] ** 2 + first * a[2]])
