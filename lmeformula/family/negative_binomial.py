"""Counts that vary more than Poisson: variance quadratic or linear in the mean.

Reference: Hardin, Hilbe (2018), Generalized Linear Models and Extensions, 4th ed., chapter 13, for NB1 and NB2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Mask, Tensor
from lmeformula.design.design import Design
from lmeformula.family import papers
from lmeformula.family.counts import count_family, linear_dispersion, moments, stirling_remainder
from lmeformula.family.deviances import of_nbinom1, of_nbinom2
from lmeformula.family.elementary import log, log1p_times, of_difference
from lmeformula.family.elementary import softplus as softplus_series
from lmeformula.family.gammas import NUM_TERMS, SMALL, log1p_ratio
from lmeformula.family.gammas import log_rising_ratio as log_rising_ratio_tensor
from lmeformula.family.limit import downwards, of_squares, of_total, upwards
from lmeformula.family.links import softplus
from lmeformula.family.own import Own, positive
from lmeformula.family.polya_urn import is_short, summed
from lmeformula.family.record import Arrays, ClosedForm, Depths, Predicted, Slopes
from lmeformula.family.rising import rising
from lmeformula.family.rising_series import log_draws, log_rising_ratio
from lmeformula.family.series import Derivatives, Series
from lmeformula.startup import tf, tfp


def _quadratic_own(design: Design) -> Own:
    mean, variance = moments(design)
    excess = max(variance - 1.0 / mean, 1e-3)
    return positive("dispersion", float(np.clip(1.0 / excess, 0.1, 20.0)))


def _quadratic_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    counts, log_factorials, *_ = (array[:, None] for array in response)
    size = own[0]
    log_ratio = eta - tf.math.log(size)
    value = counts * eta - (counts + size) * tf.math.softplus(log_ratio)
    return value + log_rising_ratio_tensor(size, counts) - log_factorials


def _quadratic_slope(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    counts, size = response[0][:, None], own[0]
    log_ratio = eta - tf.math.log(size)
    return counts * tf.math.sigmoid(-log_ratio) - size * tf.math.sigmoid(log_ratio)


def _value(eta: Floats, response: Arrays, log_size: Any) -> Any:
    """From the density's peak, at a mean that is the count itself, where the share is `whole`."""
    counts, _, log_counts, peaks = response
    size, log_ratio = np.exp(log_size), eta - log_size
    apart, whole = eta - log_counts, counts / (counts + size)
    # The mean and the size, over the count and the size.
    far = np.log(whole * np.exp(np.minimum(apart, 0.0)) + size / (counts + size))
    level = np.where((apart < -1.0) & (whole > 0.5), far, np.log1p(whole * np.expm1(apart)))
    fall = counts * apart - (counts + size) * level
    top = peaks - 0.5 * np.log1p(counts / size)
    top += stirling_remainder(counts + size) - stirling_remainder(np.atleast_1d(size))
    of_zero = -size * softplus(log_ratio, scipy.special.expit(log_ratio))
    return np.where(counts > 0.0, fall + top, of_zero)


def _quadratic_slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
    counts, size = response[0], own[0]
    log_ratio = eta - np.log(size)
    # The rest of the share by itself: one less the share has no digits where means are 1e16 times the size.
    share, rest = scipy.special.expit(log_ratio), scipy.special.expit(-log_ratio)
    value = _value(eta, response, np.log(size))
    second = -(counts + size) * share * rest
    return Slopes(value, counts * rest - size * share, second)


def _quadratic_series(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    counts, log_size = response[0], log(own[0])
    # Beside a small size both parts have nearly y log(size), and without it little.
    is_small = eta.value > log_size.value
    found = log_rising_ratio(log_size, counts, is_small) - log1p_times(eta, log_size)
    found += of_difference(
        lambda eta, log_size: _shares(eta - log_size, counts, is_small), eta, log_size
    )
    found.value = _value(eta.value, response, log_size.value)
    return found


def _quadratic_depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
    counts, size = response[0], own[0]
    log_ratio = eta - np.log(size)
    share, rest = scipy.special.expit(log_ratio), scipy.special.expit(-log_ratio)
    bend = share * rest
    # y - mean over mean + size, where the mean may overflow and its share of the sum does not
    excess = counts * rest / size - share
    _, rise, rise_twice = rising(counts, size)
    spread = (counts + size) * share / size
    own_first = share * excess
    own_slope = spread - softplus(log_ratio, share) + rise
    squares = share / size - spread * ((2.0 - share) / size - 1.0 / (counts + size)) + rise_twice
    return Depths(
        third=-(counts + size) * bend * (1.0 - 2.0 * share),
        own_each=own_slope[None],
        own_own=np.array([[squares.sum()]]),
        own_first=own_first[None],
        own_second=(bend * excess - share * (counts + size) * bend / size)[None],
    )


def _shares(log_ratio: Floats, counts: Floats, is_small: Mask) -> Derivatives:
    """Of y log(mean size / (mean + size)), whose two derivatives are shares of y; not its value."""
    share, rest = scipy.special.expit(log_ratio), scipy.special.expit(-log_ratio)
    yield 0.0
    yield counts * rest, counts * np.where(is_small, -rest, share)
    bend = -counts * share * rest
    yield bend
    yield bend * (rest - share)


def _linear_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    counts, log_factorials, *_ = (array[:, None] for array in response)
    mean = tf.exp(eta)
    # Poisson's density, and what goes to zero with the dispersion.
    value = counts * eta - mean * log1p_ratio(own[0]) - counts * tf.math.log1p(own[0])
    return value + log_rising_ratio_tensor(mean / own[0], counts) - log_factorials


def _linear_slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
    counts, log_factorials, *_ = response
    mean, draws = np.exp(eta), summed(eta, response[0], 1.0 / own[0])
    rate, *_ = _log1p_ratio(own[0])
    value = draws.value - counts * np.log1p(own[0]) - mean * rate - log_factorials
    return Slopes(value, draws.share - mean * rate, draws.spread - mean * rate)


def _linear_depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
    # The chance of y counts is a product of (mean + j dispersion) over j < y, over (1 + dispersion)^y.
    counts, dispersion = response[0], own[0]
    mean, draws = np.exp(eta), summed(eta, counts, 1.0 / dispersion)
    rate, rate_slope, rate_bend = _log1p_ratio(dispersion)
    each = 1.0 / (1.0 + dispersion)
    slope = draws.rest / dispersion - counts * each - mean * rate_slope
    bend = counts * each**2 - draws.square / dispersion**2 - mean * rate_bend
    return Depths(
        third=draws.skew - mean * rate,
        own_each=slope[None],
        own_own=np.array([[bend.sum()]]),
        own_first=(-draws.spread / dispersion - mean * rate_slope)[None],
        own_second=(-draws.skew / dispersion - mean * rate_slope)[None],
    )


def _linear_series(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    counts, log_factorials, *_ = response
    log_dispersion = log(own[0])
    log_size = eta - log_dispersion
    found = log_draws(eta, log_dispersion, counts) - counts * softplus_series(log_dispersion)
    found -= log1p_times(eta, log_size) + log_factorials
    # Beside a small size few logarithms are added up; of many they leave no digit.
    is_large = log_size.value > 0.0
    found.value = np.where(is_large, _value(eta.value, response, log_size.value), found.value)
    return found


def _log1p_ratio(x: float) -> tuple[float, float, float]:
    """log(1 + x) / x for x > 0, with two derivatives."""
    if x < SMALL:
        k = np.arange(NUM_TERMS + 3.0)
        series = np.polynomial.Polynomial((-1.0) ** k / (k + 1.0))
        return float(series(x)), float(series.deriv()(x)), float(series.deriv(2)(x))
    log, above = np.log1p(x), 1.0 + x
    slope = 1.0 / (x * above) - log / x**2
    return (
        log / x,
        slope,
        -(1.0 + 2.0 * x) / (x * above) ** 2 - 1.0 / (x**2 * above) + 2.0 * log / x**3,
    )


NBINOM2 = count_family(
    "nbinom2",
    "NB2",
    ("dispersion",),
    distribution=lambda eta, response, own: tfp.distributions.NegativeBinomial(
        total_count=own[0], logits=eta - tf.math.log(own[0])
    ),
    own=_quadratic_own,
    variance=lambda mean, own: mean + mean**2 / own[0],
    log_density=_quadratic_density,
    slope=_quadratic_slope,
    closed=ClosedForm(_quadratic_slopes, _quadratic_depths, takes_columns=True),
    series=_quadratic_series,
    predicted=(Predicted("dispersion", "log", aliases=("shape",)),),
    deviance=of_nbinom2,
    says="The variance is mu + mu^2 / dispersion: the dispersion is the size, or theta.",
    paper=papers.NEGATIVE_BINOMIAL,
    limits=(upwards("dispersion", "poisson", of_squares),),
)

NBINOM1 = count_family(
    "nbinom1",
    "NB1",
    ("dispersion",),
    distribution=lambda eta, response, own: tfp.distributions.NegativeBinomial(
        total_count=tf.exp(eta) / own[0], logits=tf.math.log(own[0]) + tf.zeros_like(eta)
    ),
    own=linear_dispersion,
    variance=lambda mean, own: mean * (1.0 + own[0]),
    log_density=_linear_density,
    closed=ClosedForm(_linear_slopes, _linear_depths),
    serves=lambda response: is_short(response[0]),
    series=_linear_series,
    predicted=(Predicted("dispersion", "log", aliases=("shape",)),),
    deviance=of_nbinom1,
    says="The variance is mu (1 + dispersion).",
    paper=papers.NEGATIVE_BINOMIAL,
    limits=(downwards("dispersion", "poisson", of_total),),
)
