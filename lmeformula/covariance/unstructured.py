"""us: any positive definite covariance.

Sigma = L L', L = diag(sd) C, where C is the Cholesky factor of the correlation matrix. theta holds log sd (k),
then, row by row, the strictly lower elements of an unconstrained lower-triangular matrix with unit diagonal
whose rows are scaled to length one to give C. (The parametrisation of tfp.bijectors.CorrelationCholesky, up
to the order of the elements.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.linalg import lapack

from lmeformula.arrays import Floats, Mask, Tensor
from lmeformula.covariance.chart import Chart, LinearChart
from lmeformula.covariance.structure import (
    Correlations,
    below_diagonal,
    cholesky_semidefinite,
    log_sds,
)

# A coefficient that the earlier ones determine, up to this share of its standard deviation, is on the bound.
DETERMINED = 1e-6
# What is left of it, in standard deviations that stand for zero: digits of what is not left go by its square.
MORE = 1e3


class Unstructured:
    """Any positive definite covariance: k variances and k (k - 1) / 2 correlations.

    Example:
      >>> us = Unstructured()
      >>> us.cholesky(np.array([np.log(2.0), 0.0, 0.75]), 2)
      array([[2. , 0. ],
             [0.6, 0.8]])
    """

    kind = "us"
    correlations: Correlations = "each"

    def least_correlation(self, k: int) -> float:
        return -1.0

    def tfp_correlation(self, start: Floats, dtype: str) -> tuple[Floats, Any]:
        import tensorflow_probability as tfp

        return np.asarray(np.linalg.cholesky(start), float), tfp.bijectors.CorrelationCholesky()

    def tfp_factor(self, value: Tensor, k: int) -> Tensor:
        return value

    def matrix_text(self, part: str, k: int) -> str:
        return f"R the {k} × {k} correlation matrix"

    def matrix_latex(self, label: str, k: int) -> str:
        return rf"R \text{{ the }} {k} \times {k} \text{{ correlation matrix}}"

    def rank(self, k: int) -> int:
        return k

    def num_params(self, k: int) -> int:
        return k * (k + 1) // 2

    def num_sds(self, k: int) -> int:
        return k

    def cholesky(self, theta: Floats, k: int) -> Floats:
        return np.exp(theta[:k])[:, None] * self._correlation_factor(theta[k:], k)

    def cholesky_jacobian(self, theta: Floats, k: int) -> Floats:
        return self._changes(np.exp(theta[:k]), theta[k:], k)

    @classmethod
    def _changes(cls, sd: Floats, free: Floats, k: int) -> Floats:
        """Derivatives of the factor for these standard deviations: in their logarithms, then in the others."""
        factor = cls._correlation_factor(free, k)
        jacobian = np.zeros((k + len(free), k, k))
        for i in range(k):
            jacobian[i, i] = sd[i] * factor[i]
        for place, (i, j) in enumerate(below_diagonal(k)):
            # A row v / |v| changes by (e_j - row * row_j) / |v|; its diagonal element is 1 / |v|.
            unit = np.zeros(k)
            unit[j] = 1.0
            jacobian[k + place, i] = sd[i] * (unit - factor[i] * factor[i, j]) * factor[i, i]
        return jacobian

    def to_free(self, covariance: Floats) -> Floats:
        sd = np.sqrt(np.diag(covariance))
        k = len(sd)
        safe = np.where(sd > 0, sd, 1.0)
        correlation = covariance / np.outer(safe, safe)
        correlation[np.diag_indices(k)] = 1.0
        factor = cholesky_semidefinite(correlation)
        free = [factor[i, j] / max(factor[i, i], 1e-12) for i, j in below_diagonal(k)]
        return np.concatenate([log_sds(np.diag(covariance)), free])

    def off_bounds(self, theta: Floats, k: int, sd: float | Floats) -> tuple[Floats, Mask]:
        has_sd = np.isfinite(theta[:k])
        least = np.broadcast_to(np.log(sd), (k,))
        stand_in = np.concatenate([np.where(has_sd, theta[:k], least), theta[k:]])
        factor = self._correlation_factor(theta[k:], k)
        inside = list(has_sd)
        for place, (i, j) in enumerate(below_diagonal(k)):
            is_determined = factor[i, i] < DETERMINED
            # Nor is there a correlation with one that others determine, beside those with the others.
            has_own = not is_determined and factor[j, j] >= DETERMINED
            inside.append(bool(has_sd[i] and has_sd[j] and has_own))
            if is_determined:
                # What is left of it is small against what stands for zero times MORE: against sigma.
                left = min(DETERMINED, MORE * float(np.exp(least[i] - stand_in[i])))
                stand_in[k + place] *= factor[i, i] / left
        return stand_in, np.array(inside, bool)

    def to_report(self, theta: Floats, k: int) -> Floats:
        factor = self._correlation_factor(theta[k:], k)
        correlation = factor @ factor.T
        return np.concatenate(
            [np.exp(theta[:k]), [correlation[i, j] for i, j in below_diagonal(k)]]
        )

    def report_jacobian(self, theta: Floats, k: int) -> Floats:
        size = len(theta)
        jacobian = np.zeros((size, size))
        jacobian[range(k), range(k)] = np.exp(theta[:k])
        factor = self._correlation_factor(theta[k:], k)
        changes = self._changes(np.ones(k), theta[k:], k)
        for column in range(k, size):
            change = changes[column] @ factor.T
            change = change + change.T
            jacobian[k:, column] = [change[i, j] for i, j in below_diagonal(k)]
        return jacobian

    def labels(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        pairs = [f"{columns[j]},{columns[i]}" for i, j in below_diagonal(len(columns))]
        return [*(("sd", column) for column in columns), *(("cor", pair) for pair in pairs)]

    def elements(self, k: int) -> Floats:
        pairs = [
            np.multiply.outer(a, b) for i, a in enumerate(np.eye(k)) for b in np.eye(k)[: i + 1]
        ]
        return np.array([np.maximum(pair, pair.T) for pair in pairs])

    def chart(self, scale: Floats) -> Chart:
        return orthogonal_chart(np.diag(scale))

    @staticmethod
    def _correlation_factor(free: Floats, k: int) -> Floats:
        factor = np.eye(k)
        for value, (i, j) in zip(free, below_diagonal(k), strict=True):
            factor[i, j] = value
        return np.asarray(factor / np.linalg.norm(factor, axis=1, keepdims=True))


def orthogonal_chart(root: Floats) -> Chart:
    """The chart of an unstructured covariance whose elements are those of orthogonal columns.

    Args:
      root: (k, k) lower triangular B, B'B the mean products of the columns Z: then those of Z B^-1 are
        orthogonal, and B times a factor is that of their coefficients.
    Example:
      >>> orthogonal_chart(np.diag([1.0, 2.0])).factor(np.array([1.0, 1.0, 3.0])).tolist()
      [[1.0, 0.0], [1.5, 0.5]]
    """
    k = len(root)
    inverse = lapack.dtrtri(root, lower=1)[0]
    places = [(i, i) for i in range(k)] + below_diagonal(k)
    basis = np.zeros((len(places), k, k))
    for element, (i, j) in enumerate(places):
        basis[element, :, j] = inverse[:, i]
    return LinearChart(basis)
