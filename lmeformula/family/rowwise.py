"""A TFP distribution of rows from a log density and a sampler, for families whose distribution TFP has not."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from functools import cache
from typing import Any

from lmeformula.arrays import Tensor
from lmeformula.family.record import Family
from lmeformula.startup import tf, tfp


def rowwise(
    eta: Tensor,
    log_density: Callable[[Tensor], Tensor],
    sample: Callable[[Any, Tensor], Tensor],
    cdf: Callable[[Tensor], Tensor] | None = None,
    mean: Callable[[], Tensor] | None = None,
) -> Any:
    """The distribution of rows with these predictors.

    Args:
      eta: (..., n) predictors, or whatever has the shape and kind of the rows.
      log_density: responses of a shape that goes with eta -> their log densities.
      sample: (shape, seed of two numbers) -> responses of that shape, whose last dimensions are those of eta.
      cdf: responses -> chances of one up to them, if that is known.
      mean: () -> means (..., n), if they are known in TensorFlow.
    Returns:
      A tfd.Distribution of scalars with the batch shape of eta.
    """
    return _kind()(eta, log_density, sample, cdf, mean)


def weighted_rows(
    family: Family,
    eta: Tensor,
    response: tuple[Tensor, ...],
    own: tuple[Tensor, ...],
    frequency: Tensor | None = None,
) -> Any:
    """The distribution of rows whose log densities add up to the log-likelihood.

    A row of weight w counts as w rows with the same response, and so does one of that frequency; one of these
    is what is drawn.

    Args:
      family: of K predictors.
      eta: (..., K, n) linear predictors.
      response: the response arrays.
      own: own parameters.
      frequency: (n,) of the rows; None for one.
    """
    made = family.distribution(family.as_taken(eta), response, own)
    counts = [response[-1]] if family.has_weights else []
    counts += [] if frequency is None else [frequency]
    if not counts:
        return made
    times = functools.reduce(operator.mul, counts)
    return rowwise(
        eta[..., 0, :],
        lambda y: made.log_prob(y) * times,
        lambda shape, seed: tf.cast(made.sample(shape[0], seed=seed), eta.dtype),
        made.cdf,
        made.mean,
    )


def by_rows(
    log_density: Callable[..., Tensor],
    arrays: Callable[[Tensor], tuple[Tensor, ...]],
    eta: Tensor,
    own: tuple[Tensor, ...],
) -> Callable[[Tensor], Tensor]:
    """A family's log density of rows and columns (n, c), at responses of a shape that goes with eta.

    Args:
      log_density: (eta (n, c), response arrays (n,), own parameters) -> (n, c).
      arrays: responses (n,) -> response arrays.
      eta: (..., n) predictors.
      own: own parameters, which go with eta.
    """

    def density(y: Tensor) -> Tensor:
        wide = tf.zeros(tf.broadcast_dynamic_shape(tf.shape(y), tf.shape(eta)), eta.dtype)
        given = tuple(tf.reshape(value + wide, [-1, 1]) for value in own)
        response = arrays(tf.reshape(y + wide, [-1]))
        found = log_density(tf.reshape(eta + wide, [-1, 1]), response, given)
        return tf.reshape(found, tf.shape(wide))

    return density


@cache
def _kind() -> Any:
    tfd = tfp.distributions

    class Rowwise(tfd.Distribution):  # type: ignore[misc, name-defined]
        """Independent scalars, each with a density and a sampler."""

        def __init__(self, eta: Tensor, log_density: Any, sample: Any, cdf: Any, mean: Any) -> None:
            self._eta = tf.convert_to_tensor(eta)
            self._density = log_density
            self._sampler = sample
            self._chance = cdf
            self._means = mean
            super().__init__(
                dtype=self._eta.dtype,
                reparameterization_type=tfd.NOT_REPARAMETERIZED,
                validate_args=False,
                allow_nan_stats=True,
                parameters={},
                name="Rowwise",
            )

        def _batch_shape(self) -> Any:
            return self._eta.shape

        def _batch_shape_tensor(self) -> Any:
            return tf.shape(self._eta)

        def _event_shape(self) -> Any:
            return tf.TensorShape([])

        def _event_shape_tensor(self) -> Any:
            return tf.zeros([0], tf.int32)

        def _log_prob(self, value: Tensor) -> Tensor:
            return self._density(value)

        def _cdf(self, value: Tensor) -> Tensor:
            if self._chance is None:
                raise NotImplementedError("this distribution has no distribution function")
            return self._chance(value)

        def _mean(self) -> Tensor:
            if self._means is None:
                raise NotImplementedError("this distribution does not know its mean")
            return self._means()

        def _sample_n(self, n: Any, seed: Any = None) -> Tensor:
            shape = tf.concat([[n], tf.shape(self._eta)], axis=0)
            return self._sampler(shape, tfp.random.sanitize_seed(seed, salt="rowwise"))

    return Rowwise
