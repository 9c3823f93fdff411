"""The log gamma function less its powers, log(Gamma(x) exp(x) / x^x), with derivatives in log x, in NumPy."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import scipy.special

from lmeformula.arrays import Floats
from lmeformula.family.gammas import LARGE, REMAINDER
from lmeformula.family.polygammas import tetragamma, trigamma
from lmeformula.family.series import Derivatives, Series, applied

# (x d/dx)^n is a sum of x^i (d/dx)^i with these factors: Stirling's numbers.
STIRLING = (
    (1.0,),
    (0.0, 1.0),
    (0.0, 1.0, 1.0),
    (0.0, 1.0, 3.0, 1.0),
    (0.0, 1.0, 7.0, 6.0, 1.0),
    (0.0, 1.0, 15.0, 25.0, 10.0, 1.0),
)
POLYGAMMAS = (
    scipy.special.psi,
    trigamma,
    tetragamma,
    lambda x: scipy.special.polygamma(3, x),
    lambda x: scipy.special.polygamma(4, x),
)
HALF_LOG_TAU = 0.5 * math.log(2.0 * math.pi)


def less_powers(x: Floats, num: int) -> tuple[Floats, ...]:
    """log(Gamma(x) exp(x) / x^x) and its derivatives in the logarithm of x > 0, elementwise.

    Args:
      x: any shape.
      num: how many, the value included; at most six.
    Example:
      >>> [value.round(6).tolist() for value in less_powers(np.array([1.0, 1e8]), 2)]
      [[1.0, -8.291402], [-0.577216, -0.5]]
    """
    return tuple(itertools.islice(_derivatives(x, np.log(x)), num))


def less_powers_series(log_x: Series) -> Series:
    """The same in series: of a large x the logarithm of its root, and no more."""
    return applied(lambda log_x: _derivatives(np.exp(log_x), log_x), log_x)


def _derivatives(x: Any, log_x: Any) -> Derivatives:
    is_large = np.asarray(x >= LARGE)
    if is_large.all() or not is_large.any():
        yield from _far(x, log_x) if is_large.all() else _near(x, log_x)
        return
    far, near = _far(x[is_large], log_x[is_large]), _near(x[~is_large], log_x[~is_large])
    for high, low in zip(far, near, strict=False):
        found = np.empty_like(x)
        found[is_large], found[~is_large] = high, low
        yield found


def _far(x: Any, log_x: Any) -> Derivatives:
    """By Stirling's formula."""
    inverse = 1.0 / x
    square = inverse * inverse
    for order in itertools.count():
        total: Any = 0.0
        for j in range(len(REMAINDER) - 1, -1, -1):
            total = total * square + REMAINDER[j] * (-(2.0 * j + 1.0)) ** order
        total = total * inverse
        yield total + (HALF_LOG_TAU - 0.5 * log_x if order == 0 else -0.5 * (order == 1))


def _near(x: Any, log_x: Any) -> Derivatives:
    """From the log gamma function of x + 1, whose derivatives are finite where x is next to none."""
    above, power = x + 1.0, x * log_x
    yield scipy.special.gammaln(above) - log_x - power + x
    # x^i times the i-th derivative of the log gamma function of x + 1.
    parts, to_power = [np.zeros_like(x)], x
    for order, function in enumerate(POLYGAMMAS, 1):
        parts.append(to_power * function(above))
        to_power = to_power * x
        found = sum(f * part for f, part in zip(STIRLING[order], parts, strict=True) if f)
        yield found - power - (order - 1.0) * x - (order == 1)
