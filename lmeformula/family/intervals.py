"""Derivatives of log(F(upper - eta) - F(lower - eta)) for any F: of ordered categories, of yes and no.

With A = f(a) / P, B = f(b) / P, P = F(a) - F(b) and D = A - B, the first derivative in eta is -D; A and B
change with a by A (l(a) - A) and -A B, with b by A B and B (l(b) + B), where l = (log f)'. The rest follows.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.family.elementary import by_jet, log1mexp
from lmeformula.family.jets import jets
from lmeformula.family.link_distributions import TAILS, Tails
from lmeformula.family.record import Arrays, ClosedForm, Depths, Slopes
from lmeformula.family.series import Derivatives, Series, applied_to_all, by_kind


class _Edges(NamedTuple):
    """Of each row's interval: log P; at its ends f / P, zero where there is none; (log f)' and (log f)''."""

    log_chance: Floats
    A: Floats
    B: Floats
    slope_a: Floats
    slope_b: Floats
    bend_a: Floats
    bend_b: Floats


def ordered_form(tails: Tails) -> ClosedForm:
    """The derivatives of a cumulative family with that distribution function; own parameters are thresholds."""

    def slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
        at = _edges(tails, eta, response[0].astype(np.int64), own)
        D = at.A - at.B
        second = at.A * at.slope_a - at.B * at.slope_b - D**2
        return Slopes(at.log_chance, -D, second)

    def depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
        codes = response[0].astype(np.int64)
        _, A, B, slope_a, slope_b, bend_a, bend_b = _edges(tails, eta, codes, own)
        D = A - B
        # Derivatives of A and B in the upper and in the lower threshold.
        A_a, A_b, B_a, B_b = A * (slope_a - A), A * B, -A * B, B * (slope_b + B)
        # Of the second derivative in the predictor, A l(a) - B l(b) - D^2.
        upper = A_a * slope_a + A * bend_a - B_a * slope_b - 2.0 * D * (A_a - B_a)
        lower = A_b * slope_a - B_b * slope_b - B * bend_b - 2.0 * D * (A_b - B_b)
        f, n = len(own), len(eta)
        own_first, own_second = np.zeros((f, n)), np.zeros((f, n))
        own_each, own_own = np.zeros((f, n)), np.zeros((f, f))
        for k in range(f):
            ends, starts = codes == k, codes == k + 1
            own_first[k] = np.where(ends, B_a - A_a, np.where(starts, B_b - A_b, 0.0))
            own_second[k] = np.where(ends, upper, np.where(starts, lower, 0.0))
            own_each[k] = np.where(ends, A, np.where(starts, -B, 0.0))
            own_own[k, k] = A_a[ends].sum() - B_b[starts].sum()
            if k:
                # The rows between this threshold and the one below.
                own_own[k, k - 1] = own_own[k - 1, k] = A_b[ends].sum()
        return Depths(-upper - lower, own_each, own_own, own_first, own_second)

    return ClosedForm(slopes, depths)


def interval_series(link: str, eta: Series, codes: Ints, thresholds: Sequence[Series]) -> Series:
    """The log chance of categories (n,), between thresholds that may vary with the rows."""
    last, of = len(thresholds), jets(link)

    def lowest(eta: Series, _: Arrays, own: Sequence[Series]) -> Series:
        return by_jet(of.log_cdf, own[0] - eta)

    def highest(eta: Series, _: Arrays, own: Sequence[Series]) -> Series:
        return by_jet(of.log_survival, own[0] - eta)

    def between(eta: Series, _: Arrays, own: Sequence[Series]) -> Series:
        low, high = own[0] - eta, own[1] - eta
        if link == "probit":
            return applied_to_all(functools.partial(_between, TAILS[link]), high, low)
        above, gap = by_jet(of.log_survival, low), log1mexp(own[1] - own[0])
        if link == "logit":
            # F(a) - F(b) = F(a) (1 - F(b)) (1 - exp(b - a))
            return by_jet(of.log_cdf, high) + above + gap
        # exp(-e^b) - exp(-e^a) = exp(-e^b) (1 - exp(-(e^a - e^b)))
        return by_jet(of.log_cdf, high + gap) + above

    inner = [(between, thresholds[k : k + 2]) for k in range(last - 1)]
    return by_kind(codes, [(lowest, thresholds[:1]), *inner, (highest, thresholds[-1:])], eta, ())


def _between(tails: Tails, a: Floats, b: Floats) -> Derivatives:
    """log(F(a) - F(b)), whose derivatives are as above."""
    log_chance = tails.log_between(a, b)
    yield log_chance
    A, B = (np.exp(tails.log_density(end) - log_chance) for end in (a, b))
    yield {(0,): A, (1,): -B}
    up, down, both = tails.slope(a) - A, tails.slope(b) + B, A * B
    yield {(0, 0): A * up, (0, 1): both, (1, 1): -B * down}
    yield {
        (0, 0, 0): A * (up * up + tails.bend(a) - A * up),
        (0, 0, 1): both * (up - A),
        (0, 1, 1): both * (down + B),
        (1, 1, 1): -B * (down * down + tails.bend(b) + B * down),
    }


def binary_form(link: str) -> ClosedForm:
    """The derivatives of successes out of trials, whose chance is F(eta) by that link."""
    of = jets(link)

    def slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
        (successes, trials, log_ways), yes, no = response, of.log_cdf(eta), of.log_survival(eta)
        failures = trials - successes
        return Slopes(
            successes * yes.value + failures * no.value + log_ways,
            successes * yes.first + failures * no.first,
            successes * yes.second + failures * no.second,
        )

    def depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
        (successes, trials, _), yes, no = response, of.log_cdf(eta), of.log_survival(eta)
        return Depths.of_predictor(successes * yes.third + (trials - successes) * no.third)

    return ClosedForm(slopes, depths)


def _edges(tails: Tails, eta: Floats, codes: Ints, own: Floats) -> _Edges:
    last = len(own)
    is_first, is_last = codes == 0, codes == last
    a = own[np.minimum(codes, last - 1)] - eta
    b = own[np.maximum(codes - 1, 0)] - eta
    log_chance = np.empty(len(eta))
    log_chance[is_first] = tails.log_cdf(a[is_first])
    log_chance[is_last] = tails.log_survival(b[is_last])
    between = ~(is_first | is_last)
    log_chance[between] = tails.log_between(a[between], b[between])
    A = np.where(is_last, 0.0, np.exp(tails.log_density(a) - log_chance))
    B = np.where(is_first, 0.0, np.exp(tails.log_density(b) - log_chance))
    return _Edges(log_chance, A, B, tails.slope(a), tails.slope(b), tails.bend(a), tails.bend(b))
