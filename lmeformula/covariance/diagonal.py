"""diag: independent coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lmeformula.arrays import Floats, Mask, Tensor
from lmeformula.covariance.chart import Chart, LinearChart
from lmeformula.covariance.structure import Correlations, log_sds


class Diagonal:
    """Independent coefficients, each with its own variance, or all with one.

    Args:
      homogeneous: one variance for all; theta is its log sd.
    Example:
      >>> Diagonal(homogeneous=True).cholesky(np.log([3.0]), 2).tolist()
      [[3.0000000000000004, 0.0], [0.0, 3.0000000000000004]]
    """

    kind = "diag"
    correlations: Correlations = "none"

    def least_correlation(self, k: int) -> float:
        return 0.0

    def tfp_correlation(self, start: Floats, dtype: str) -> tuple[Floats, Any]:
        raise NotImplementedError("coefficients without correlations")

    def tfp_factor(self, value: Tensor, k: int) -> Tensor:
        raise NotImplementedError("coefficients without correlations")

    def matrix_text(self, part: str, k: int) -> str:
        raise NotImplementedError("coefficients without correlations")

    def matrix_latex(self, label: str, k: int) -> str:
        raise NotImplementedError("coefficients without correlations")

    def __init__(self, *, homogeneous: bool) -> None:
        self.homogeneous = homogeneous

    def rank(self, k: int) -> int:
        return k

    def num_params(self, k: int) -> int:
        return 1 if self.homogeneous else k

    def num_sds(self, k: int) -> int:
        return self.num_params(k)

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
        return log_sds(variances[:1] if self.homogeneous else variances)

    def off_bounds(self, theta: Floats, k: int, sd: float | Floats) -> tuple[Floats, Mask]:
        inside = np.isfinite(theta)
        return np.where(inside, theta, np.log(sd)), inside

    def to_report(self, theta: Floats, k: int) -> Floats:
        return np.exp(theta)

    def report_jacobian(self, theta: Floats, k: int) -> Floats:
        return np.diag(np.exp(theta))

    def labels(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        return [("sd", "")] if self.homogeneous else [("sd", column) for column in columns]

    def elements(self, k: int) -> Floats:
        each: Floats = np.array([np.diag(row) for row in np.eye(k)])
        return each.sum(axis=0)[None] if self.homogeneous else each

    def chart(self, scale: Floats) -> Chart:
        k = len(scale)
        if self.homogeneous:
            # One variance for all coefficients has one scale.
            return LinearChart(np.eye(k)[None] / np.sqrt(np.mean(scale**2)))
        basis = np.zeros((k, k, k))
        basis[range(k), range(k), range(k)] = 1.0 / scale
        return LinearChart(basis)
