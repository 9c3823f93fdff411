"""Ordered categories by the odds of neighbours: adjacent categories.

P(y = k + 1 | k <= y <= k + 1) = F(eta - threshold_k), so that a larger predictor makes higher categories
likelier: log P(y = k) is, but for a constant, the sum of the log odds log(F / (1 - F)) below k. With the logit
link those are eta - threshold_k themselves.

References: Agresti (2010), Analysis of Ordinal Categorical Data, 2nd ed., section 4.1; Buerkner, Vuorre (2019),
Adv. Methods Pract. Psychol. Sci. 2, 77-101, for other links and the signs.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Tensor
from lmeformula.family.jets import Jet, Jets, jets
from lmeformula.family.links import LINKS, Link
from lmeformula.family.notation import ordered
from lmeformula.family.ordered_family import ordered_family
from lmeformula.family.record import Arrays, ClosedForm, Depths, Family, Slopes
from lmeformula.family.thresholds import Pattern
from lmeformula.startup import tf


@functools.cache
def acat(link: str, thresholds: Pattern = "flexible") -> Family:
    """Ordered categories by the odds of neighbours, with that link and that pattern of the thresholds."""
    chosen, derivatives = LINKS[link], jets(link)

    def working(response: Arrays) -> Floats:
        # The predictor multiplies the category's number: its mean changes by its variance.
        codes = response[0]
        return np.asarray((codes - codes.mean()) / max(float(codes.var()), 0.1))

    def probabilities(eta: Floats, own: Floats) -> Floats:
        sums = _summed(derivatives.log_odds(eta[:, None] - own).value)
        chances = np.exp(sums - sums.max(axis=1, keepdims=True))
        return np.asarray(chances / chances.sum(axis=1, keepdims=True))

    return ordered_family(
        "acat",
        link,
        thresholds,
        start=lambda counts: -chosen.forward(counts[1:] / (counts[1:] + counts[:-1])),
        logits=lambda eta, own: _summed_odds(chosen, eta, own),
        probabilities=probabilities,
        working=working,
        log_density=lambda eta, response, own: _density(chosen, eta, response, own),
        closed=_closed(derivatives),
        notation=ordered("AdjacentCategory", "{y} = k + 1 | k {le} {y} {le} k + 1", is_above=True),
    )


def _summed_odds(link: Link, eta: Tensor, own: tuple[Tensor, ...]) -> list[Tensor]:
    """The log odds of each category against the first one."""
    sums = [tf.zeros_like(eta)]
    for threshold in own:
        sums.append(sums[-1] + link.log_odds(eta - threshold))
    return sums


def _density(link: Link, eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    """-log(1 + sum over the other categories of their chance over the row's own)."""
    indicators = response[1]
    sums = _summed_odds(link, eta, own)
    here = sum(indicators[:, k, None] * value for k, value in enumerate(sums))
    nothing = tf.constant(-np.inf, eta.dtype) + tf.zeros_like(eta)
    others = [
        tf.where(indicators[:, k, None] > 0.0, nothing, value - here)
        for k, value in enumerate(sums)
    ]
    return -tf.math.softplus(tf.reduce_logsumexp(tf.stack(others), axis=0))


class _At(NamedTuple):
    """What the derivatives are made of, at the rows' predictors and some thresholds.

    Attributes:
      steps: the log odds (n, K - 1) of each threshold with their derivatives.
      value: (n,) log density.
      chances: (n, K) of the categories.
      away, bent, turned: (n, K) first, second and third derivative in eta of the log odds of each category
        against the row's own: differences, so that small ones keep their digits.
    """

    steps: Jet
    value: Floats
    chances: Floats
    away: Floats
    bent: Floats
    turned: Floats


def _closed(derivatives: Jets) -> ClosedForm:
    """The derivatives, by the moments of the categories' log odds."""

    def at(eta: Floats, response: Arrays, own: Floats) -> _At:
        codes = response[0].astype(np.int64)
        rows = np.arange(len(eta))
        steps = derivatives.log_odds(eta[:, None] - own)
        value, away, bent, turned = (
            sums - sums[rows, codes][:, None] for sums in map(_summed, steps)
        )
        chances = np.exp(value - value.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        value[rows, codes] = -np.inf
        others = scipy.special.logsumexp(value, axis=1)
        return _At(steps, -np.logaddexp(0.0, others), chances, away, bent, turned)

    def slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
        found = at(eta, response, own)
        first, second = _mean(found, found.away), _mean(found, found.bent)
        spread = _mean(found, found.away**2) - first**2
        return Slopes(found.value, -first, -second - spread)

    def depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
        found = at(eta, response, own)
        away, bent, steps = found.away, found.bent, found.steps
        m1, m2, m3 = (_mean(found, away**power) for power in (1, 2, 3))
        with_bent = _mean(found, away * bent) - m1 * _mean(found, bent)
        third = -_mean(found, found.turned) - 3.0 * with_bent - (m3 - 3.0 * m1 * m2 + 2.0 * m1**3)
        f, n = len(own), len(eta)
        own_first, own_second = np.zeros((f, n)), np.zeros((f, n))
        own_each, own_own = np.zeros((f, n)), np.zeros((f, f))
        # Whether a category lies above each threshold, against the same of the row's own.
        numbers = np.arange(f + 1.0)
        above = [(numbers > k) - (response[0] > k).astype(np.float64)[:, None] for k in range(f)]
        means = [_mean(found, mark) for mark in above]
        for k, (mark, share) in enumerate(zip(above, means, strict=True)):
            first, second, turn = (part[:, k] for part in steps[1:])
            along = _mean(found, mark * away) - share * m1
            bending = _mean(found, mark * bent) - share * _mean(found, bent)
            # The third cumulant of the mark and twice the slope.
            bending += _mean(found, mark * away**2) - share * m2
            bending += 2.0 * m1 * (share * m1 - _mean(found, mark * away))
            own_each[k] = first * share
            own_first[k] = second * share + first * along
            own_second[k] = turn * share + 2.0 * second * along + first * bending
            own_own[k, k] = -(second @ share)
            for m in range(k + 1):
                both = _mean(found, mark * above[m]) - share * means[m]
                square = float((first * steps.first[:, m]) @ both)
                own_own[k, m] -= square
                own_own[m, k] -= square if m < k else 0.0
        return Depths(third, own_each, own_own, own_first, own_second)

    return ClosedForm(slopes, depths)


def _mean(found: _At, values: Floats) -> Floats:
    """(n,) expectation over the categories of values (n, K)."""
    return np.asarray(np.einsum("nk,nk->n", found.chances, values))


def _summed(steps: Floats) -> Floats:
    """(n, K) sums of what lies below each category of (n, K - 1)."""
    return np.hstack([np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)])
