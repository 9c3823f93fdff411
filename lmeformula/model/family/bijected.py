"""Own parameters of a user's family: each free on the scale that a TFP bijector gives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Tensor = Any


class Bijected:
    """A scale made of TFP bijectors of scalars, from unconstrained numbers to natural ones.

    Two of them are equal only where they are the same object: a family makes one and keeps it, and what was
    compiled for one of its fits serves the next.

    Attributes:
      each: (f) the bijectors.
    Example:
      >>> import tensorflow_probability as tfp
      >>> Bijected((tfp.bijectors.Exp(), tfp.bijectors.Sigmoid())).to_natural(np.zeros(2)).tolist()
      [1.0, 0.5]
    """

    def __init__(self, each: Sequence[Any]) -> None:
        self.each = tuple(each)

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """(low, high) of each number: what the bijector tends to at both ends."""
        ends = self._each_of(lambda way, value: way.forward(value), [(-np.inf, np.inf)] * len(self))
        return tuple(
            (float(found.min()), float(found.max()))
            if np.isnan(found).sum() == 0
            else (-np.inf, np.inf)
            for found in ends
        )

    def to_natural(self, free: Floats) -> Floats:
        """The bijectors."""
        return self._vector(lambda way, value: way.forward(value), free)

    def to_free(self, natural: Floats) -> Floats:
        """Their inverses."""
        return self._vector(lambda way, value: way.inverse(value), natural)

    def jacobian(self, free: Floats) -> Floats:
        """Diagonal."""
        return np.asarray(np.diag(self._vector(lambda way, value: slopes(way, value)[0], free)))

    def bend(self, free: Floats, slope: Floats) -> Floats:
        """Diagonal."""
        return np.asarray(
            np.diag(self._vector(lambda way, value: slopes(way, value)[1], free) * slope)
        )

    def tensors(self, free: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The bijectors, in double precision: the numbers that they hold are of that kind."""
        import tensorflow as tf

        return tuple(
            tf.cast(way.forward(tf.cast(value, tf.float64)), value.dtype)
            for way, value in zip(self.each, free, strict=True)
        )

    def bijector(self) -> Any:
        """tfb.Blockwise of them."""
        import tensorflow_probability as tfp

        return tfp.bijectors.Blockwise(list(self.each))

    def __len__(self) -> int:
        return len(self.each)

    def _vector(self, function: Callable[[Any, Tensor], Tensor], values: Floats) -> Floats:
        return np.array([float(found) for found in self._each_of(function, values)])

    def _each_of(self, function: Callable[[Any, Tensor], Tensor], values: Any) -> list[Floats]:
        import tensorflow as tf

        return [
            np.asarray(function(way, tf.constant(value, tf.float64)), np.float64)
            for way, value in zip(self.each, values, strict=True)
        ]


def slopes(bijector: Any, free: Tensor) -> tuple[Tensor, Tensor]:
    """The first two derivatives of a bijector of scalars; zero where it is straight."""
    import tensorflow as tf

    none = tf.UnconnectedGradients.ZERO
    with tf.GradientTape() as outer:
        outer.watch(free)
        with tf.GradientTape() as inner:
            inner.watch(free)
            value = bijector.forward(free)
        first = inner.gradient(value, free, unconnected_gradients=none)
    return first, outer.gradient(first, free, unconnected_gradients=none)
