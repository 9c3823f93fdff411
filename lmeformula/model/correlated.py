"""Correlated random effects in TFP: a term's correlation as a variable, and the factor that it gives."""

from __future__ import annotations

from typing import Any, TypeAlias

import tensorflow as tf
import tensorflow_probability as tfp

from lmeformula.arrays import Floats, Tensor
from lmeformula.covariance.table import structure_of
from lmeformula.design.design import TermBlock

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
    value, bijector = structure_of(term).tfp_correlation(start, dtype)
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
    rows = structure_of(term).tfp_factor

    def factor(value: Tensor) -> Tensor:
        return tf.broadcast_to(stddev, [k])[:, tf.newaxis] * rows(value, k)

    return tfp.util.DeferredTensor(correlation, factor, shape=(k, k), also_track=stddev)
