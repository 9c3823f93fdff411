"""Polya's urn in NumPy: the beta-binomial log density row by row, with its derivatives.

The chance of y successes out of n is a product of draws from an urn that each draw changes: with chances p and
q = 1 - p and a precision phi, of (p + j / phi) over j < y, of (q + j / phi) over j < n - y, over that of
(1 + j / phi) over j < n. Every derivative is a sum over these factors of terms of one sign, so that no digit is
lost where phi is large or p is small.

References: Johnson, Kotz, Kemp (1992), Univariate Discrete Distributions, section 6.2.2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.family.jets import Jet, jets
from lmeformula.family.polya_urn_large import FIRST, MANY, far_sums, log_chances
from lmeformula.family.record import Arrays, ClosedForm, Depths, Slopes

# So many draws in all, or so many a row, are added up one by one; for more there are gamma functions.
MOST_DRAWS, MOST_A_ROW = 20_000, 20


class Side(NamedTuple):
    """Sums (n,) over the draws of one kind, of log(p + j / phi) and of r = p / (p + j / phi).

    Attributes:
      value: of the logarithm.
      share: of r.
      rest: of 1 - r.
      square: of its square.
      spread: of r (1 - r).
      skew: of r (1 - r) (1 - 2 r).
    """

    value: Floats
    share: Floats
    rest: Floats
    square: Floats
    spread: Floats
    skew: Floats


def is_short(draws: Floats) -> bool:
    """Whether there are so few draws (n,) that they are added up one by one."""
    return float(draws.sum()) <= max(MOST_DRAWS, MOST_A_ROW * len(draws))


def urn_form(link: str) -> ClosedForm:
    """Derivatives of (successes, trials, log of the ways) with that link; own: the precision."""
    both = jets(link)

    def sides(eta: Floats, response: Arrays, precision: float) -> tuple[Jet, Jet, Side, Side, Side]:
        successes, trials = response[0], response[1]
        yes, no = both.log_cdf(eta), both.log_survival(eta)
        return (
            yes,
            no,
            _all(yes.value, successes, precision),
            _all(no.value, trials - successes, precision),
            _all(np.zeros_like(eta), trials, precision),
        )

    def slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
        yes, no, up, down, whole = sides(eta, response, own[0])
        values = response[2] + up.value + down.value - whole.value
        if (many := response[1] > MANY).any():
            pair, counts = (yes.value[many], no.value[many]), (response[0][many], response[1][many])
            values[many] = log_chances(*pair, *counts, own[0])
        return Slopes(
            values,
            up.share * yes.first + down.share * no.first,
            _second(yes, up) + _second(no, down),
        )

    def depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
        precision = own[0]
        yes, no, up, down, whole = sides(eta, response, precision)
        # In the precision's logarithm first.
        # Shares and rests add up to the draws, of which there are as many on both sides.
        by_rest, by_share = whole.rest - up.rest - down.rest, up.share + down.share - whole.share
        slopes = np.where(response[1] > precision, by_share, by_rest)
        bend = float(np.sum(up.spread + down.spread - whole.spread))
        first = up.spread * yes.first + down.spread * no.first
        second = _mixed(yes, up) + _mixed(no, down)
        return Depths(
            _third(yes, up) + _third(no, down),
            slopes[None, :] / precision,
            np.array([[(bend - float(np.sum(slopes))) / precision**2]]),
            first[None, :] / precision,
            second[None, :] / precision,
        )

    return ClosedForm(slopes, depths)


def summed(log_first: Floats, counts: Floats, precision: float) -> Side:
    """Sums over so many draws of each row.

    Args:
      log_first: (n,) logarithm of the first draw's factor, p.
      counts: (n,) whole numbers of draws from zero.
      precision: each draw adds one over it.
    Returns:
      The sums, none of which mixes terms of two signs but the skew.
    Example:
      >>> float(np.exp(summed(np.log([0.5]), np.array([2.0]), 2.0).value[0]).round(12))  # 0.5 (0.5 + 0.5)
      0.5
    """
    whole = counts.astype(np.int64)
    rows = np.repeat(np.arange(len(whole)), whole)
    j = np.arange(len(rows)) - np.repeat(np.cumsum(whole) - whole, whole)
    first, more = np.exp(log_first)[rows], j / precision
    # The first draw's logarithm is known where the factor itself underflows.
    is_first = j == 0
    total = np.where(is_first, 1.0, first + more)
    value = np.where(is_first, log_first[rows], np.log(total))
    share, rest = np.where(is_first, 1.0, first / total), more / total
    spread = share * rest

    def sums(terms: Floats) -> Floats:
        return np.asarray(np.bincount(rows, terms, minlength=len(whole)), float)

    return Side(
        sums(value),
        sums(share),
        sums(rest),
        sums(rest**2),
        sums(spread),
        sums(spread * (rest - share)),
    )


def _all(log_first: Floats, counts: Floats, precision: float) -> Side:
    """The same for any number of draws; of rows with many there is no value or square here."""
    many = counts > MANY
    found = summed(log_first, np.where(many, FIRST, counts), precision)
    if not many.any():
        return found
    first = precision * np.exp(log_first[many])
    parts = dict(
        zip(("share", "rest", "spread", "skew"), far_sums(first, counts[many]), strict=True)
    )
    for name, more in parts.items():
        getattr(found, name)[many] += more
    return found


def _second(log: Jet, side: Side) -> Floats:
    return side.spread * log.first**2 + side.share * log.second


def _third(log: Jet, side: Side) -> Floats:
    return (
        side.skew * log.first**3
        + 3.0 * side.spread * log.first * log.second
        + side.share * log.third
    )


def _mixed(log: Jet, side: Side) -> Floats:
    return side.skew * log.first**2 + side.spread * log.second
