"""Ordered categories: cumulative link models.

P(y <= k) = F(threshold_k - eta), so that a larger predictor makes higher categories likelier.

References: McCullagh (1980), J. R. Stat. Soc. B 42, 109-142; signs as in R's ordinal::clmm.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Tensor
from lmeformula.family import papers
from lmeformula.family.intervals import interval_series, ordered_form
from lmeformula.family.link_distributions import TAILS
from lmeformula.family.links import LINKS, Link, log1mexp, softplus
from lmeformula.family.notation import ordered
from lmeformula.family.ordered_family import ordered_family
from lmeformula.family.record import Arrays, ClosedForm, Depths, Family, Predicted, Slopes
from lmeformula.family.thresholds import Pattern
from lmeformula.startup import tf


@functools.cache
def cumulative(link: str, thresholds: Pattern = "flexible") -> Family:
    """Ordered categories, with that link and that pattern of the thresholds."""
    chosen = LINKS[link]

    def density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
        return _density(chosen, eta, response, own)

    def probabilities(eta: Floats, own: Floats) -> Floats:
        below = chosen.inverse(own - eta[:, None])
        # Differences of the smaller tail keep their digits in both.
        above = _survival(chosen, own - eta[:, None])
        ends = np.zeros((len(eta), 1))
        low = np.diff(np.hstack([ends, below, ends + 1.0]))
        high = -np.diff(np.hstack([ends + 1.0, above, ends]))
        return np.where(np.hstack([below, ends + 1.0]) < 0.5, low, high)

    is_logit = link == "logit"
    return ordered_family(
        "cumulative",
        link,
        thresholds,
        start=lambda counts: chosen.forward(np.cumsum(counts / counts.sum())[:-1]),
        logits=lambda eta, own: _log_chances(chosen, eta, own),
        probabilities=probabilities,
        is_ordered=True,
        log_density=_logit_density if is_logit else density,
        slope=_logit_slope if is_logit else None,
        closed=ClosedForm(_logit_slopes, _logit_depths) if is_logit else ordered_form(TAILS[link]),
        series=lambda eta, response, own: interval_series(
            link, eta, response[0].astype(np.int64), own
        ),
        predicted=(Predicted("disc", "log", None, has_intercept=False),),
        paper=papers.ORDINAL,
        is_latent=True,
        notation=ordered("Cumulative", "{y} {le} k"),
    )


def _survival(link: Link, x: Floats) -> Floats:
    # Logistic and normal are symmetric; the complementary log-log is written out.
    return np.exp(-np.exp(np.minimum(x, 80.0))) if link.name == "cloglog" else link.inverse(-x)


def _thresholds(indicators: Tensor, own: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """The upper and the lower threshold of each row; zero where there is none."""
    upper = sum(indicators[:, k, None] * own[k] for k in range(len(own)))
    lower = sum(indicators[:, k + 1, None] * own[k] for k in range(len(own)))
    return upper, lower


def _logit_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    """The difference of two logistic functions is their product, times a factor without eta."""
    indicators = response[1]
    upper, lower = _thresholds(indicators, own)
    has_upper, has_lower = 1.0 - indicators[:, len(own) :], 1.0 - indicators[:, :1]
    value = -has_upper * tf.math.softplus(eta - upper) - has_lower * tf.math.softplus(lower - eta)
    for k in range(1, len(own)):
        value += indicators[:, k, None] * log1mexp(own[k] - own[k - 1])
    return value


def _logit_slope(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    indicators = response[1]
    upper, lower = _thresholds(indicators, own)
    has_upper, has_lower = 1.0 - indicators[:, len(own) :], 1.0 - indicators[:, :1]
    return has_lower * tf.math.sigmoid(lower - eta) - has_upper * tf.math.sigmoid(eta - upper)


def _density(link: Link, eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    indicators, last = response[1], len(own)
    is_first, is_last = indicators[:, :1], indicators[:, last:]
    ends = is_first * link.log_cdf(own[0] - eta) + is_last * link.log_survival(own[-1] - eta)
    if last == 1:
        return ends
    upper, lower = _thresholds(indicators, own)
    # Rows at the ends get two thresholds that do not count, but are in order: their product with 0 is 0.
    upper = upper + is_first * (own[1] - own[0]) + is_last * own[-1]
    lower = lower + is_first * own[0] + is_last * (own[-2] - own[-1])
    return ends + (1.0 - is_first - is_last) * link.log_between(upper - eta, lower - eta)


def _log_chances(link: Link, eta: Tensor, own: tuple[Tensor, ...]) -> list[Tensor]:
    between = (link.log_between(b - eta, a - eta) for a, b in itertools.pairwise(own))
    return [link.log_cdf(own[0] - eta), *between, link.log_survival(own[-1] - eta)]


def _logit_slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
    codes = response[0].astype(np.int64)
    above = eta - np.concatenate([own, [np.inf]])[codes]
    below = np.concatenate([[-np.inf], own])[codes] - eta
    chance_above, chance_below = scipy.special.expit(above), scipy.special.expit(below)
    distances = np.concatenate([[0.0], np.log(-np.expm1(-np.diff(own))), [0.0]])
    value = distances[codes] - softplus(above, chance_above) - softplus(below, chance_below)
    second = -chance_above * (1.0 - chance_above) - chance_below * (1.0 - chance_below)
    return Slopes(value, chance_below - chance_above, second)


def _logit_depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
    codes = response[0].astype(np.int64)
    last = len(own)
    above = scipy.special.expit(eta - np.concatenate([own, [np.inf]])[codes])
    below = scipy.special.expit(np.concatenate([[-np.inf], own])[codes] - eta)
    bend_above, bend_below = above * (1.0 - above), below * (1.0 - below)
    turn_above, turn_below = bend_above * (2.0 * above - 1.0), bend_below * (1.0 - 2.0 * below)
    first, second = np.zeros((last, len(eta))), np.zeros((last, len(eta)))
    slopes, bend = np.zeros((last, len(eta))), np.zeros((last, last))
    for k in range(last):
        ends, starts = np.flatnonzero(codes == k), np.flatnonzero(codes == k + 1)
        first[k, ends], first[k, starts] = bend_above[ends], bend_below[starts]
        second[k, ends], second[k, starts] = -turn_above[ends], -turn_below[starts]
        slopes[k, ends], slopes[k, starts] = above[ends], -below[starts]
        bend[k, k] = -bend_above[ends].sum() - bend_below[starts].sum()
    # The factor of the distance between two thresholds, for the rows between them.
    counts = np.bincount(codes, minlength=last + 1)[1:-1]
    gap = np.diff(own)
    pull = 1.0 / np.expm1(gap)
    push = -counts * pull * (1.0 + pull)
    for k in range(1, last):
        between = np.flatnonzero(codes == k)
        slopes[k, between] += pull[k - 1]
        slopes[k - 1, between] -= pull[k - 1]
        bend[k, k] += push[k - 1]
        bend[k - 1, k - 1] += push[k - 1]
        bend[k, k - 1] -= push[k - 1]
        bend[k - 1, k] -= push[k - 1]
    return Depths(turn_above + turn_below, slopes, bend, first, second)
