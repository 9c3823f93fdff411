"""Thresholds between ordered categories: all free, or in a pattern that a location and distances give.

References: Christensen (2019), ordinal: regression models for ordinal data, `clm`, for the patterns; Buerkner,
Vuorre (2019), Adv. Methods Pract. Psychol. Sci. 2, 77-101, for families whose thresholds have no order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from lmeformula.arrays import Floats, Tensor
from lmeformula.errors import ModelError
from lmeformula.family.own import Ascending, Own, Scale
from lmeformula.startup import tf, tfp

Pattern: TypeAlias = Literal["flexible", "symmetric", "equidistant"]


@dataclass(frozen=True)
class Patterned:
    """Thresholds (v,) that are sums of a location and of distances (f - 1); f free values.

    "flexible" are any v numbers. "equidistant" are the first one and a distance. "symmetric" lie to both
    sides of a centre, which is the middle threshold or halfway between the middle two; the distances are those
    of neighbours, from the centre outwards.

    Attributes:
      pattern: of the thresholds.
      count: v.
      is_ordered: whether distances must be positive; they are free by their logarithms then.

    Example:
      >>> Patterned("equidistant", 4, True).to_natural(np.array([-1.0, 0.0])).tolist()
      [-1.0, 0.0, 1.0, 2.0]
      >>> Patterned("symmetric", 4, True).to_natural(np.array([0.5, 0.0, np.log(2.0)])).tolist()
      [-2.0, 0.0, 1.0, 3.0]
    """

    pattern: Pattern
    count: int
    is_ordered: bool

    @property
    def matrix(self) -> Floats:
        """(v, f) the thresholds from the location and the distances."""
        v = self.count
        if self.pattern == "flexible":
            return np.eye(v)
        if self.pattern == "equidistant":
            return np.column_stack([np.ones(v), np.arange(float(v))])
        # From the centre each threshold passes all of the distances before its own, and half of the middle one.
        half = v // 2
        upper = np.tril(np.ones((half, half)))
        if v % 2 == 0:
            upper[:, 0] = 0.5
        middle = np.zeros((v % 2, half))
        return np.column_stack([np.ones(v), np.vstack([-upper[::-1], middle, upper])])

    @property
    def inverse(self) -> Floats:
        """(f, v) the location and the distances from the thresholds."""
        v = self.count
        if self.pattern == "flexible":
            return np.eye(v)
        ends, steps = np.eye(v), np.diff(np.eye(v), axis=0)
        if self.pattern == "equidistant":
            return np.vstack([ends[:1], steps[:1]])
        middle = (ends[(v - 1) // 2] + ends[v // 2]) / 2.0
        return np.vstack([middle[None], steps[(v - 1) // 2 :]])

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """(f) between which the location and each distance lie."""
        whole = (-math.inf, math.inf)
        distance = (0.0, math.inf) if self.is_ordered else whole
        return (whole, *([distance] * (self.matrix.shape[1] - 1)))

    def to_natural(self, free: Floats) -> Floats:
        """Sums of the location and of the distances."""
        return np.asarray(self.matrix @ self._parts(free))

    def to_free(self, natural: Floats) -> Floats:
        """The location, and the distances or their logarithms."""
        parts = self.inverse @ natural
        return np.concatenate([parts[:1], np.log(parts[1:])]) if self.is_ordered else parts

    def jacobian(self, free: Floats) -> Floats:
        """The matrix, each column times the derivative of its part."""
        return self.matrix * (self._changes(free) if self.is_ordered else 1.0)

    def bend(self, free: Floats, slope: Floats) -> Floats:
        """Diagonal: of logarithms only."""
        curved = self._parts(free) * (self.matrix.T @ slope) * self.is_ordered
        return np.asarray(np.diag(np.concatenate([np.zeros(1), curved[1:]])))

    def tensors(self, free: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Sums of the location and of the distances."""
        parts = [free[0], *(tf.exp(value) if self.is_ordered else value for value in free[1:])]
        return tuple(
            sum(share * part for share, part in zip(row, parts, strict=True) if share)
            for row in self.matrix.tolist()
        )

    def bijector(self) -> Any:
        """One that changes the number of elements; its volume is that of the location and the distances."""

        def volume(x: Tensor) -> Tensor:
            logs = x[..., 1:] if self.is_ordered else tf.zeros_like(x[..., 1:])
            return tf.reduce_sum(logs, axis=-1)

        def inverse(y: Tensor) -> Tensor:
            parts = tf.linalg.matvec(tf.constant(self.inverse, y.dtype), y)
            if not self.is_ordered:
                return parts
            return tf.concat([parts[..., :1], tf.math.log(parts[..., 1:])], axis=-1)

        return tfp.bijectors.Inline(
            lambda x: tf.stack(self.tensors(tf.unstack(x, axis=-1)), axis=-1),
            inverse,
            forward_log_det_jacobian_fn=volume,
            forward_event_shape_fn=lambda shape: (*shape[:-1], self.count),
            inverse_event_shape_fn=lambda shape: (*shape[:-1], self.matrix.shape[1]),
            forward_min_event_ndims=1,
            name="thresholds",
        )

    def _parts(self, free: Floats) -> Floats:
        return np.concatenate([free[:1], np.exp(free[1:])]) if self.is_ordered else free

    def _changes(self, free: Floats) -> Floats:
        return np.concatenate([np.ones(1), np.exp(free[1:])])


def threshold_own(
    family: str, pattern: Pattern, levels: Sequence[str], start: Floats, *, is_ordered: bool
) -> Own:
    """The thresholds of a family as its own parameters.

    Args:
      family: its name, for messages.
      pattern: of the thresholds.
      levels: (K) names of the categories, lowest first.
      start: (K - 1,) thresholds to start from.
      is_ordered: whether each must be larger than the one before.
    Returns:
      own: thresholds as the natural values; reported are all of them where they are flexible, otherwise the
        location and the distances.
    Raises:
      ModelError: for a pattern of a single threshold.
    """
    names = tuple(f"{low}|{high}" for low, high in itertools.pairwise(levels))
    count = len(names)
    if pattern == "flexible":
        scale: Scale = Ascending() if is_ordered else Patterned(pattern, count, False)
        return Own("thresholds", names, start, scale)
    if count < 2:
        raise ModelError(
            f"{pattern} thresholds take three categories, and this response has {len(levels)}",
            hint=f'Write family="{family}".',
        )
    scale = Patterned(pattern, count, is_ordered)
    distances = scale.matrix.shape[1] - 1
    if pattern == "equidistant":
        reported: tuple[str, ...] = (names[0], "spacing")
        # The straight line through them.
        step, first = np.polyfit(np.arange(float(count)), start, 1)
        even = np.array([first, step])
    else:
        numbered = [f"spacing.{k}" for k in range(1, distances + 1)]
        reported = ("center", *(numbered if distances > 1 else ["spacing"]))
        # Both sides' distances, averaged.
        even = scale.inverse @ (start - start[::-1]) / 2.0
        even[0] = start.mean()
    return Own(
        "thresholds", reported, scale.matrix @ even, scale, values=names, report=scale.inverse
    )
