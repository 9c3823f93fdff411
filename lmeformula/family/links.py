"""Link functions: means in NumPy, and log distribution functions that are exact in both tails."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Tensor
from lmeformula.family.link_distributions import LARGEST_EXPONENT
from lmeformula.startup import tf, tfp


def _no_chance(*at: Tensor) -> Tensor:
    raise NotImplementedError("the inverse of this link is no distribution function")


class Link(NamedTuple):
    """A link function.

    Attributes:
      name: as users write it.
      inverse: linear predictor -> mean, elementwise.
      forward: mean -> linear predictor, elementwise.
      log_cdf: for links whose inverse is a distribution function F: x -> log F(x), of tensors.
      log_survival: x -> log(1 - F(x)), of tensors.
      log_between: (a, b) -> log(F(a) - F(b)) for a > b, of tensors.
    """

    name: str
    inverse: Callable[[Floats], Floats]
    forward: Callable[[Floats], Floats]
    log_cdf: Callable[[Tensor], Tensor] = _no_chance
    log_survival: Callable[[Tensor], Tensor] = _no_chance
    log_between: Callable[[Tensor, Tensor], Tensor] = _no_chance

    def log_odds(self, x: Tensor) -> Tensor:
        """log(F(x) / (1 - F(x)))."""
        return x if self.name == "logit" else self.log_cdf(x) - self.log_survival(x)


def mean_of(link: Link, eta: Tensor) -> Tensor:
    """The mean at a linear predictor, as a tensor; small means keep their digits, in relative terms."""
    if link.log_cdf is not _no_chance:
        return tf.exp(link.log_cdf(eta))
    return tf.exp(eta) if link.name == "log" else eta


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(-x)) for x > 0, by whichever form keeps its digits.

    References:
      Maechler (2012), Accurately computing log(1 - exp(-|a|)), Rmpfr vignette.
    """
    is_near = x < np.log(2.0)
    # Each branch gets an argument that it can take: a gradient flows through both.
    near, far = tf.where(is_near, x, tf.ones_like(x)), tf.where(is_near, tf.ones_like(x), x)
    return tf.where(is_near, tf.math.log(-tf.math.expm1(-near)), tf.math.log1p(-tf.exp(-far)))


def softplus(x: Floats, chance: Floats) -> Floats:
    """log(1 + exp(x)), from the logistic function `chance` of x as well."""
    return np.asarray(np.maximum(x, 0.0) - np.log1p(-np.minimum(chance, 1.0 - chance)))


def _logistic_log_cdf(x: Tensor) -> Tensor:
    return -tf.math.softplus(-x)


def _logistic_log_survival(x: Tensor) -> Tensor:
    return -tf.math.softplus(x)


def _logistic_log_between(a: Tensor, b: Tensor) -> Tensor:
    # F(a) - F(b) = F(a) (1 - F(b)) (1 - exp(b - a))
    return _logistic_log_cdf(a) + _logistic_log_survival(b) + log1mexp(a - b)


def _normal_log_cdf(x: Tensor) -> Tensor:
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def log_cdf(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        value = tfp.math.logerfc(-np.sqrt(0.5) * x) - np.log(2.0)

        def gradient(upstream: Tensor) -> Tensor:
            # The inverse Mills ratio, from log_cdf again: derivatives of any order stay small graphs.
            log_density = -0.5 * x**2 - 0.5 * np.log(2.0 * np.pi)
            return upstream * tf.exp(log_density - log_cdf(x))

        return value, gradient

    return log_cdf(x)


def _normal_log_between(a: Tensor, b: Tensor) -> Tensor:
    # In the tail where both lie the smaller of two small numbers is subtracted.
    is_right = a + b > 0.0
    upper, lower = tf.where(is_right, -b, a), tf.where(is_right, -a, b)
    top = _normal_log_cdf(upper)
    return top + log1mexp(top - _normal_log_cdf(lower))


def _gumbel_rate(x: Tensor) -> Tensor:
    return tf.exp(tf.minimum(x, tf.cast(LARGEST_EXPONENT, x.dtype)))


def _gumbel_log_cdf(x: Tensor) -> Tensor:
    # log(1 - exp(-r)) = log r - r / 2 + ... for r = e^x, which underflows where x does not.
    is_small = x < -20.0
    rate = _gumbel_rate(tf.where(is_small, tf.zeros_like(x), x))
    return tf.where(is_small, x - 0.5 * _gumbel_rate(x), log1mexp(rate))


def _gumbel_log_survival(x: Tensor) -> Tensor:
    return -_gumbel_rate(x)


def _gumbel_log_between(a: Tensor, b: Tensor) -> Tensor:
    # exp(-e^b) - exp(-e^a) = exp(-e^b) (1 - exp(-(e^a - e^b)))
    return _gumbel_log_survival(b) + _gumbel_log_cdf(a + log1mexp(a - b))


def _cauchy_log_cdf(x: Tensor) -> Tensor:
    # F(x) is the angle of (-x, 1) over pi, which is small at the left, and 1 less that of (x, 1).
    is_left = x < 0.0
    near = tf.atan2(tf.ones_like(x), tf.where(is_left, -x, x)) / np.pi
    return tf.where(is_left, tf.math.log(near), tf.math.log1p(-near))


def _cauchy_log_between(a: Tensor, b: Tensor) -> Tensor:
    # A difference of angles is the angle of (1 + a b, a - b).
    return tf.math.log(tf.atan2(a - b, 1.0 + a * b) / np.pi)


def _gumbel_inverse(eta: Floats) -> Floats:
    return np.asarray(-np.expm1(-np.exp(np.minimum(eta, LARGEST_EXPONENT))))


LINKS: dict[str, Link] = {
    link.name: link
    for link in (
        Link("identity", lambda eta: eta, lambda mean: mean),
        Link("log", np.exp, np.log),
        Link(
            "logit",
            scipy.special.expit,
            scipy.special.logit,
            _logistic_log_cdf,
            _logistic_log_survival,
            _logistic_log_between,
        ),
        Link(
            "probit",
            scipy.special.ndtr,
            scipy.special.ndtri,
            _normal_log_cdf,
            lambda x: _normal_log_cdf(-x),
            _normal_log_between,
        ),
        Link(
            "cloglog",
            _gumbel_inverse,
            lambda mean: np.log(-np.log1p(-mean)),
            _gumbel_log_cdf,
            _gumbel_log_survival,
            _gumbel_log_between,
        ),
        Link(
            "cauchit",
            lambda eta: np.arctan2(1.0, -eta) / np.pi,
            # tan(pi (mean - 1/2)), the smaller of a chance and its rest from its own angle
            lambda mean: (
                np.where(mean < 0.5, -1.0, 1.0) / np.tan(np.pi * np.minimum(mean, 1.0 - mean))
            ),
            _cauchy_log_cdf,
            lambda x: _cauchy_log_cdf(-x),
            _cauchy_log_between,
        ),
    )
}
