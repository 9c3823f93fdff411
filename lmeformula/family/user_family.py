"""What a user's family is made of: the record that is tried out, and the scale of its own parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmeformula.arrays import Floats, Tensor
from lmeformula.startup import tf, tfp


@dataclass(frozen=True, eq=False)
class UserFamily:
    """What a user's family is made of.

    Attributes:
      name: the family's.
      names: (f) of the own parameters.
      build: (mu, own parameters, numbers of trials or None) -> distribution.
      inverse: linear predictor -> mu, of tensors.
      scale: of the own parameters.
      start: (f,) natural own parameters to search around.
      has_trials: whether responses are successes out of trials, which the distribution takes.
    """

    name: str
    names: tuple[str, ...]
    build: Callable[[Tensor, tuple[Tensor, ...], Tensor | None], Any]
    inverse: Callable[[Tensor], Tensor]
    scale: Bijected
    start: Floats
    has_trials: bool = False


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
        self._some: dict[tuple[int, ...], Bijected] = {}

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """(low, high) of each number: what the bijector tends to at both ends; infinite if unknown."""
        return tuple((-np.inf, np.inf) if ends is None else ends for ends in self.ends)

    @property
    def ends(self) -> tuple[tuple[float, float] | None, ...]:
        """What each bijector tends to at both ends, in order; None where it has no number there."""
        found = self._each_of(
            lambda way, value: way.forward(value), [(-np.inf, np.inf)] * len(self)
        )
        return tuple(
            None if np.isnan(each).any() else (float(each.min()), float(each.max()))
            for each in found
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
        return tuple(
            tf.cast(way.forward(tf.cast(value, tf.float64)), value.dtype)
            for way, value in zip(self.each, free, strict=True)
        )

    def bijector(self) -> Any:
        """tfb.Blockwise of them."""
        return tfp.bijectors.Blockwise(list(self.each))

    def at(self, places: tuple[int, ...]) -> Bijected:
        """The scale of some of the numbers; of the same ones it is the same object."""
        if places not in self._some:
            self._some[places] = Bijected([self.each[place] for place in places])
        return self._some[places]

    def __len__(self) -> int:
        return len(self.each)

    def _vector(self, function: Callable[[Any, Tensor], Tensor], values: Floats) -> Floats:
        return np.array([float(found) for found in self._each_of(function, values)])

    def _each_of(self, function: Callable[[Any, Tensor], Tensor], values: Any) -> list[Floats]:
        return [
            np.asarray(function(way, tf.constant(value, tf.float64)), np.float64)
            for way, value in zip(self.each, values, strict=True)
        ]


def slopes(bijector: Any, free: Tensor) -> tuple[Tensor, Tensor]:
    """The first two derivatives of a bijector of scalars; zero where it is straight."""
    none = tf.UnconnectedGradients.ZERO
    with tf.GradientTape() as outer:
        outer.watch(free)
        with tf.GradientTape() as inner:
            inner.watch(free)
            value = bijector.forward(free)
        first = inner.gradient(value, free, unconnected_gradients=none)
    return first, outer.gradient(first, free, unconnected_gradients=none)
