"""Sums of a Poisson number of gamma amounts in series: the Tweedie log density row by row.

With a power p between one and two, a = (2 - p) / (p - 1) and k = y^(2 - p) / (dispersion (2 - p)), the density
at its peak, where the mean is y, is a sum over numbers j of amounts of

    exp((1 + a) j (l - expm1(l)) - r(j) - r(a j)) / (j y),   l = log(k / j),

r being the log gamma function less its powers. What is left to its value elsewhere is half a deviance over the
dispersion, which has a closed form. No term is a difference of large ones: neither many small amounts (a power
next to two) nor amounts nearly alike (next to one) cost digits. For very many amounts the sum is an integral,
whose value is that of the gamma distribution and a correction of the order of its variance.

References: Dunn, Smyth (2005), Series evaluation of Tweedie exponential dispersion model densities, Statistics
and Computing 15, 267-280, for the series; Jorgensen (1997), The Theory of Dispersion Models, chapter 4.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.family.elementary import exp, log
from lmeformula.family.less_powers import less_powers, less_powers_series
from lmeformula.family.record import Arrays
from lmeformula.family.series import Derivatives, Series, applied, applied_to_all, by_kind

# Terms to either side of the largest one, out to as many standard deviations of what they look like; of few
# amounts the tail is longer than a normal one's, by less than so many terms.
HALF_WINDOW, REACH, TAIL = 160, 12.0, 25
# With a relative variance of their number below this the sum is an integral: its square is what is left out.
SMOOTH = 1e-6
# Below this, functions of exp(z) - 1 are summed as series, of so many terms.
SMALL, NUM_TERMS = 1.0, 20


def amounts_series(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    """The log density of rows (n,); own: the dispersion and the power."""
    y, log_y = response
    log_dispersion, power = log(own[0]), own[1]
    is_smooth = _is_smooth(log_y, log_dispersion.value, power.value)
    kinds = np.where(y == 0.0, 0, np.where(is_smooth, 2, 1))
    parts = [(density, [log_dispersion, power]) for density in (_nothing, _some, _many)]
    return by_kind(kinds, parts, eta, response)


def _nothing(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    """Less the mean number of amounts."""
    rest = 2.0 - own[1]
    return -exp(rest * eta - own[0] - log(rest))


def _some(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    """The sum over their number at the peak, and what is left to elsewhere."""
    log_y, log_dispersion, power = response[1], *own
    log_rest = log(2.0 - power)
    log_k = (2.0 - power) * log_y - log_dispersion - log_rest
    log_shape = log_rest - log(power - 1.0)
    if log_shape.terms:
        peak = applied_to_all(_numbers, log_k, log_shape)
    else:
        peak = applied(lambda log_k: _numbers_alone(log_k, log_shape.value), log_k)
    return peak - log_y - _half_deviance(eta, response, own)


def _many(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    """A gamma density at the peak, and what the variance v of the number of amounts adds to it."""
    log_y, log_dispersion, power = response[1], *own
    log_more = log(power - 1.0)
    log_shape = (2.0 - power) * log_y - log_dispersion - log_more
    v = (2.0 - power) * exp(-log_shape)
    curved = applied(_curved, log_shape) + (1.0 - exp(-log_more)) * (1.0 / 6.0)
    peak = 0.5 * (log_more + v * curved) - less_powers_series(log_shape)
    return peak - log_y - _half_deviance(eta, response, own)


def _is_smooth(log_y: Floats, log_dispersion: Any, power: float) -> Mask:
    """Whether the sum over numbers of amounts is an integral."""
    rest, more = 2.0 - power, power - 1.0
    shape = np.exp(rest * log_y - log_dispersion) / more
    # The variance of the number itself must be so large that steps of one do not show.
    spread = shape * more**2 / rest
    return np.asarray((rest / shape < SMOOTH) & (spread > (HALF_WINDOW / REACH) ** 2))


def _half_deviance(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    """Half the deviance over the dispersion."""
    log_y, log_dispersion, power = response[1], *own
    level = exp((2.0 - power) * log_y - log_dispersion)
    return level * applied_to_all(_gap, log_y - eta, power)


def _gap(u: Floats, power: float) -> Derivatives:
    """expm1(more u) / more + expm1(-rest u) / rest, with more = power - 1, rest = 2 - power."""
    rest, more = 2.0 - power, power - 1.0
    up, down = _excess(more * u), _excess(-rest * u)
    yield u * (next(up) - next(down))
    grown, left = np.exp(more * u), np.exp(-rest * u)
    between = left * np.expm1(u)
    yield {(0,): between, (1,): u**2 * (next(up) - next(down))}
    both = more * grown + rest * left
    yield {(0, 0): both, (0, 1): u * between, (1, 1): u**3 * (next(up) - next(down))}
    # The power is no predictor: further derivatives in it are not asked for.
    yield {(0, 0, 0): more**2 * grown - rest**2 * left, (0, 0, 1): between + u * both}


def _excess(z: Floats) -> Derivatives:
    """expm1(z) / z - 1 and its first two derivatives."""
    is_small = np.abs(z) < SMALL
    near, far = np.where(is_small, z, 0.0), np.where(is_small, 1.0, z)
    factors = np.array([0.0, *(1.0 / math.factorial(k + 1) for k in range(1, NUM_TERMS))])
    grown = np.exp(far)
    for order in itertools.count():
        if order == 0:
            direct = np.expm1(far) / far - 1.0
        elif order == 1:
            direct = (grown * (far - 1.0) + 1.0) / far**2
        else:
            direct = (grown * (far * far - 2.0 * far + 2.0) - 2.0) / far**3
        summed = np.polynomial.polynomial.polyval(
            near, np.polynomial.polynomial.polyder(factors, order)
        )
        yield np.where(is_small, summed, direct)


def _curved(log_shape: Any) -> Derivatives:
    """What v / 2 is multiplied by, but for what depends on the power alone."""
    _, l1, l2, l3, l4, l5 = less_powers(np.exp(log_shape), 6)
    yield l1**2 + l1 - l2
    yield 2.0 * l1 * l2 + l2 - l3
    yield 2.0 * (l2**2 + l1 * l3) + l3 - l4
    yield 6.0 * l2 * l3 + 2.0 * l1 * l4 + l4 - l5


def _numbers_alone(log_k: Floats, log_shape: float) -> Derivatives:
    """As `_numbers`, with derivatives in log k alone."""
    found = _numbers(log_k, log_shape, has_shape=False)
    yield next(found)
    for order, derivatives in enumerate(found, 1):
        yield derivatives[(0,) * order]


def _numbers(log_k: Floats, log_shape: float, has_shape: bool = True) -> Derivatives:
    """The logarithm of the sum over numbers of amounts; derivatives in log k and log a are cumulants.

    Terms are summed as far as they count; beyond the window every h-th of a function so smooth stands for h.
    They are those of a normal density of variance k (power - 1) around the largest, at k.
    """
    k, shape = np.exp(log_k), np.exp(log_shape)
    spread = np.sqrt(k / (1.0 + shape))
    reach = REACH * float(spread.max())
    half = math.ceil(reach) + TAIL if reach < HALF_WINDOW - TAIL else HALF_WINDOW
    step = np.maximum(REACH * spread / HALF_WINDOW, 1.0)
    number = np.maximum(np.round(k), 1.0)[:, None] + step[:, None] * np.arange(-half, half + 1.0)
    is_there = number >= 1.0
    number = np.where(is_there, number, 1.0)
    apart = log_k[:, None] - np.log(number)
    pull = number * (apart - np.expm1(apart))
    powers = less_powers(number, 1)[0] + less_powers(shape * number, 1)[0] + np.log(number)
    logs = np.where(is_there, (1.0 + shape) * pull - powers, -np.inf)
    top = logs.max(axis=1, keepdims=True)
    chances = np.exp(logs - top)
    total = chances.sum(axis=1)
    yield top[:, 0] + np.log(total * step)
    chances /= total[:, None]

    def mean(values: Floats) -> Floats:
        return np.asarray(np.einsum("nj,nj->n", chances, values))

    # The logarithm of each term changes with log k by (1 + a) (j - k), and that by -(1 + a) k.
    ahead, times = number - k[:, None], 1.0 + shape
    mean_ahead = mean(ahead)
    off = ahead - mean_ahead[:, None]
    found: dict[tuple[int, ...], Floats] = {(0,): times * mean_ahead}
    if has_shape:
        _, r1, r2 = less_powers(shape * number, 3)
        in_shape = shape * pull - r1
        found[1,] = mean(in_shape)
        off_shape = in_shape - found[1,][:, None]
    yield found
    variance = mean(off**2)
    found = {(0, 0): times**2 * variance - times * k}
    if has_shape:
        found[0, 1] = times * mean(off * off_shape) + shape * mean_ahead
        found[1, 1] = mean(off_shape**2) + mean(shape * pull - r2)
    yield found
    found = {(0, 0, 0): times**3 * mean(off**3) - times * k}
    if has_shape:
        found[0, 0, 1] = times**2 * mean(off**2 * off_shape) + shape * (2.0 * times * variance - k)
    yield found
