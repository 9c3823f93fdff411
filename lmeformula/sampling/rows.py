"""The rows' log density as the sampler takes it: slopes and scores, analytic or automatic."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from lmeformula.arrays import Tensor
from lmeformula.family import Family, log_density
from lmeformula.family.own import Scale
from lmeformula.sampling.whitened import RowDensity, Rows


def row_density(family: Family, scale: Scale) -> RowDensity:
    """The density of a family's rows, in its unconstrained own parameters.

    Args:
      family: the family; with several predictors these are those of stacked rows (v n, c), see
        `lmeformula.model.stack`, of which the first K n count.
      scale: from unconstrained own parameters to natural ones.
    """
    k = len(family.predictors)

    def read(eta: Tensor) -> Tensor:
        """(n, c) predictors of the rows, or (K, n, c)."""
        return eta if k == 1 else tf.reshape(eta, [k * (k + 1) // 2, -1, tf.shape(eta)[1]])[:k]

    def slope(eta: Tensor, rows: Rows, extra: Tensor) -> tuple[Tensor, Tensor]:
        value, found = _slope(read(eta), rows.response, extra)
        counts = rows.counts[:, None]
        gradient = tf.reshape(counts * found, [-1, tf.shape(eta)[1]])
        if k > 1:
            gradient = tf.pad(gradient, [[0, tf.shape(eta)[0] - tf.shape(gradient)[0]], [0, 0]])
        return counts * value, gradient

    def _slope(etas: Tensor, response: tuple[Tensor, ...], extra: Tensor) -> tuple[Tensor, Tensor]:
        own = _natural(scale, tf.unstack(extra), etas)
        if family.slope is not None:
            return log_density(family, etas, response, own), family.slope(etas, response, own)
        with tf.GradientTape() as tape:
            tape.watch(etas)
            value = log_density(family, etas, response, own)
        return value, tape.gradient(value, etas)

    def own_scores(eta: Tensor, rows: Rows, extra: Tensor) -> Tensor:
        # A copy of the own parameters for each chain makes their derivatives those of the chains.
        copies = extra[:, None] + tf.zeros_like(eta[:1])
        with tf.GradientTape() as tape:
            tape.watch(copies)
            etas = read(eta)
            own = _natural(scale, tf.unstack(copies), etas)
            value = rows.counts[:, None] * log_density(family, etas, rows.response, own)
        return tape.gradient(value, copies)

    return RowDensity(slope, own_scores)


def _natural(scale: Scale, free: Sequence[Tensor], like: Tensor) -> tuple[Tensor, ...]:
    """The natural own parameters, those that are held included, of the precision of predictors."""
    return tuple(tf.convert_to_tensor(v, like.dtype) for v in scale.tensors(free))
