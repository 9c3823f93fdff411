"""Ratios of gamma functions in TensorFlow, whose derivatives keep their digits as well."""

from __future__ import annotations

from typing import Any

Tensor = Any

# From here on the series of the logarithm's remainder is exact to rounding with the terms below.
LARGE = 16.0
# Of 1 / x, 1 / x^3, ...: Bernoulli numbers B_2j / (2j (2j - 1)).
REMAINDER = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


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
    import tensorflow as tf

    is_large = start >= LARGE
    # Each branch gets an argument that it can take: a gradient flows through both.
    high = tf.where(is_large, start, tf.cast(LARGE, start.dtype))
    low = tf.where(is_large, tf.cast(LARGE, start.dtype), start)
    large = count * tf.math.log(high) - count
    large += (high + count - 0.5) * tf.math.log1p(count / high)
    large += _remainder(high + count) - _remainder(high)
    return tf.where(is_large, large, tf.math.lgamma(low + count) - tf.math.lgamma(low))


def _remainder(x: Tensor) -> Tensor:
    inverse = 1.0 / x
    square = inverse * inverse
    total = REMAINDER[-1] * square
    for term in REMAINDER[-2:0:-1]:
        total = (total + term) * square
    return (total + REMAINDER[0]) * inverse
