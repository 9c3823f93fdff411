"""The prior distribution of numbers that ascend, as thresholds between ordered categories do."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from lmeformula.arrays import Tensor

tfb, tfd = tfp.bijectors, tfp.distributions


class Ordered(tfd.Distribution):  # type: ignore[misc, name-defined]
    """Independent numbers of one distribution, given that they ascend: draws are such numbers, sorted.

    Args:
      each: the distribution of a number before it is sorted, a scalar one.
      count: v, how many there are.
    References:
      David, Nagaraja (2003), Order statistics, section 2.2, for the joint density.
    Example:
      >>> found = Ordered(tfd.Normal(tf.zeros([], tf.float64), 1.0), 3)
      >>> tuple(found.sample(5, seed=1).shape), round(float(found.log_prob([-1.0, 0.0, 1.0])), 4)
      ((5, 3), -1.9651)
    """

    def __init__(self, each: Any, count: int) -> None:
        parameters = {"each": each, "count": count}
        self._each, self._count = each, count
        super().__init__(
            dtype=each.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name="Ordered",
        )

    def _batch_shape(self) -> Any:
        return tf.TensorShape([])

    def _batch_shape_tensor(self, **parameters: Any) -> Tensor:
        return tf.constant([], tf.int32)

    def _event_shape(self) -> Any:
        return tf.TensorShape([self._count])

    def _event_shape_tensor(self) -> Tensor:
        return tf.constant([self._count], tf.int32)

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        return tf.sort(self._each.sample([n, self._count], seed=seed), axis=-1)

    def _log_prob(self, value: Tensor) -> Tensor:
        found = tf.reduce_sum(self._each.log_prob(value), axis=-1)
        found += tf.math.lgamma(tf.constant(self._count + 1.0, found.dtype))
        ascends = tf.reduce_all(value[..., 1:] > value[..., :-1], axis=-1)
        return tf.where(ascends, found, tf.constant(-float("inf"), found.dtype))

    def _default_event_space_bijector(self) -> Any:
        return tfb.Ascending()
