"""Counts that vary more than Poisson: variance quadratic or linear in the mean.

Reference: Hardin, Hilbe (2018), Generalized Linear Models and Extensions, 4th ed., chapter 13, for NB1 and NB2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special
from numpy.typing import NDArray

from lmeformula.design.design import Design
from lmeformula.model.family.counts import count_response, log_mean
from lmeformula.model.family.links import softplus
from lmeformula.model.family.own import Own, positive
from lmeformula.model.family.record import Arrays, ClosedForm, Depths, Family, Predicted, Slopes
from lmeformula.model.family.rising import rising

Floats = NDArray[np.float64]
Tensor = Any


def _moments(design: Design) -> tuple[float, float]:
    assert design.response is not None
    counts = design.response.values
    return max(float(counts.mean()), 1e-3), float(counts.var())


def _quadratic_own(design: Design) -> Own:
    mean, variance = _moments(design)
    return positive("dispersion", float(np.clip(mean**2 / max(variance - mean, 1e-3), 0.1, 20.0)))


def _linear_own(design: Design) -> Own:
    mean, variance = _moments(design)
    return positive("dispersion", float(np.clip(0.5 * (variance / mean - 1.0), 0.1, 20.0)))


def _quadratic(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Any:
    import tensorflow as tf
    import tensorflow_probability as tfp

    return tfp.distributions.NegativeBinomial(total_count=own[0], logits=eta - tf.math.log(own[0]))


def _quadratic_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    import tensorflow as tf
    import tensorflow_probability as tfp

    counts, log_factorials = (array[:, None] for array in response)
    size = own[0]
    log_ratio = eta - tf.math.log(size)
    value = counts * log_ratio - (counts + size) * tf.math.softplus(log_ratio)
    # The difference of two logarithms of the gamma function, which a large size makes large.
    return value - tfp.math.log_gamma_difference(counts, size) - log_factorials


def _quadratic_slope(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    import tensorflow as tf

    counts, size = response[0][:, None], own[0]
    return counts - (counts + size) * tf.math.sigmoid(eta - tf.math.log(size))


def _quadratic_slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
    counts, log_factorials = response
    size = own[0]
    log_ratio = eta - np.log(size)
    share = scipy.special.expit(log_ratio)
    value = counts @ eta - (counts + size) @ softplus(log_ratio, share)
    value += (rising(counts, size)[0] - log_factorials).sum()
    second = -(counts + size) * share * (1.0 - share)
    return Slopes(float(value), counts - (counts + size) * share, second)


def _quadratic_depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
    counts, size = response[0], own[0]
    log_ratio = eta - np.log(size)
    share = scipy.special.expit(log_ratio)
    bend = share * (1.0 - share)
    # y - mean over mean + size, where the mean may overflow and its share of the sum does not
    excess = counts * (1.0 - share) / size - share
    _, rise, rise_twice = rising(counts, size)
    spread = (counts + size) * share / size
    own_first = share * excess
    own_slope = spread - softplus(log_ratio, share) + rise
    squares = share / size - spread * ((2.0 - share) / size - 1.0 / (counts + size)) + rise_twice
    return Depths(
        third=-(counts + size) * bend * (1.0 - 2.0 * share),
        own=np.array([own_slope.sum()]),
        own_own=np.array([[squares.sum()]]),
        own_first=own_first[None],
        own_second=(bend * excess - share * (counts + size) * bend / size)[None],
    )


def _linear(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Any:
    import tensorflow as tf
    import tensorflow_probability as tfp

    return tfp.distributions.NegativeBinomial(
        total_count=tf.exp(eta) / own[0], logits=tf.math.log(own[0]) + tf.zeros_like(eta)
    )


def _linear_density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
    import tensorflow as tf

    counts, log_factorials = (array[:, None] for array in response)
    size, log_more = tf.exp(eta) / own[0], tf.math.log1p(own[0])
    value = counts * (tf.math.log(own[0]) - log_more) - size * log_more
    return value + tf.math.lgamma(counts + size) - tf.math.lgamma(size) - log_factorials


NBINOM2 = Family(
    name="nbinom2",
    link="log",
    response=count_response("nbinom2"),
    distribution=_quadratic,
    mean=lambda eta, own: np.exp(eta),
    working=log_mean,
    own=_quadratic_own,
    variance=lambda mean, own: mean + mean**2 / own[0],
    log_density=_quadratic_density,
    slope=_quadratic_slope,
    closed=ClosedForm(_quadratic_slopes, _quadratic_depths),
    parts=(Predicted("dispersion", "log", aliases=("shape",)),),
)

NBINOM1 = Family(
    name="nbinom1",
    link="log",
    response=count_response("nbinom1"),
    distribution=_linear,
    mean=lambda eta, own: np.exp(eta),
    working=log_mean,
    own=_linear_own,
    variance=lambda mean, own: mean * (1.0 + own[0]),
    log_density=_linear_density,
    parts=(Predicted("dispersion", "log", aliases=("shape",)),),
)
