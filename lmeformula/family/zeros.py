"""Counts with zeros of their own: mixed into a distribution of counts, or instead of its zeros.

Zero-inflated counts are zero with a chance of their own, and otherwise counts of which some are zero, too.
Hurdle counts are zero with that chance alone, and otherwise counts that are not. The zero part is one number
for all rows, unless it has a formula.

References: Lambert (1992), Zero-inflated Poisson regression, Technometrics 34, 1-14; Mullahy (1986),
Specification and testing of some modified count data models, J. Econometrics 33, 341-365.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Tensor
from lmeformula.design.design import Design
from lmeformula.errors import ModelError
from lmeformula.family import papers
from lmeformula.family.bounded import CHANCE, Bounded
from lmeformula.family.checks import response_of
from lmeformula.family.counts import POISSON, count_family
from lmeformula.family.elementary import (
    at_most,
    by_jet,
    exp,
    log,
    log1p_times,
    log_rest,
    log_softplus,
    log_sum,
)
from lmeformula.family.jets import jets
from lmeformula.family.limit import downwards, of_rows
from lmeformula.family.links import LINKS
from lmeformula.family.negative_binomial import NBINOM2
from lmeformula.family.own import Own
from lmeformula.family.record import Arrays, Family, Predicted
from lmeformula.family.rowwise import by_rows, rowwise
from lmeformula.family.series import Series, by_kind
from lmeformula.startup import tf, tfp

Tensors = tuple[Tensor, ...]
Variance = Callable[[Floats, Floats], Floats]

ZERO = "zero_probability"
# The least mean of counts, of which none but one is not zero.
TINY = 1e-300
# Beyond this predictor a count is hardly ever zero, and what is left of that is flat.
HIGHEST = 80.0
# How the own parameters of both parts are called together, in the joint distribution.
BOTH = "dispersion_and_zero"

COUNTS = {"poisson": POISSON, "nbinom2": NBINOM2}


def zero_inflated(counts: str) -> Family:
    """Counts of that family, or zero with a chance of its own."""
    return _with_zeros("zero_inflated", counts, _INFLATED)


def hurdle(counts: str) -> Family:
    """Zero with a chance of its own, or counts of that family that are not zero."""
    return _with_zeros("hurdle", counts, _CLEARED)


class _Rule(NamedTuple):
    """What zeros of their own and counts make together; `own` ends with the chance of such a zero.

    Attributes:
      density: (the family of the counts, eta (n, c), response, own) -> log density (n, c).
      of_zero, of_others: (the family of the counts, eta, response, own) -> the log densities of zeros, and of
        other counts, in series.
      draw: (counts, eta of a shape, own without the chance, shape, seed) -> counts of that shape.
      drawn: (mean of the counts, own without the chance) -> chance that a count is one of those drawn from.
      variance: (variance of the counts, mean, own) -> variance, for the mean of all.
      share: of the zeros seen, how many are such zeros, to start from.
      says: what the chance is.
      aliases: what else a formula of the zero part may be given as.
      title: what stands before the name of its distribution.
      paper: that it is from.
      may_have_none: whether counts of zero may account for all zeros.
    """

    density: Callable[..., Tensor]
    of_zero: Callable[..., Series]
    of_others: Callable[..., Series]
    draw: Callable[..., Tensor]
    drawn: Callable[[Floats, Floats], Floats]
    variance: Callable[[Variance, Floats, Floats], Floats]
    share: float
    says: str
    aliases: tuple[str, ...]
    title: str
    paper: papers.Paper
    may_have_none: bool


def _with_zeros(kind: str, counts: str, rule: _Rule) -> Family:
    base, name = COUNTS[counts], f"{kind}_{counts}"
    assert base.variance is not None
    assert base.notation is not None
    of_counts, own_names = base.variance, tuple(part.name for part in base.predicted)

    def density(eta: Tensor, response: Arrays, own: Tensors) -> Tensor:
        return rule.density(base, eta, response, own)

    def series(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
        parts = [(functools.partial(part, base), own) for part in (rule.of_zero, rule.of_others)]
        return by_kind((response[0] > 0.0).astype(np.int64), parts, eta, response)

    def distribution(eta: Tensor, response: Arrays, own: Tensors) -> Any:
        def sample(shape: Any, seed: Tensor) -> Tensor:
            of_zero, of_others = tfp.random.split_seed(seed)
            wide = eta + tf.zeros(shape, eta.dtype)
            drawn = rule.draw(base, wide, own[:-1], shape, of_others)
            is_zero = tf.random.stateless_uniform(shape, of_zero, dtype=drawn.dtype) < own[-1]
            return tf.where(is_zero, tf.zeros_like(drawn), drawn)

        def arrays(y: Tensor) -> tuple[Tensor, ...]:
            return y, tf.math.lgamma(y + 1.0)

        return rowwise(eta, by_rows(density, arrays, eta, own), sample)

    def mean(eta: Floats, own: Floats) -> Floats:
        return np.asarray((1.0 - own[-1]) * _mean_of(rule, np.exp(eta), own[:-1]))

    def cdf(y: Floats, eta: Floats, own: Floats) -> Floats:
        held = np.maximum(eta, np.log(TINY))
        more = _chance_of_more(y, held, own[:-1]) / rule.drawn(np.exp(held), own[:-1])
        return np.where(y < 0.0, 0.0, 1.0 - (1.0 - own[-1]) * more)

    return count_family(
        name,
        rule.title + base.notation.distribution,
        ("_and_".join([*own_names, "zero"]), *own_names, ZERO) if own_names else (ZERO,),
        distribution=distribution,
        mean=mean,
        cdf=cdf,
        own=lambda design: _own(base, design, name, rule.share),
        variance=lambda mean, own: rule.variance(of_counts, mean, own),
        limits=(
            *(limit._replace(becomes=f"{kind}_{limit.becomes}") for limit in base.limits),
            *((downwards(ZERO, counts, of_rows),) if rule.may_have_none else ()),
        ),
        says=rule.says + base.says.replace("The", " Of the counts the", 1),
        paper=rule.paper,
        log_density=density,
        series=series,
        predicted=(
            *(Predicted(own, "log", place) for place, own in enumerate(own_names)),
            Predicted(ZERO, "logit", len(own_names), rule.aliases),
        ),
    )


def _own(base: Family, design: Design, name: str, of_zeros: float) -> Own:
    counts = response_of(design).values
    share = float((counts == 0.0).mean())
    if share in (0.0, 1.0):
        raise ModelError(
            f"the response {response_of(design).name!r} has {'no' if share == 0.0 else 'nothing but'} zeros, "
            f"and the {name} family is for counts with zeros and others",
            hint="Use one of the families of counts without a zero part: poisson, nbinom2, nbinom1.",
        )
    others = base.own(design)
    bounds = ((0.0, np.inf),) * others.size
    return Own(
        BOTH if others.size else ZERO,
        (*others.names, ZERO),
        np.array([*others.start, of_zeros * share]),
        Bounded((*bounds, CHANCE)),
    )


# ---- densities ----------------------------------------------------------------------------------


def _inflated(base: Family, eta: Tensor, response: Arrays, own: Tensors) -> Tensor:
    """log(chance + rest * density) of a zero, log(rest * density) of another count."""
    is_zero = response[0][:, None] == 0.0
    log_chance, log_rest = tf.math.log(own[-1]), tf.math.log1p(-own[-1])
    surprise = _surprise_of_zero(eta, own[:-1])
    of_zero = log_chance + tf.math.softplus(log_rest - log_chance - surprise)
    return tf.where(is_zero, of_zero, log_rest + _counted(base, eta, response, own, is_zero))


def _cleared(base: Family, eta: Tensor, response: Arrays, own: Tensors) -> Tensor:
    """log(chance) of a zero, log(rest * density / (1 - density of zero)) of another count."""
    is_zero = response[0][:, None] == 0.0
    log_rest = tf.math.log1p(-own[-1])
    counted = _counted(base, eta, response, own, is_zero)
    counted -= _log_of_some(tf.where(is_zero, tf.zeros_like(eta), eta), own[:-1])
    return tf.where(is_zero, tf.math.log(own[-1]) + tf.zeros_like(eta), log_rest + counted)


def _counted(base: Family, eta: Tensor, response: Arrays, own: Tensors, is_zero: Tensor) -> Tensor:
    """The log density of counts, of zeros at a predictor that cannot overflow: it is not used there."""
    assert base.log_density is not None
    return base.log_density(tf.where(is_zero, tf.zeros_like(eta), eta), response, own[:-1])


def _surprise_of_zero(eta: Tensor, own: Tensors) -> Tensor:
    """-log of the chance that a count is zero, flat where this chance is none."""
    if not own:
        return tf.exp(tf.minimum(eta, tf.cast(HIGHEST, eta.dtype)))
    return own[0] * tf.math.softplus(eta - tf.math.log(own[0]))


def _log_of_some(eta: Tensor, own: Tensors) -> Tensor:
    """log of the chance that a count is not zero, 1 - exp(-surprise), with its digits where that is small."""
    above = LINKS["cloglog"].log_cdf
    if not own:
        return above(eta)
    log_size = tf.math.log(own[0])
    log_ratio = eta - log_size
    # log softplus(x) = x - e^x / 2 + ..., which underflows where x does not.
    is_small = log_ratio < -30.0
    low = tf.minimum(log_ratio, tf.cast(-30.0, eta.dtype))
    high = tf.where(is_small, tf.zeros_like(log_ratio), log_ratio)
    log_plus = tf.where(is_small, low - 0.5 * tf.exp(low), tf.math.log(tf.math.softplus(high)))
    return above(log_size + log_plus)


# ---- densities in series ------------------------------------------------------------------------


def _inflated_zero(base: Family, eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    surprise = _surprise_series(eta, own[:-1])
    return log_sum(log(own[-1]), log_rest(own[-1]) - surprise)


def _inflated_count(base: Family, eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    assert base.series is not None
    return log_rest(own[-1]) + base.series(eta, response, own[:-1])


def _cleared_zero(base: Family, eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    return log(own[-1]) + np.zeros(len(response[0]))


def _cleared_count(base: Family, eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    counted, log_surprise = _inflated_count(base, eta, response, own), eta
    if base.predicted:
        log_size = log(own[0])
        log_surprise = log_size + log_softplus(eta - log_size)
    return counted - by_jet(jets("cloglog").log_cdf, log_surprise)


def _surprise_series(eta: Series, own: Sequence[Series]) -> Series:
    """-log of the chance that a count is zero, flat where this chance is none."""
    return log1p_times(eta, log(own[0])) if own else exp(at_most(eta, HIGHEST))


# ---- samples ------------------------------------------------------------------------------------


def _draw_positive(base: Family, eta: Tensor, own: Tensors, shape: Any, seed: Tensor) -> Tensor:
    """Counts given that they are not zero: the first event's time, and how many follow it.

    Events come at the rate mu, or, of a negative binomial count, at (size + how many came) log(1 + mu / size).
    The first one's time is exponential, given that it is below 1; of the rest there are as many as of a count
    with that much less time, and of size + 1.
    """
    of_time, of_mean, of_count = tfp.random.split_seed(seed, n=3)
    surprise = _surprise_of_zero(eta, own)
    u = tf.random.stateless_uniform(shape, of_time, dtype=eta.dtype)
    # The share of the time that is left; where hardly any count is not zero that is uniform, too.
    is_rare = surprise < 1e-12
    rate = tf.where(is_rare, tf.ones_like(surprise), surprise)
    left = tf.where(is_rare, u, 1.0 + tf.math.log1p(u * tf.math.expm1(-rate)) / rate)
    mean = surprise * left
    if own:
        growth = tf.math.expm1(mean / own[0])
        sizes = own[0] + 1.0 + tf.zeros(shape, eta.dtype)
        gammas = tf.random.stateless_gamma(shape, of_mean, sizes, dtype=eta.dtype)
        mean = growth * gammas
    return 1.0 + tf.random.stateless_poisson(shape, of_count, mean, dtype=eta.dtype)


# ---- moments ------------------------------------------------------------------------------------


def _inflated_variance(of_counts: Variance, mean: Floats, own: Floats) -> Floats:
    rest = 1.0 - own[-1]
    within = mean / rest
    return np.asarray(rest * (of_counts(within, own[:-1]) + within**2) - mean**2)


def _cleared_variance(of_counts: Variance, mean: Floats, own: Floats) -> Floats:
    rest = 1.0 - own[-1]
    given = mean / rest
    whole = _whole_mean(given, own[:-1])
    # The second moment of counts that are not zero is that of all of them, over the chance of these.
    square = given * (of_counts(whole, own[:-1]) / whole + whole)
    return np.asarray(rest * square - mean**2)


def _chance_of_some(mean: Floats, own: Floats) -> Floats:
    surprise = mean if not len(own) else own[0] * np.log1p(mean / own[0])
    return np.asarray(-np.expm1(-surprise))


def _chance_of_more(y: Floats, eta: Floats, own: Floats) -> Floats:
    """The chance of a count above y >= 0: an incomplete gamma or beta function, of few with all its digits."""
    held = np.maximum(y, 0.0) + 1.0
    if not len(own):
        return np.asarray(scipy.special.gammainc(held, np.exp(eta)))
    return np.asarray(
        scipy.special.betainc(held, own[0], scipy.special.expit(eta - np.log(own[0])))
    )


def _mean_of(rule: _Rule, mean: Floats, own: Floats) -> Floats:
    """The mean of counts that are drawn, from that of all; 1 of counts of which hardly any is not zero."""
    held = np.maximum(mean, TINY)
    return np.asarray(held / rule.drawn(held, own))


def _whole_mean(positive: Floats, own: Floats) -> Floats:
    """The mean of all counts, from that of those that are not zero."""
    given = np.maximum(positive, 1.0 + 1e-12)
    if not len(own):
        return np.asarray(given + scipy.special.lambertw(-given * np.exp(-given)).real)
    # mean - given * chance(mean) is convex, and positive at `given`: Newton's steps fall to its root.
    mean = given.copy()
    for _ in range(60):
        chance = _chance_of_some(mean, own)
        slope = 1.0 - given * (1.0 + mean / own[0]) ** (-own[0] - 1.0)
        step = (mean - given * chance) / slope
        mean = np.maximum(mean - step, 1e-12)
        if (np.abs(step) <= 1e-13 * mean).all():
            break
    return np.asarray(mean)


# Of the zeros of a zero-inflated distribution, some are those of its counts.
_INFLATED = _Rule(
    _inflated,
    _inflated_zero,
    _inflated_count,
    lambda base, eta, own, shape, seed: base.distribution(eta, (), own).sample(seed=seed),
    lambda mean, own: np.ones_like(mean),
    _inflated_variance,
    0.5,
    "zero_probability: the chance of a zero beside those that are counts.",
    ("zi",),
    "ZeroInflated",
    papers.ZERO_INFLATED,
    True,
)
_CLEARED = _Rule(
    _cleared,
    _cleared_zero,
    _cleared_count,
    _draw_positive,
    _chance_of_some,
    _cleared_variance,
    1.0,
    "zero_probability: the chance of a zero; other counts are drawn without zeros.",
    ("hu", "zi"),
    "Hurdle",
    papers.HURDLE,
    False,
)
