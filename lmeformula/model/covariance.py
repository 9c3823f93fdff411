"""Covariance structures: unconstrained theta <-> Cholesky factor <-> sds and correlations.

An unstructured k x k covariance is Sigma = L L', L = diag(sd) C, where C is the Cholesky factor of
the correlation matrix. theta holds log sd (k), then, row by row, the strictly lower elements of an
unconstrained lower-triangular matrix with unit diagonal whose rows are scaled to length one to
give C. (The parametrisation of tfp.bijectors.CorrelationCholesky, up to the order of the elements.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lmeformula.model.covariances.chart import Chart, LinearChart

Floats = NDArray[np.float64]


class Structure(Protocol):
    """One covariance structure; k is the number of coefficients of the term."""

    kind: str

    def num_params(self, k: int) -> int:
        """Length of theta."""

    def cholesky(self, theta: Floats, k: int) -> Floats:
        """(k, k) lower-triangular L with Sigma = L L'."""

    def cholesky_jacobian(self, theta: Floats, k: int) -> Floats:
        """(len(theta), k, k) derivative of L in each element of theta."""

    def to_free(self, covariance: Floats) -> Floats:
        """theta of a covariance matrix of this structure."""

    def to_report(self, theta: Floats, k: int) -> Floats:
        """Standard deviations, then correlations, as many as theta has elements."""

    def report_jacobian(self, theta: Floats, k: int) -> Floats:
        """Derivative of `to_report`, square."""

    def param_names(self, name: str, columns: Sequence[str]) -> list[str]:
        """Names of the elements of `to_report`."""

    def chart(self, scale: Floats) -> Chart:
        """The factors as a function of as many free elements as theta has.

        There, unlike in theta, a singular covariance is an ordinary point.

        Args:
          scale: (k,) root mean squares of the columns of the data; elements are relative to them.
        """


class Unstructured:
    """Any positive definite covariance: k variances and k (k - 1) / 2 correlations.

    Example:
      >>> us = Unstructured()
      >>> us.cholesky(np.array([np.log(2.0), 0.0, 0.75]), 2)
      array([[2. , 0. ],
             [0.6, 0.8]])
    """

    kind = "us"

    def num_params(self, k: int) -> int:
        return k * (k + 1) // 2

    def cholesky(self, theta: Floats, k: int) -> Floats:
        return np.exp(theta[:k])[:, None] * self._correlation_factor(theta[k:], k)

    def cholesky_jacobian(self, theta: Floats, k: int) -> Floats:
        sd, free = np.exp(theta[:k]), theta[k:]
        factor = self._correlation_factor(free, k)
        jacobian = np.zeros((self.num_params(k), k, k))
        for i in range(k):
            jacobian[i, i] = sd[i] * factor[i]
        for place, (i, j) in enumerate(_below_diagonal(k)):
            # A row v / |v| changes by (e_j - row * row_j) / |v|; its diagonal element is 1 / |v|.
            unit = np.zeros(k)
            unit[j] = 1.0
            jacobian[k + place, i] = sd[i] * (unit - factor[i] * factor[i, j]) * factor[i, i]
        return jacobian

    def to_free(self, covariance: Floats) -> Floats:
        sd = np.sqrt(np.diag(covariance))
        k = len(sd)
        with np.errstate(divide="ignore"):
            log_sd = np.log(sd)
        safe = np.where(sd > 0, sd, 1.0)
        correlation = covariance / np.outer(safe, safe)
        correlation[np.diag_indices(k)] = 1.0
        factor = cholesky_semidefinite(correlation)
        free = [factor[i, j] / max(factor[i, i], 1e-12) for i, j in _below_diagonal(k)]
        return np.concatenate([log_sd, free])

    def to_report(self, theta: Floats, k: int) -> Floats:
        factor = self._correlation_factor(theta[k:], k)
        correlation = factor @ factor.T
        return np.concatenate(
            [np.exp(theta[:k]), [correlation[i, j] for i, j in _below_diagonal(k)]]
        )

    def report_jacobian(self, theta: Floats, k: int) -> Floats:
        size = self.num_params(k)
        jacobian = np.zeros((size, size))
        jacobian[range(k), range(k)] = np.exp(theta[:k])
        factor = self._correlation_factor(theta[k:], k)
        unit_sd = np.concatenate([np.zeros(k), theta[k:]])
        changes = self.cholesky_jacobian(unit_sd, k)
        for column in range(k, size):
            change = changes[column] @ factor.T
            change = change + change.T
            jacobian[k:, column] = [change[i, j] for i, j in _below_diagonal(k)]
        return jacobian

    def param_names(self, name: str, columns: Sequence[str]) -> list[str]:
        pairs = [f"cor({name}:{columns[j]},{columns[i]})" for i, j in _below_diagonal(len(columns))]
        return _sd_names(name, columns) + pairs

    def chart(self, scale: Floats) -> Chart:
        k = len(scale)
        basis = np.zeros((self.num_params(k), k, k))
        places = [(i, i) for i in range(k)] + _below_diagonal(k)
        for element, (i, j) in enumerate(places):
            basis[element, i, j] = 1.0 / scale[i]
        return LinearChart(basis)

    @staticmethod
    def _correlation_factor(free: Floats, k: int) -> Floats:
        factor = np.eye(k)
        for value, (i, j) in zip(free, _below_diagonal(k), strict=True):
            factor[i, j] = value
        return np.asarray(factor / np.linalg.norm(factor, axis=1, keepdims=True))


class Diagonal:
    """Independent coefficients, each with its own variance, or all with one (`homogeneous`)."""

    kind = "diag"

    def __init__(self, *, homogeneous: bool) -> None:
        self.homogeneous = homogeneous

    def num_params(self, k: int) -> int:
        return 1 if self.homogeneous else k

    def cholesky(self, theta: Floats, k: int) -> Floats:
        return np.asarray(np.diag(np.broadcast_to(np.exp(theta), (k,))))

    def cholesky_jacobian(self, theta: Floats, k: int) -> Floats:
        if self.homogeneous:
            return np.asarray(np.exp(theta[0]) * np.eye(k)[None])
        jacobian = np.zeros((k, k, k))
        jacobian[range(k), range(k), range(k)] = np.exp(theta)
        return jacobian

    def to_free(self, covariance: Floats) -> Floats:
        variances = np.diag(covariance)
        with np.errstate(divide="ignore"):
            logs: Floats = np.log(variances[:1] if self.homogeneous else variances)
        return 0.5 * logs

    def to_report(self, theta: Floats, k: int) -> Floats:
        return np.exp(theta)

    def report_jacobian(self, theta: Floats, k: int) -> Floats:
        return np.diag(np.exp(theta))

    def param_names(self, name: str, columns: Sequence[str]) -> list[str]:
        return [f"sd({name})"] if self.homogeneous else _sd_names(name, columns)

    def chart(self, scale: Floats) -> Chart:
        k = len(scale)
        if self.homogeneous:
            # One variance for all coefficients has one scale.
            return LinearChart(np.eye(k)[None] / np.sqrt(np.mean(scale**2)))
        basis = np.zeros((k, k, k))
        basis[range(k), range(k), range(k)] = 1.0 / scale
        return LinearChart(basis)


# (kind, homogeneous) -> structure. A single coefficient is "us" and needs no other.
STRUCTURES: dict[tuple[str, bool], Structure] = {
    ("us", False): Unstructured(),
    ("diag", False): Diagonal(homogeneous=False),
    ("diag", True): Diagonal(homogeneous=True),
}


def _below_diagonal(k: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(k) for j in range(i)]


def _sd_names(name: str, columns: Sequence[str]) -> list[str]:
    if tuple(columns) == ("Intercept",):
        return [f"sd({name})"]
    return [f"sd({name}:{column})" for column in columns]


def cholesky_semidefinite(matrix: Floats) -> Floats:
    """Cholesky factor of a positive semidefinite matrix: rows of zero variance stay zero below their pivot."""
    k = len(matrix)
    factor = np.zeros((k, k))
    for j in range(k):
        rest = matrix[j:, j] - factor[j:, :j] @ factor[j, :j]
        pivot = np.sqrt(max(rest[0], 0.0))
        factor[j, j] = pivot
        if pivot > 0:
            factor[j + 1 :, j] = rest[1:] / pivot
    return factor
