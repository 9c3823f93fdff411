"""Counts that vary more than Poisson, with a heavier tail than the negative binomial: generalized Poisson.

The number of people in all generations of a branching process that starts with Poisson(theta) people, each of
whom has Poisson(rate) children: its mean is theta / (1 - rate), and its variance 1 / (1 - rate)^2 times that.
A negative rate, for counts that vary less than Poisson, would need a support that ends where the parameters
say, and probabilities that do not add up to one: here the rate is positive. (The distribution of Conway and
Maxwell goes both ways, but its mean and its normalizing constant have no closed form, and derivatives of both,
to the third order for each row, would come from truncated sums.)

References: Consul, Jain (1973), A generalization of the Poisson distribution, Technometrics 15, 791-799;
Consul, Shoukri (1985), The generalized Poisson distribution when the sample mean is larger than the sample
variance, Communications in Statistics 14, 667-681, for the negative rate. glmmTMB's genpois has 1 + dispersion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lmeformula.arrays import Tensor
from lmeformula.family import papers
from lmeformula.family.counts import count_family, linear_dispersion
from lmeformula.family.elementary import (
    by_jet,
    exp,
    less_growth,
    log,
    log_softplus,
    log_sum,
    softplus,
)
from lmeformula.family.jets import jets
from lmeformula.family.limit import downwards, of_total
from lmeformula.family.record import Arrays, Predicted
from lmeformula.family.rowwise import rowwise
from lmeformula.family.series import Series, by_kind
from lmeformula.startup import tf, tfp


def _distribution(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Any:
    def density(counts: Tensor) -> Tensor:
        return _elementwise(eta, counts, tf.math.lgamma(counts + 1.0), own[0])

    return rowwise(eta, density, lambda shape, seed: _generations(eta, own[0], shape, seed))


def _density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    counts, log_factorials, *_ = (array[:, None] for array in response)
    return _elementwise(eta, counts, log_factorials, own[0])


def _elementwise(eta: Tensor, counts: Tensor, log_factorials: Tensor, dispersion: Tensor) -> Tensor:
    log_spread = 0.5 * tf.math.log1p(dispersion)
    log_theta, rate = eta - log_spread, -tf.math.expm1(-log_spread)
    is_zero = counts == 0.0
    some = tf.where(is_zero, tf.ones_like(counts), counts)
    # log(theta + rate * count), where theta may underflow
    log_sum = log_theta + tf.math.softplus(tf.math.log(rate) + tf.math.log(some) - log_theta)
    value = log_theta + (some - 1.0) * log_sum - rate * some - log_factorials
    return tf.where(is_zero, tf.zeros_like(value), value) - tf.exp(log_theta)


def _generations(eta: Tensor, dispersion: Tensor, shape: Any, seed: Tensor) -> Tensor:
    """Draw the branching process, generation by generation, until none has children."""
    log_spread = 0.5 * tf.math.log1p(dispersion)
    rate = -tf.math.expm1(-log_spread)
    seed, first = tfp.random.split_seed(seed)
    parents = tf.random.stateless_poisson(
        shape, first, tf.exp(eta - log_spread) + tf.zeros(shape, eta.dtype), dtype=eta.dtype
    )

    def following(parents: Tensor, total: Tensor, seed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seed, now = tfp.random.split_seed(seed)
        children = tf.random.stateless_poisson(shape, now, rate * parents, dtype=eta.dtype)
        return children, total + children, seed

    _, total, _ = tf.while_loop(
        lambda parents, total, seed: tf.reduce_any(parents > 0.0),
        following,
        (parents, parents, seed),
        parallel_iterations=1,
    )
    return total


def _series(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    log_dispersion = log(own[0])
    log_spread = 0.5 * softplus(log_dispersion)
    # log(1 - exp(-log_spread)), where the dispersion may be next to nothing
    log_rate = by_jet(jets("cloglog").log_cdf, log_softplus(log_dispersion) - math.log(2.0))
    parts = [(_of_zero, [log_spread]), (_of_others, [log_spread, log_rate])]
    return by_kind((response[0] > 0.0).astype(np.int64), parts, eta, response)


def _of_zero(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    return -exp(eta - own[0])


def _of_others(eta: Series, response: Arrays, own: Sequence[Series]) -> Series:
    """By the Poisson density of the count at x = theta + rate count, from where that has its peak."""
    counts, _, log_counts, peaks = response
    log_theta = eta - own[0]
    log_x = log_sum(log_theta, own[1] + log_counts)
    return log_theta - log_x + counts * less_growth(log_x - log_counts) + peaks


GENERALIZED_POISSON = count_family(
    "generalized_poisson",
    "GeneralizedPoisson",
    ("dispersion",),
    distribution=_distribution,
    own=linear_dispersion,
    variance=lambda mean, own: mean * (1.0 + own[0]),
    log_density=_density,
    series=_series,
    predicted=(Predicted("dispersion", "log"),),
    says="The variance is mu (1 + dispersion).",
    paper=papers.GENERALIZED_POISSON,
    limits=(downwards("dispersion", "poisson", of_total),),
)
