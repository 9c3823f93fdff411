"""Logarithms of a link's distribution function and of its complement in NumPy, with three derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.special

from lmeformula.arrays import Floats
from lmeformula.family.link_distributions import LARGEST_EXPONENT, TAILS, Tails


class Jet(NamedTuple):
    """A function's value and its first three derivatives, elementwise."""

    value: Floats
    first: Floats
    second: Floats
    third: Floats

    def __sub__(self, other: Jet) -> Jet:
        return Jet(*(a - b for a, b in zip(self, other, strict=True)))


class Jets(NamedTuple):
    """Of a distribution function F: x -> log F(x), log(1 - F(x)), and the difference of the two."""

    log_cdf: Callable[[Floats], Jet]
    log_survival: Callable[[Floats], Jet]
    log_odds: Callable[[Floats], Jet]


def jets(link: str) -> Jets:
    """Those of a link.

    Example:
      >>> [float(part) for part in jets("logit").log_cdf(np.zeros(1)).first]
      [0.5]
    """
    if link == "logit":
        return Jets(_logistic_cdf, lambda x: _mirrored(_logistic_cdf(-x)), _identity)
    tails = TAILS[link]

    def log_cdf(x: Floats) -> Jet:
        return _of_cdf(tails, x)

    def log_survival(x: Floats) -> Jet:
        # Normal: symmetric. Complementary log-log: minus an exponential, which is its own derivative.
        return _gumbel_survival(x) if link == "cloglog" else _mirrored(_of_cdf(tails, -x))

    return Jets(log_cdf, log_survival, lambda x: log_cdf(x) - log_survival(x))


def _logistic_cdf(x: Floats) -> Jet:
    chance, rest = scipy.special.expit(x), scipy.special.expit(-x)
    value = np.minimum(x, 0.0) - np.log1p(np.exp(-np.abs(x)))
    second = -chance * rest
    return Jet(value, rest, second, second * (rest - chance))


def _of_cdf(tails: Tails, x: Floats) -> Jet:
    value, slope = tails.log_cdf(x), tails.slope(x)
    first = np.exp(tails.log_density(x) - value)
    second = first * (slope - first)
    return Jet(value, first, second, second * (slope - first) + first * (tails.bend(x) - second))


def _gumbel_survival(x: Floats) -> Jet:
    rate = np.exp(np.minimum(x, LARGEST_EXPONENT))
    return Jet(-rate, -rate, -rate, -rate)


def _identity(x: Floats) -> Jet:
    flat = np.zeros_like(x)
    return Jet(x, flat + 1.0, flat, flat)


def _mirrored(at_minus_x: Jet) -> Jet:
    """The derivatives in x of a function of -x."""
    value, first, second, third = at_minus_x
    return Jet(value, -first, second, -third)
