"""Ratios of gamma functions in TensorFlow, whose derivatives keep their digits as well."""

from __future__ import annotations

import math
from typing import Any

from lmeformula.arrays import Tensor
from lmeformula.startup import tf

# From here on the series of the logarithm's remainder is exact to rounding with the terms below.
LARGE = 16.0
# Of 1 / x, 1 / x^3, ...: Bernoulli numbers B_2j / (2j (2j - 1)).
REMAINDER = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)

# Below this functions of a ratio are summed as series, of so many terms.
SMALL, NUM_TERMS = 0.1, 18


def log_rising(start: Tensor, count: Tensor) -> Tensor:
    """log(Gamma(start + count) / Gamma(start)), elementwise.

    Of a whole `count` that is log(start (start + 1) ... (start + count - 1)). Where `start` is large, two
    large logarithms would be subtracted, and their derivatives multiplied by it: there Stirling's formula is
    subtracted from itself before it is evaluated.

    Args:
      start: positive.
      count: zero or positive.
    Returns:
      The logarithms, to be differentiated as often as wanted.
    References:
      Abramowitz, Stegun (1964), Handbook of Mathematical Functions, 6.1.40.
    Example:
      >>> import tensorflow as tf
      >>> start, count = tf.constant([0.5, 1e3], tf.float64), tf.constant([2.0, 1.0], tf.float64)
      >>> tf.exp(log_rising(start, count)).numpy().round(6).tolist()
      [0.75, 1000.0]
    """
    is_large, high, low = _sides(start)
    large = count * tf.math.log(high) - count
    large += (high + count - 0.5) * tf.math.log1p(count / high)
    large += _remainder(high + count) - _remainder(high)
    return tf.where(is_large, large, tf.math.lgamma(low + count) - tf.math.lgamma(low))


def log_rising_ratio(start: Tensor, count: Tensor) -> Tensor:
    """log(Gamma(start + count) / (Gamma(start) start^count)), elementwise; zero in the limit of a large start.

    Args:
      start: positive.
      count: zero or positive.
    Returns:
      The logarithms, to be differentiated as often as wanted.
    Example:
      >>> import tensorflow as tf
      >>> start, count = tf.constant([2.0, 1e9], tf.float64), tf.constant([2.0, 3.0], tf.float64)
      >>> (log_rising_ratio(start, count).numpy() * [1.0, 1e9]).round(4).tolist()
      [0.4055, 3.0]
    """
    is_large, high, low = _sides(start)
    ratio = count / high
    large = high * _bent(ratio) - 0.5 * tf.math.log1p(ratio)
    large += _remainder(high + count) - _remainder(high)
    small = tf.math.lgamma(low + count) - tf.math.lgamma(low) - count * tf.math.log(low)
    return tf.where(is_large, large, small)


def less_powers(x: Tensor) -> Tensor:
    """log(Gamma(x) exp(x) / x^x), elementwise: of a large x the logarithm of its root, and no more.

    Example:
      >>> import tensorflow as tf
      >>> less_powers(tf.constant([1.0, 1e8], tf.float64)).numpy().round(6).tolist()
      [1.0, -8.291402]
    """
    is_large, high, low = _sides(x)
    large = 0.5 * (math.log(2.0 * math.pi) - tf.math.log(high)) + _remainder(high)
    return tf.where(is_large, large, tf.math.lgamma(low) - low * tf.math.log(low) + low)


def _sides(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Whether x is large, and an argument that either branch can take: a gradient flows through both."""
    is_large, edge = x >= LARGE, tf.cast(LARGE, x.dtype)
    return is_large, tf.where(is_large, x, edge), tf.where(is_large, edge, x)


def log1p_ratio(x: Tensor) -> Tensor:
    """log(1 + x) / x for x > 0, elementwise; derivatives keep their digits where x is small."""
    is_small = x < SMALL
    near = tf.where(is_small, x, tf.zeros_like(x))
    total = tf.zeros_like(x)
    for k in range(NUM_TERMS, -1, -1):
        total = total * near + (-1.0) ** k / (k + 1.0)
    far = tf.where(is_small, tf.ones_like(x), x)
    return tf.where(is_small, total, tf.math.log1p(far) / far)


def _bent(x: Tensor) -> Tensor:
    """(1 + x) log(1 + x) - x for x >= 0, which begins with x^2 / 2."""

    # Its derivative is log(1 + x): eighteen terms, differentiated three times, take many seconds to trace.
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def bent(x: Tensor) -> tuple[Tensor, Any]:
        is_small = x < SMALL
        near = tf.where(is_small, x, tf.zeros_like(x))
        total = tf.zeros_like(x)
        for k in range(NUM_TERMS, 1, -1):
            total = total * near + (-1.0) ** k / (k * (k - 1.0))
        far = tf.where(is_small, tf.ones_like(x), x)
        value = tf.where(is_small, near * near * total, (1.0 + far) * tf.math.log1p(far) - far)
        return value, lambda upstream: upstream * tf.math.log1p(x)

    return bent(x)


def _remainder(x: Tensor, order: int = 0) -> Tensor:
    """What Stirling's formula leaves of log gamma, or its derivative of an order: sum of c_j / x^(2 j - 1)."""
    powers = range(1, 2 * len(REMAINDER), 2)
    # (-1)^order p (p + 1) ... (p + order - 1)
    factors = [(-1.0) ** order * math.prod(range(p, p + order)) for p in powers]
    terms = [c * factor for c, factor in zip(REMAINDER, factors, strict=True)]

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def remainder(x: Tensor) -> tuple[Tensor, Any]:
        inverse = 1.0 / x
        square = inverse * inverse
        total = terms[-1] * square
        for term in terms[-2:0:-1]:
            total = (total + term) * square
        value = (total + terms[0]) * inverse ** (1 + order)
        return value, lambda upstream: upstream * _remainder(x, order + 1)

    return remainder(x)
