"""Sums of a Poisson number of gamma amounts in NumPy: the Tweedie log density row by row, with its derivatives.

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

import math
from typing import NamedTuple

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Mask
from lmeformula.family.gammas import LARGE, REMAINDER
from lmeformula.family.record import Arrays, ClosedForm, Depths, Slopes

# Terms to either side of the largest one, out to as many standard deviations of what they look like; of few
# amounts the tail is longer than a normal one's, by less than so many terms.
HALF_WINDOW, REACH, TAIL = 160, 12.0, 25
# With a relative variance of their number below this the sum is an integral: its square is what is left out.
SMOOTH = 1e-6
# Below this, functions of exp(z) - 1 are summed as series, of so many terms.
SMALL, NUM_TERMS = 1.0, 20
# (x d/dx)^n is a sum of x^i (d/dx)^i with these factors: Stirling's numbers.
STIRLING = ((1.0,), (0.0, 1.0), (0.0, 1.0, 1.0), (0.0, 1.0, 3.0, 1.0), (0.0, 1.0, 7.0, 6.0, 1.0))


class Local(NamedTuple):
    """A function of the rows, and its derivatives in s, the logarithm of the dispersion, and in the power p.

    Attributes:
      value, s, p, ss, sp, pp: (n,) each.
    """

    value: Floats
    s: Floats
    p: Floats
    ss: Floats
    sp: Floats
    pp: Floats


def _slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
    power = own[1]
    left = _half_deviance(eta, response, own).value
    level, ratio = _level(eta, response, own)
    return Slopes(
        _log_peaks(response, own) - left,
        level * (ratio - 1.0),
        -level * ((power - 1.0) * ratio + (2.0 - power)),
    )


def _depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
    dispersion, power = own
    level, ratio = _level(eta, response, own)
    first = level * (ratio - 1.0)
    second = -level * ((power - 1.0) * ratio + (2.0 - power))
    peak, left = _peak(response, own), _half_deviance(eta, response, own)
    s, p, *seconds = (up - down for up, down in zip(peak[1:], left[1:], strict=True))
    ss, sp, pp = (float(each.sum()) for each in seconds)
    return Depths(
        third=level * ((power - 1.0) ** 2 * ratio - (2.0 - power) ** 2),
        own_each=np.stack([s / dispersion, p]),
        own_own=np.array(
            [[(ss - s.sum()) / dispersion**2, sp / dispersion], [sp / dispersion, pp]]
        ),
        own_first=np.stack([-first / dispersion, -eta * first]),
        own_second=np.stack([-second / dispersion, -eta * second - first]),
    )


AMOUNTS = ClosedForm(_slopes, _depths)


def _level(eta: Floats, response: Arrays, own: Floats) -> tuple[Floats, Floats]:
    """mu^(2 - power) / dispersion, and y / mu."""
    y, log_y = response
    return np.exp((2.0 - own[1]) * eta) / own[0], np.where(y > 0.0, np.exp(log_y - eta), 0.0)


def _half_deviance(eta: Floats, response: Arrays, own: Floats) -> Local:
    """Half the deviance over the dispersion; of a zero, which has no peak, the mean number of amounts."""
    (y, log_y), (dispersion, power) = response, own
    rest, is_zero = 2.0 - power, y == 0.0
    u = np.where(is_zero, 0.0, log_y - eta)
    up, down = _excess((power - 1.0) * u), _excess(-rest * u)
    gap = tuple(
        u ** (order + 1) * (a - b) for order, (a, b) in enumerate(zip(up, down, strict=True))
    )
    turn = np.where(is_zero, 1.0 / rest - eta, -log_y)
    bend = np.where(is_zero, 1.0 / rest**2, 0.0)
    level = np.exp(rest * np.where(is_zero, eta, log_y)) / dispersion
    shape = [
        np.where(is_zero, at_zero, g)
        for at_zero, g in zip((1.0 / rest, 0.0, 0.0), gap, strict=True)
    ]
    value = level * shape[0]
    p = level * (turn * shape[0] + shape[1])
    pp = level * ((turn**2 + bend) * shape[0] + 2.0 * turn * shape[1] + shape[2])
    return Local(value, -value, p, value, -p, pp)


def _excess(z: Floats) -> tuple[Floats, Floats, Floats]:
    """expm1(z) / z - 1 and its first two derivatives."""
    is_small = np.abs(z) < SMALL
    near, far = np.where(is_small, z, 0.0), np.where(is_small, 1.0, z)
    series = [1.0 / math.factorial(k + 1) for k in range(NUM_TERMS)]
    grown = np.exp(far)
    direct = (
        np.expm1(far) / far - 1.0,
        (grown * (far - 1.0) + 1.0) / far**2,
        (grown * (far * far - 2.0 * far + 2.0) - 2.0) / far**3,
    )
    found = []
    for order, there in enumerate(direct):
        factors = np.polynomial.polynomial.polyder([0.0, *series[1:]], order)
        summed = np.polynomial.polynomial.polyval(near, factors)
        found.append(np.where(is_small, summed, there))
    return found[0], found[1], found[2]


def _peak(response: Arrays, own: Floats) -> Local:
    """The log density where the mean is the response; zero where that is."""
    y, log_y = response
    many, few = _is_smooth(log_y, own) & (y > 0.0), ~_is_smooth(log_y, own) & (y > 0.0)
    found = np.zeros((len(Local._fields), len(y)))
    for rows, way in ((many, _integral), (few, _series)):
        if rows.any():
            found[:, rows] = way(log_y[rows], own)
    return Local(*found)


def _log_peaks(response: Arrays, own: Floats) -> Floats:
    """(n,) these log densities alone."""
    y, log_y = response
    found = np.zeros(len(y))
    many, few = _is_smooth(log_y, own) & (y > 0.0), ~_is_smooth(log_y, own) & (y > 0.0)
    if many.any():
        found[many] = _integral(log_y[many], own).value
    if few.any():
        found[few] = _terms(log_y[few], own).value
    return found


def _is_smooth(log_y: Floats, own: Floats) -> Mask:
    """Whether the sum over numbers of amounts is an integral."""
    dispersion, power = own
    shape = np.exp((2.0 - power) * log_y) / (dispersion * (power - 1.0))
    # The variance of the number itself must be so large that steps of one do not show.
    spread = shape * (power - 1.0) ** 2 / (2.0 - power)
    is_smooth = (2.0 - power) / shape < SMOOTH
    return np.asarray(is_smooth & (spread > (HALF_WINDOW / REACH) ** 2))


def _integral(log_y: Floats, own: Floats) -> Local:
    """Of very many amounts: a gamma density, and what the variance v of their number adds to it."""
    dispersion, power = own
    rest, more = 2.0 - power, power - 1.0
    log_shape = rest * log_y - np.log(dispersion * more)
    l0, l1, l2, l3, l4 = less_powers(np.exp(log_shape))
    # In the logarithm of the shape: what v / 2 is multiplied by.
    c0, c1, c2 = (1.0 - 1.0 / more) / 6.0, 1.0 / (6.0 * more**2), -1.0 / (3.0 * more**3)
    r0, r1, r2 = (
        l1**2 + l1 - l2 + c0,
        2.0 * l1 * l2 + l2 - l3,
        2.0 * (l2**2 + l1 * l3) + l3 - l4,
    )
    turn, bend = -log_y - 1.0 / more, 1.0 / more**2
    v, back = rest * np.exp(-log_shape), 1.0 / more + log_y
    v_p = v * (back - 1.0 / rest)
    v_pp = v * (back**2 - 2.0 * back / rest - bend)
    return Local(
        0.5 * np.log(more) - l0 - log_y + 0.5 * v * r0,
        l1 + 0.5 * v * (r0 - r1),
        0.5 / more - l1 * turn + 0.5 * (v_p * r0 + v * (r1 * turn + c1)),
        -l2 + 0.5 * v * (r0 - 2.0 * r1 + r2),
        l2 * turn + 0.5 * (v_p * (r0 - r1) + v * ((r1 - r2) * turn + c1)),
        -0.5 * bend
        - l2 * turn**2
        - l1 * bend
        + 0.5 * (v_pp * r0 + 2.0 * v_p * (r1 * turn + c1))
        + 0.5 * v * (r2 * turn**2 + r1 * bend + c2),
    )


class Terms(NamedTuple):
    """The terms of the sum over the number of amounts.

    Attributes:
      k: (n,) about the number of the largest.
      number: (n, m) of amounts; those of no chance may be any.
      pull: (n, m) number (l - expm1(l)).
      chances: (n, m) each term's share of the sum.
      value: (n,) logarithm of the sum, over y.
    """

    k: Floats
    number: Floats
    pull: Floats
    chances: Floats
    value: Floats


def _terms(log_y: Floats, own: Floats) -> Terms:
    """As far as they count; beyond the window every h-th of a function so smooth stands for h.

    They are those of a normal density of variance k (power - 1) around the largest, at k.
    """
    dispersion, power = own
    rest, more = 2.0 - power, power - 1.0
    shape = rest / more
    log_k = rest * log_y - np.log(dispersion * rest)
    k = np.exp(log_k)
    spread = np.sqrt(k * more)
    reach = REACH * float(spread.max())
    half = math.ceil(reach) + TAIL if reach < HALF_WINDOW - TAIL else HALF_WINDOW
    step = np.maximum(REACH * spread / HALF_WINDOW, 1.0)
    number = np.maximum(np.round(k), 1.0)[:, None] + step[:, None] * np.arange(-half, half + 1.0)
    is_there = number >= 1.0
    number = np.where(is_there, number, 1.0)
    apart = log_k[:, None] - np.log(number)
    pull = number * (apart - np.expm1(apart))
    powers = less_powers(number, 1)[0] + less_powers(shape * number, 1)[0] + np.log(number)
    terms = np.where(is_there, (1.0 + shape) * pull - powers, -np.inf)
    top = terms.max(axis=1, keepdims=True)
    chances = np.exp(terms - top)
    total = chances.sum(axis=1)
    value = top[:, 0] + np.log(total * step) - log_y
    return Terms(k, number, pull, chances / total[:, None], value)


def _series(log_y: Floats, own: Floats) -> Local:
    """Of some amounts: the sum over their number."""
    k, j, pull, chances, value = _terms(log_y, own)
    rest, more = 2.0 - own[1], own[1] - 1.0
    shape = rest / more
    _, r1, r2 = less_powers(shape * j, 3)

    def mean(values: Floats) -> Floats:
        return np.asarray((chances * values).sum(axis=1))

    # In the logarithms of k and of the shape.
    ahead = j - k[:, None]
    in_k, in_a = (1.0 + shape) * ahead, shape * pull - r1
    m_k, m_a = mean(in_k), mean(in_a)
    off_k, off_a = in_k - m_k[:, None], in_a - m_a[:, None]
    kk = mean(off_k**2) - (1.0 + shape) * k
    aa = mean(off_a**2) + mean(shape * pull - r2)
    ka = mean(off_k * off_a) + shape * mean(ahead)
    k_p, k_pp = 1.0 / rest - log_y, 1.0 / rest**2
    a_p, a_pp = -1.0 / rest - 1.0 / more, 1.0 / more**2 - 1.0 / rest**2
    return Local(
        value,
        -m_k,
        m_k * k_p + m_a * a_p,
        kk,
        -(kk * k_p + ka * a_p),
        kk * k_p**2 + 2.0 * ka * k_p * a_p + aa * a_p**2 + m_k * k_pp + m_a * a_pp,
    )


def less_powers(x: Floats, num: int = 5) -> tuple[Floats, ...]:
    """log(Gamma(x) exp(x) / x^x) and its derivatives in the logarithm of x > 0, elementwise.

    Args:
      x: any shape.
      num: how many, the value included; at most five.
    Example:
      >>> [value.round(6).tolist() for value in less_powers(np.array([1.0, 1e8]), 2)]
      [[1.0, -8.291402], [-0.577216, -0.5]]
    """
    is_large = x >= LARGE
    high, low = x[is_large], x[~is_large]
    powers = [factor * high ** -(2.0 * i + 1.0) for i, factor in enumerate(REMAINDER)]
    log_low = np.log(low)
    # x^i times the i-th derivative of the small ones.
    by_powers = [scipy.special.gammaln(low) - low * log_low + low]
    for i, rest in enumerate((-low * log_low, -low, low, -2.0 * low)[: num - 1]):
        by_powers.append(low ** (i + 1.0) * scipy.special.polygamma(i, low) + rest)
    found = []
    for order in range(num):
        values = np.empty_like(x)
        values[is_large] = (0.5 * np.log(2.0 * np.pi / high), -0.5, 0.0, 0.0, 0.0)[order]
        values[is_large] += sum(
            (-(2.0 * i + 1.0)) ** order * power for i, power in enumerate(powers)
        )
        values[~is_large] = sum(
            factor * power for factor, power in zip(STIRLING[order], by_powers, strict=False)
        )
        found.append(values)
    return tuple(found)
