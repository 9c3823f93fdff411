"""Distribution functions of the links in NumPy, with what derivatives of their logarithms are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.special

from lmeformula.arrays import Floats

# Beyond this the complementary log-log functions are flat: exp of it is finite, also in single precision.
LARGEST_EXPONENT = 80.0


class Tails(NamedTuple):
    """A distribution function F with density f, elementwise; logarithms are exact in both tails.

    Attributes:
      log_cdf: log F(x).
      log_survival: log(1 - F(x)).
      log_between: (a, b) -> log(F(a) - F(b)), for a > b.
      log_density: log f(x).
      slope: first derivative of log f.
      bend: second derivative of log f.
    """

    log_cdf: Callable[[Floats], Floats]
    log_survival: Callable[[Floats], Floats]
    log_between: Callable[[Floats, Floats], Floats]
    log_density: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    bend: Callable[[Floats], Floats]


def log1mexp(x: Floats) -> Floats:
    """log(1 - exp(-x)) for x > 0, by whichever form keeps its digits (Maechler 2012)."""
    is_near = x < np.log(2.0)
    near = np.log(-np.expm1(-np.where(is_near, x, 1.0)))
    return np.where(is_near, near, np.log1p(-np.exp(-np.where(is_near, 1.0, x))))


def _normal_log_between(a: Floats, b: Floats) -> Floats:
    # In the tail where both lie the smaller of two small numbers is subtracted.
    is_right = a + b > 0.0
    upper, lower = np.where(is_right, -b, a), np.where(is_right, -a, b)
    top = scipy.special.log_ndtr(upper)
    return np.asarray(top + log1mexp(top - scipy.special.log_ndtr(lower)))


def _rate(x: Floats) -> Floats:
    return np.asarray(np.exp(np.minimum(x, LARGEST_EXPONENT)))


def _gumbel_log_cdf(x: Floats) -> Floats:
    # log(1 - exp(-r)) = log r - r / 2 + ... for r = e^x, which underflows where x does not.
    is_small = x < -20.0
    rate = _rate(np.where(is_small, 0.0, x))
    return np.where(is_small, x - 0.5 * _rate(x), log1mexp(rate))


def _cauchy_log_cdf(x: Floats) -> Floats:
    # F(x) is the angle of (-x, 1) over pi, which is small at the left, and 1 less that of (x, 1).
    is_left = x < 0.0
    near = np.arctan2(1.0, np.where(is_left, -x, x)) / np.pi
    return np.where(is_left, np.log(near), np.log1p(-near))


def _cauchy_slope(x: Floats) -> Floats:
    # -2 x / (1 + x^2), whose square does not overflow
    size = np.maximum(np.abs(x), 1.0)
    return np.asarray(-2.0 * (x / size) / (1.0 / size + (x / size) * x))


def _cauchy_bend(x: Floats) -> Floats:
    # -2 (1 - x^2) / (1 + x^2)^2
    share = 1.0 / np.hypot(1.0, x)
    return np.asarray(-2.0 * share**2 * (2.0 * share**2 - 1.0))


NORMAL = Tails(
    log_cdf=scipy.special.log_ndtr,
    log_survival=lambda x: scipy.special.log_ndtr(-x),
    log_between=_normal_log_between,
    log_density=lambda x: -0.5 * x**2 - 0.5 * np.log(2.0 * np.pi),
    slope=lambda x: -x,
    bend=lambda x: -np.ones_like(x),
)
GUMBEL = Tails(
    log_cdf=_gumbel_log_cdf,
    log_survival=lambda x: -_rate(x),
    log_between=lambda a, b: _gumbel_log_cdf(a + log1mexp(a - b)) - _rate(b),
    log_density=lambda x: x - _rate(x),
    slope=lambda x: 1.0 - _rate(x),
    bend=lambda x: -_rate(x),
)
CAUCHY = Tails(
    log_cdf=_cauchy_log_cdf,
    log_survival=lambda x: _cauchy_log_cdf(-x),
    # A difference of angles is the angle of (1 + a b, a - b).
    log_between=lambda a, b: np.log(np.arctan2(a - b, 1.0 + a * b) / np.pi),
    log_density=lambda x: -2.0 * np.log(np.hypot(1.0, x)) - np.log(np.pi),
    slope=_cauchy_slope,
    bend=_cauchy_bend,
)
TAILS = {"probit": NORMAL, "cloglog": GUMBEL, "cauchit": CAUCHY}
