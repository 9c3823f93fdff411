"""Correlated random effects in TFP: a term's correlation as a variable, and the factor that it gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.typing import NDArray

from lmeformula.design.design import TermBlock
from lmeformula.model.covariances.patterns import PATTERNS

tfb = tfp.bijectors

Floats = NDArray[np.float64]
Tensor: TypeAlias = Any
Variable: TypeAlias = Any


def correlation_variable(term: TermBlock, start: Floats, dtype: str, name: str) -> Variable:
    """The correlations of a term as a variable on its unconstrained scale.

    Args:
      term: a term of k > 1 correlated coefficients.
      start: (k, k) correlation matrix, positive definite.
      dtype: "float64" or "float32".
      name: of the variable.
    Returns:
      The Cholesky factor of the matrix (k, k) of an unstructured term; of others the correlation, a scalar
      between the least that their pattern admits and one.
    """
    pattern = PATTERNS.get(term.covariance)
    if pattern is None:
        value, bijector = np.linalg.cholesky(start), tfb.CorrelationCholesky()
    else:
        lowest = tf.constant(pattern.lowest(len(start)), dtype)
        value = np.asarray(pattern.correlation_of(start))
        bijector = tfb.Sigmoid(lowest, tf.ones([], dtype))
    return tfp.util.TransformedVariable(tf.constant(value, dtype), bijector, name=name)


def deferred_factor(term: TermBlock, stddev: Variable, correlation: Variable) -> Tensor:
    """The Cholesky factor (k, k) of a term's covariance, evaluated when the density is.

    `stddev * correlation` here would be a constant, which no gradient passes.

    Args:
      term: the term.
      stddev: (k,) standard deviations, or a scalar.
      correlation: from `correlation_variable`.
    """
    k = len(term.columns)
    rows = FACTORS[term.covariance]

    def factor(value: Tensor) -> Tensor:
        return tf.broadcast_to(stddev, [k])[:, tf.newaxis] * rows(value, k)

    return tfp.util.DeferredTensor(correlation, factor, shape=(k, k), also_track=stddev)


def _compound_symmetry(rho: Tensor, k: int) -> Tensor:
    matrix = rho + (1.0 - rho) * tf.eye(k, dtype=rho.dtype)
    return tf.linalg.cholesky(matrix)


def _autoregressive(rho: Tensor, k: int) -> Tensor:
    # Products, since the derivative of a power of zero or less is not finite.
    powers = [tf.ones_like(rho)]
    for _ in range(k - 1):
        powers.append(powers[-1] * rho)
    apart = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    return tf.linalg.cholesky(tf.gather(tf.stack(powers), apart))


# How each structure's variable becomes the Cholesky factor of a correlation matrix.
FACTORS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "us": lambda rows, _: rows,
    "cs": _compound_symmetry,
    "ar1": _autoregressive,
}
