"""propto and equalto: a covariance that is known, or known up to its scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lmeformula.arrays import Floats, Mask, Tensor
from lmeformula.covariance.chart import SMALLEST, Chart, Escape, LinearChart
from lmeformula.covariance.structure import Correlations, cholesky_semidefinite, log_sds


class Known:
    """Sigma = s^2 A with a known matrix A, and s a parameter, or one.

    Args:
      matrix: (k, k) A, positive semidefinite.
      is_scaled: whether s is a parameter; theta is its logarithm.
    Example:
      >>> A = np.array([[1.0, 0.5], [0.5, 1.0]])
      >>> Known(A, is_scaled=True).cholesky(np.log([2.0]), 2).round(3).tolist()
      [[2.0, 0.0], [1.0, 1.732]]
      >>> Known(A, is_scaled=False).num_params(2)
      0
    """

    correlations: Correlations = "known"

    def __init__(self, matrix: Floats, *, is_scaled: bool) -> None:
        self.matrix, self.is_scaled = matrix, is_scaled
        self.kind = "propto" if is_scaled else "equalto"
        self.root = cholesky_semidefinite(matrix)

    def rank(self, k: int) -> int:
        return int((np.diag(self.root) > 0.0).sum())

    def least_correlation(self, k: int) -> float:
        return -1.0

    def tfp_correlation(self, start: Floats, dtype: str) -> tuple[Floats, Any]:
        raise NotImplementedError("correlations that are known")

    def tfp_factor(self, value: Tensor, k: int) -> Tensor:
        import tensorflow as tf

        known = tf.constant(self.root, value.dtype)
        return value * known if self.is_scaled else known

    def matrix_text(self, part: str, k: int) -> str:
        scale = f"stddev_{part}² " if self.is_scaled else ""
        return f"{scale}A, A the known {k} × {k} matrix"

    def matrix_latex(self, label: str, k: int) -> str:
        scale = rf"\sigma_{{{label}}}^2 A" if self.is_scaled else "A"
        return rf"{scale}, \quad A \text{{ the known }} {k} \times {k} \text{{ matrix}}"

    def num_params(self, k: int) -> int:
        return int(self.is_scaled)

    def num_sds(self, k: int) -> int:
        return int(self.is_scaled)

    def cholesky(self, theta: Floats, k: int) -> Floats:
        return np.asarray(np.exp(theta).prod() * self.root)

    def cholesky_jacobian(self, theta: Floats, k: int) -> Floats:
        return np.asarray(np.exp(theta)[:, None, None] * self.root)

    def to_free(self, covariance: Floats) -> Floats:
        share = np.trace(covariance) / np.trace(self.matrix)
        return log_sds(np.full(self.num_params(len(covariance)), share))

    def off_bounds(self, theta: Floats, k: int, sd: float | Floats) -> tuple[Floats, Mask]:
        inside = np.isfinite(theta)
        return np.where(inside, theta, np.log(np.mean(sd))), inside

    def to_report(self, theta: Floats, k: int) -> Floats:
        return np.exp(theta)

    def report_jacobian(self, theta: Floats, k: int) -> Floats:
        return np.diag(np.exp(theta))

    def labels(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        return [("sd", "")] * self.num_params(len(columns))

    def elements(self, k: int) -> Floats | None:
        return self.matrix[None] if self.is_scaled else None

    def chart(self, scale: Floats) -> Chart:
        if not self.is_scaled:
            return FixedChart(self.root)
        size = np.sqrt(np.mean(scale**2 * np.diag(self.matrix)))
        return _ScaleChart(self.root[None] / size)


class _ScaleChart(LinearChart):
    """One variance times a known matrix, which may be singular."""

    def falling(self, elements: Floats, slope: Floats, pull: Floats) -> Floats:
        # With slope = -K s B, B' K B is known where B has no inverse.
        by_scale = -float(np.vdot(slope, self.basis[0])) / float(elements[0])
        return np.array([[max(by_scale, 0.0)]])

    def escape(
        self, face: int, elements: Floats, score: Floats, slope: Floats, pull: Floats
    ) -> Escape:
        away = self.settle(elements)
        return Escape(away * 1e3, -float(np.vdot(pull @ self.basis[0], self.basis[0])))


class FixedChart:
    """A factor without elements.

    Args:
      root: (k, k) the factor, in units of `unit`.
      unit: what factors are relative to.
    """

    faces: tuple[Any, ...] = ()
    size = 0

    def __init__(self, root: Floats, unit: float = 1.0) -> None:
        self.root, self.unit = root, unit

    def over(self, unit: float) -> FixedChart:
        """The same relative to another unit."""
        return FixedChart(self.root, unit)

    def start(self, sd: float) -> Floats:
        return np.zeros(0)

    def near(self, factor: Floats) -> Floats:
        return np.zeros((*factor.shape[:-2], 0))

    def alternatives(self, start: Floats) -> tuple[Floats, ...]:
        return ()

    def settle(self, elements: Floats, least: float = SMALLEST) -> Floats:
        return elements

    def factor(self, elements: Floats) -> Floats:
        return np.asarray(self.root / self.unit)

    def jacobian(self, elements: Floats) -> Floats:
        return np.zeros((0, *self.root.shape))

    def falling(self, elements: Floats, slope: Floats, pull: Floats) -> Floats:
        return np.zeros((0, 0))

    def idle(self, elements: Floats) -> Mask:
        return np.zeros(0, bool)

    def rest(self, face: int, elements: Floats) -> Floats:
        raise NotImplementedError("no face")

    def escape(
        self, face: int, elements: Floats, score: Floats, slope: Floats, pull: Floats
    ) -> Escape:
        raise NotImplementedError("no face")
