"""Own parameters that have bounds, each its own: a probability, degrees of freedom above one, a power."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Mask, Tensor
from lmeformula.startup import tf, tfp

# Bounds other than zero and infinity are kept off by this much of a logit or logarithm: values nearer to them
# cannot be told from them.
NEAREST = 30.0
POSITIVE = (0.0, math.inf)
CHANCE = (0.0, 1.0)
ANYTHING = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Bounded:
    """A scale: logits of numbers between two bounds, logarithms of distances from a single one, or numbers.

    Attributes:
      bounds: (low, high) of each number; high may be infinite, and then low, too.
    Example:
      >>> Bounded((POSITIVE, (1.0, math.inf), CHANCE, ANYTHING)).to_natural(np.zeros(4)).tolist()
      [1.0, 2.0, 0.5, 0.0]
    """

    bounds: tuple[tuple[float, float], ...]

    def to_natural(self, free: Floats) -> Floats:
        """Exponentials above the lower bound, or shares of the way to the upper one."""
        low, width, *_ = self._arrays()
        return np.asarray(low + width * self._rise(free)[0])

    def to_free(self, natural: Floats) -> Floats:
        """Logarithms, or logits."""
        low, width, is_open, least, most = self._arrays()
        is_free = self._is_free()
        share = np.where(is_free, 1.0, (natural - low) / width)
        with np.errstate(divide="ignore"):
            found = np.log(share) - np.log(np.where(is_open, 1.0, 1.0 - share))
        return np.asarray(np.clip(np.where(is_free, natural, found), least, most))

    def jacobian(self, free: Floats) -> Floats:
        """Diagonal."""
        return np.asarray(np.diag(self._arrays()[1] * self._rise(free)[1]))

    def bend(self, free: Floats, slope: Floats) -> Floats:
        """Diagonal."""
        return np.asarray(np.diag(self._arrays()[1] * self._rise(free)[2] * slope))

    def tensors(self, free: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Exponentials, or logistic functions."""
        *_, least, most = self._arrays()
        found = []
        for value, (low, high), bottom, top in zip(free, self.bounds, least, most, strict=True):
            if math.isfinite(bottom) or math.isfinite(top):
                value = tf.clip_by_value(
                    value, tf.cast(bottom, value.dtype), tf.cast(top, value.dtype)
                )
            if math.isinf(low):
                found.append(tf.convert_to_tensor(value))
                continue
            way = tf.exp(value) if math.isinf(high) else (high - low) * tf.math.sigmoid(value)
            found.append(low + way)
        return tuple(found)

    def bijector(self) -> Any:
        """tfb.Blockwise of tfb.Exp and tfb.Sigmoid, moved and stretched."""
        return tfp.bijectors.Blockwise([between(low, high) for low, high in self.bounds])

    def at(self, places: tuple[int, ...]) -> Bounded:
        """The scale of some of the numbers."""
        return Bounded(tuple(self.bounds[place] for place in places))

    def _arrays(self) -> tuple[Floats, Floats, Mask, Floats, Floats]:
        """(f,) each: lower bounds, widths, whether they have none, the least and the largest free values."""
        low, high = (np.array(ends, float) for ends in zip(*self.bounds, strict=True))
        is_open, low = np.isinf(high), np.where(np.isinf(low), 0.0, low)
        width = np.where(is_open, 1.0, high - low)
        least = np.where((low == 0.0) | self._is_free(), -np.inf, -NEAREST)
        return low, width, is_open, least, np.where(is_open, np.inf, NEAREST)

    def _is_free(self) -> Mask:
        """(f,) which numbers have no bounds."""
        return np.array([math.isinf(low) for low, _ in self.bounds])

    def _rise(self, free: Floats) -> tuple[Floats, Floats, Floats]:
        """`free`, exp(free) or its logistic function, with two derivatives; flat beyond what is told apart."""
        _, _, is_open, least, most = self._arrays()
        is_free = self._is_free()
        held = np.clip(free, least, most)
        growth = np.exp(np.where(is_open & ~is_free, held, 0.0))
        share = scipy.special.expit(held)
        slope = np.where(is_open, growth, share * (1.0 - share))
        bend = np.where(is_open, growth, slope * (1.0 - 2.0 * share))
        moves = held == free
        slope, bend = np.where(is_free, 1.0, slope), np.where(is_free, 0.0, bend)
        rise = np.where(is_free, held, np.where(is_open, growth, share))
        return rise, slope * moves, bend * moves


def between(low: float, high: float) -> Any:
    """The bijector from any number to those above `low`, and below `high`, where these are finite."""
    tfb = tfp.bijectors
    if math.isinf(low):
        return tfb.Identity()
    is_open = math.isinf(high)
    unit, width = (tfb.Exp(), 1.0) if is_open else (tfb.Sigmoid(), high - low)
    if (low, width) == (0.0, 1.0):
        return unit
    # tfb.Shift and tfb.Scale would bring a precision of their own along.
    return tfb.Inline(
        forward_fn=lambda x: low + width * unit.forward(x),
        inverse_fn=lambda y: unit.inverse((y - low) / width),
        forward_log_det_jacobian_fn=lambda x: unit.forward_log_det_jacobian(x) + math.log(width),
        forward_min_event_ndims=0,
    )
