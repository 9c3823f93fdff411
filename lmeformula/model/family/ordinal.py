"""Ordered categories: cumulative link models with flexible thresholds.

P(y <= k) = F(threshold_k - eta), so that a larger predictor makes higher categories likelier.

References: McCullagh (1980), J. R. Stat. Soc. B 42, 109-142; signs as in R's ordinal::clmm.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import scipy.special
from numpy.typing import NDArray

from lmeformula.design.design import Design, ResponseBlock
from lmeformula.errors import ModelError
from lmeformula.model.family.checks import refuse_weights, response_of, unsuitable
from lmeformula.model.family.intervals import ordered_form
from lmeformula.model.family.links import LINKS, Link, log1mexp, softplus
from lmeformula.model.family.own import Ascending, Own
from lmeformula.model.family.record import Arrays, ClosedForm, Depths, Family, Slopes
from lmeformula.model.family.tails import TAILS

Floats = NDArray[np.float64]
Tensor = Any


def cumulative(link: str) -> Family:
    """Ordered categories, with that link."""
    chosen = LINKS[link]

    def own(design: Design) -> Own:
        codes, levels = categories(design)
        shares = np.bincount(codes, minlength=len(levels)) / len(codes)
        start = chosen.forward(np.cumsum(shares)[:-1])
        names = tuple(f"{low}|{high}" for low, high in itertools.pairwise(levels))
        return Own("thresholds", names, start, Ascending())

    def working(response: Arrays) -> Floats:
        # The middle of each category's share of the latent distribution.
        shares = response[1].mean(axis=0)
        middles = np.cumsum(shares) - 0.5 * shares
        return response[1] @ chosen.forward(middles)

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
    return Family(
        name="cumulative",
        link=link,
        response=_response,
        distribution=lambda eta, response, own: _distribution(chosen, eta, own),
        mean=lambda eta, own: probabilities(eta, own) @ np.arange(1.0, len(own) + 2.0),
        working=working,
        own=own,
        has_intercept=False,
        log_density=_logit_density if is_logit else density,
        slope=_logit_slope if is_logit else None,
        closed=ClosedForm(_logit_slopes, _logit_depths) if is_logit else ordered_form(TAILS[link]),
        categories=category_names,
        probabilities=probabilities,
    )


def categories(design: Design) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The category (n,) of each row, from 0, and the categories' names in order.

    Raises:
      ModelError: if the response has no order, fewer than two categories, or numbers other than 1 to K.
    """
    response = response_of(design)
    if response.kind == "numeric" and response.values.ndim == 1 and response.trials is None:
        return _numbered(design, response.values)
    if response.kind != "ordered" and not _is_numbered(response):
        raise unsuitable(
            design,
            "cumulative",
            "ordered categories, or whole numbers from 1",
            "Make the column an ordered categorical: pandas.Categorical(column, categories=[lowest, ..., "
            "highest], ordered=True)."
            if response.kind == "categorical"
            else 'For yes and no use family="bernoulli".',
        )
    return category_numbers(response).astype(np.int64) - 1, category_names(design)


def category_names(design: Design) -> tuple[str, ...]:
    """The categories' names in order; of levels they are known without the rows."""
    response = response_of(design)
    if response.kind == "ordered":
        return response.levels
    return tuple(sorted(response.levels, key=int)) if response.levels else categories(design)[1]


def category_numbers(response: ResponseBlock) -> Floats:
    """(n,) the number of each row's category, from 1 for the lowest; of a response that has some."""
    if response.kind == "categorical":
        # Whole numbers have their order, whatever order text has.
        order = sorted(range(len(response.levels)), key=lambda code: int(response.levels[code]))
        return np.asarray(1.0 + np.argsort(order)[response.values.astype(np.int64)], np.float64)
    first = 1.0 if response.kind == "ordered" else 0.0
    return np.asarray(response.values + first, np.float64)


def _is_numbered(response: ResponseBlock) -> bool:
    return response.kind == "categorical" and all(
        level.strip().isdecimal() for level in response.levels
    )


def _numbered(design: Design, values: Floats) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    needs = "ordered categories, or whole numbers from 1"
    if (values != np.round(values)).any() or values.min() < 1:
        raise unsuitable(
            design,
            "cumulative",
            needs,
            "Make an ordered categorical of its values, or recode them as 1, 2, ..., K.",
        )
    found = np.unique(values).astype(np.int64)
    missing = np.setdiff1d(np.arange(1, found[-1] + 1), found)
    if missing.size:
        shown = ", ".join(map(str, missing[:8])) + (", ..." if missing.size > 8 else "")
        raise ModelError(
            f"the response {response_of(design).name!r} goes up to {found[-1]}, and no row has the category "
            f"{shown}",
            formula=design.formula.text,
            span=None if design.formula.response is None else design.formula.response.span,
            hint="A category without rows has no threshold: recode as 1, 2, ..., K, or make an ordered "
            "categorical of the values that occur, with ordered(...) in the formula.",
        )
    return values.astype(np.int64) - 1, tuple(map(str, found))


def _response(design: Design) -> Arrays:
    codes, levels = categories(design)
    refuse_weights(design, "cumulative")
    return codes.astype(np.float64), np.eye(len(levels))[codes]


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
    import tensorflow as tf

    indicators = response[1]
    upper, lower = _thresholds(indicators, own)
    has_upper, has_lower = 1.0 - indicators[:, len(own) :], 1.0 - indicators[:, :1]
    value = -has_upper * tf.math.softplus(eta - upper) - has_lower * tf.math.softplus(lower - eta)
    for k in range(1, len(own)):
        value += indicators[:, k, None] * log1mexp(own[k] - own[k - 1])
    return value


def _logit_slope(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    import tensorflow as tf

    indicators = response[1]
    upper, lower = _thresholds(indicators, own)
    has_upper, has_lower = 1.0 - indicators[:, len(own) :], 1.0 - indicators[:, :1]
    return has_lower * tf.math.sigmoid(lower - eta) - has_upper * tf.math.sigmoid(eta - upper)


def _density(link: Link, eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    assert link.log_cdf is not None
    assert link.log_survival is not None
    assert link.log_between is not None
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


def _distribution(link: Link, eta: Tensor, own: tuple[Tensor, ...]) -> Any:
    import tensorflow as tf
    import tensorflow_probability as tfp

    assert link.log_cdf is not None
    assert link.log_survival is not None
    assert link.log_between is not None
    logs = [link.log_cdf(own[0] - eta)]
    logs += [link.log_between(b - eta, a - eta) for a, b in itertools.pairwise(own)]
    logs.append(link.log_survival(own[-1] - eta))
    return tfp.distributions.Categorical(logits=tf.stack(logs, axis=-1), dtype=eta.dtype)


def _logit_slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
    codes = response[0].astype(np.int64)
    last = len(own)
    above = eta - np.concatenate([own, [np.inf]])[codes]
    below = np.concatenate([[-np.inf], own])[codes] - eta
    chance_above, chance_below = scipy.special.expit(above), scipy.special.expit(below)
    value = -softplus(above, chance_above).sum() - softplus(below, chance_below).sum()
    if last > 1:
        counts = np.bincount(codes, minlength=last + 1)[1:-1]
        value += float(counts @ np.log(-np.expm1(-np.diff(own))))
    second = -chance_above * (1.0 - chance_above) - chance_below * (1.0 - chance_below)
    return Slopes(float(value), chance_below - chance_above, second)


def _logit_depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
    codes = response[0].astype(np.int64)
    last = len(own)
    above = scipy.special.expit(eta - np.concatenate([own, [np.inf]])[codes])
    below = scipy.special.expit(np.concatenate([[-np.inf], own])[codes] - eta)
    bend_above, bend_below = above * (1.0 - above), below * (1.0 - below)
    turn_above, turn_below = bend_above * (2.0 * above - 1.0), bend_below * (1.0 - 2.0 * below)
    first, second = np.zeros((last, len(eta))), np.zeros((last, len(eta)))
    slope, bend = np.zeros(last), np.zeros((last, last))
    for k in range(last):
        ends, starts = np.flatnonzero(codes == k), np.flatnonzero(codes == k + 1)
        first[k, ends], first[k, starts] = bend_above[ends], bend_below[starts]
        second[k, ends], second[k, starts] = -turn_above[ends], -turn_below[starts]
        slope[k] = above[ends].sum() - below[starts].sum()
        bend[k, k] = -bend_above[ends].sum() - bend_below[starts].sum()
    # The factor of the distance between two thresholds, for the rows between them.
    counts = np.bincount(codes, minlength=last + 1)[1:-1]
    gap = np.diff(own)
    pull = counts / np.expm1(gap)
    push = -pull * (1.0 + 1.0 / np.expm1(gap))
    for k in range(1, last):
        slope[k] += pull[k - 1]
        slope[k - 1] -= pull[k - 1]
        bend[k, k] += push[k - 1]
        bend[k - 1, k - 1] += push[k - 1]
        bend[k, k - 1] -= push[k - 1]
        bend[k - 1, k] -= push[k - 1]
    return Depths(turn_above + turn_below, slope, bend, first, second)
