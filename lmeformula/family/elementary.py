"""Elementary functions of series, each in the form whose derivatives keep their digits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.family.gammas import SMALL
from lmeformula.family.jets import Jet
from lmeformula.family.less_powers import HALF_LOG_TAU
from lmeformula.family.polya_urn_large import less_log
from lmeformula.family.series import (
    Derivatives,
    Known,
    Series,
    applied,
    applied_to_all,
    product,
    summed,
    times,
)


def exp(x: Series) -> Series:
    """The exponential, which knows its logarithm."""

    def of(x: Any) -> Derivatives:
        found = np.exp(x)
        while True:
            yield found

    return Known(lambda: applied(of, x), log=x)


def one_and_exp(x: Series) -> Series:
    """1 + exp(x), which knows its logarithm."""
    return Known(lambda: 1.0 + exp(x), log=softplus(x))


def log(x: Series) -> Series:
    """The logarithm of a positive series, by what is known of it where something is."""

    def of(x: Any) -> Derivatives:
        yield np.log(x)
        inverse = 1.0 / x
        yield inverse
        yield -(inverse**2)
        yield 2.0 * inverse**3

    return x.log if isinstance(x, Known) else applied(of, x)


def log_rest(x: Series) -> Series:
    """log(1 - x) of a chance, likewise."""

    def of(x: Any) -> Derivatives:
        yield np.log1p(-x)
        inverse = 1.0 / (1.0 - x)
        yield -inverse
        yield -(inverse**2)
        yield -2.0 * inverse**3

    return x.log_rest if isinstance(x, Known) and x.log_rest else applied(of, x)


def logistic(x: Series) -> Series:
    """The logistic function, which knows its logarithms."""

    def of(x: Any) -> Derivatives:
        share, rest, _ = shares(x)
        yield share
        bend = share * rest
        yield bend
        yield bend * (rest - share)
        yield bend * (1.0 - 6.0 * bend)

    return Known(lambda: applied(of, x), log=-softplus(-x), log_rest=-softplus(x))


def softplus(x: Series) -> Series:
    """log(1 + exp(x))."""

    def of(x: Any) -> Derivatives:
        share, rest, more = shares(x)
        yield np.maximum(x, 0.0) + more
        yield share
        bend = share * rest
        yield bend
        yield bend * (rest - share)

    return applied(of, x)


def shares(x: Any) -> tuple[Any, Any, Any]:
    """The logistic functions of x and of -x, and log(1 + exp(-|x|)), from one exponential.

    Example:
      >>> [round(float(each), 4) for each in shares(np.log(3.0))]
      [0.75, 0.25, 0.2877]
    """
    small = np.exp(-np.abs(x))
    large = 1.0 / (1.0 + small)
    less, is_positive = small * large, x > 0.0
    share, rest = np.where(is_positive, large, less), np.where(is_positive, less, large)
    return share, rest, np.log1p(small)


def log_softplus(x: Series) -> Series:
    """log(log(1 + exp(x)))."""

    def of(x: Any) -> Derivatives:
        # log log(1 + m) = x - m / 2 + ..., where m = exp(x) underflows and x does not.
        growth, is_tiny, (share, rest, more) = np.exp(x), x < -30.0, shares(x)
        plus = np.maximum(x, 0.0) + more
        held = np.where(is_tiny, 1.0, plus)
        yield np.where(is_tiny, x - 0.5 * growth, np.log(held))
        first = np.where(is_tiny, 1.0 - 0.5 * growth, share / held)
        yield first
        # The rest less the first derivative, of which neither is far from one where x is small.
        near = -rest * less_log(np.minimum(growth, 1.0)) / np.where(x < 0.0, held, 1.0)
        apart = np.where(x < 0.0, np.where(is_tiny, -0.5 * growth, near), rest - first)
        yield first * apart
        yield first * (apart**2 - share * rest - first * apart)

    return applied(of, x)


def less_growth(x: Series) -> Series:
    """x - (exp(x) - 1), at most zero."""

    def of(x: Any) -> Derivatives:
        above = np.expm1(x)
        yield x - above
        yield -above
        growth = -np.exp(x)
        yield growth
        yield growth

    return applied(of, x)


def above_zero(x: Series) -> Series:
    """exp(x) - 1."""

    def of(x: Any) -> Derivatives:
        yield np.expm1(x)
        growth = np.exp(x)
        yield growth
        yield growth
        yield growth

    return applied(of, x)


def log1mexp(x: Series) -> Series:
    """log(1 - exp(-x)) of a positive x."""

    def of(x: Any) -> Derivatives:
        yield np.where(x < 0.5, np.log(-np.expm1(-x)), np.log1p(-np.exp(-x)))
        pull = 1.0 / np.expm1(x)
        yield pull
        push = pull * (1.0 + pull)
        yield -push
        yield push * (1.0 + 2.0 * pull)

    return applied(of, x)


def at_most(x: Series, most: float) -> Series:
    """The smaller of x and a number, which is flat."""

    def of(x: Any) -> Derivatives:
        is_below = x < most
        yield np.where(is_below, x, most)
        yield is_below * 1.0
        while True:
            yield 0.0

    return applied(of, x) if (np.asarray(x.value) >= most).any() else x


def by_jet(jet: Callable[[Floats], Jet], x: Series) -> Series:
    """A function of x that is known with its derivatives."""
    return applied(lambda value: iter(jet(value)), x)


def log_sum(u: Series, v: Series) -> Series:
    """log(exp(u) + exp(v))."""

    def of(u: Any, v: Any) -> Derivatives:
        share, rest, more = shares(u - v)
        yield np.maximum(u, v) + more
        yield share, rest
        bend = share * rest
        yield bend
        yield bend * (rest - share)

    return of_difference(of, u, v)


def of_difference(function: Callable[[Any, Any], Derivatives], u: Series, v: Series) -> Series:
    """A function of two series whose first derivatives depend on the difference of the two alone.

    Args:
      function: yields the value; both first derivatives; the second one in u, which is that in v and less the
        mixed one; the third one in u.
      u, v: the series.
    """
    found = function(u.value, v.value)
    value, space, terms = next(found), u.space, {}
    if u.terms or v.terms:
        share, rest = next(found)
        terms = summed(times(share, u.terms), times(rest, v.terms))
        apart = (u - v).terms
        square = product(space, apart, apart) if space.order > 1 else {}
        if square:
            terms = summed(terms, times(0.5 * next(found), square))
            cube = product(space, square, apart) if space.order > 2 else {}
            if cube:
                terms = summed(terms, times(next(found) / 6.0, cube))
    return Series(space, value, terms)


def normal_series(apart: Series, log_sd: Series, weights: Floats | float = 1.0) -> Series:
    """The log density of the normal distribution, less that of the weights, at a distance from its mean."""
    square = apart * apart * (0.5 * weights)
    return -log_sd - square * exp(-2.0 * log_sd) - HALF_LOG_TAU


def log1p_times(log_x: Series, log_s: Series) -> Series:
    """s log(1 + x / s), which is x where s is large; of the logarithms of x and s.

    Its derivative in log s is what a negative binomial distribution has beyond a Poisson one: no difference of
    large numbers where that is little.
    """

    def of(log_x: Any, log_s: Any) -> Derivatives:
        apart, s = log_x - log_s, np.exp(log_s)
        share, rest, more = shares(apart)
        plus = np.maximum(apart, 0.0) + more
        yield s * plus

        @functools.cache
        def less() -> Any:
            small = less_share(np.exp(np.minimum(apart, 0.0)))
            return np.where(apart < 0.0, small, plus - share)

        yield {(0,): s * share, (1,): lambda: s * less()}
        flat = s * share * rest
        yield {
            (0, 0): flat,
            (0, 1): lambda: s * share**2,
            (1, 1): lambda: s * (less() - share**2),
        }
        yield {
            (0, 0, 0): flat * (rest - share),
            (0, 0, 1): lambda: 2.0 * flat * share,
            (0, 1, 1): lambda: s * share**2 * (share - rest),
            (1, 1, 1): lambda: s * (less() - 2.0 * share**3),
        }

    return applied_to_all(of, log_x, log_s)


def less_share(x: Floats) -> Floats:
    """log(1 + x) less x / (1 + x) for x >= 0, which begins with half of a square.

    Example:
      >>> (less_share(np.array([1e-8, 1.0])) * [1e17, 1.0]).round(6).tolist()
      [5.0, 0.193147]
    """
    part = x / (1.0 + x)
    return np.asarray(
        np.where(x < SMALL, x * part - less_log(np.minimum(x, SMALL)), np.log1p(x) - part)
    )
