"""A covariance of which an equal share of each variance stands as a residual.

Where effects account for each row by itself, V = Z Sigma Z' + ... has no residual. It is the same with
Sigma - s^2 I for the effects and a residual standard deviation s, for any s^2 below the least eigenvalue of
Sigma: so it is worked out by what takes a residual, without a digit lost to a small one. The parameters stay
those of Sigma.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from scipy.linalg import lapack

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.covariance.chart import SMALLEST, Chart, Escape, LinearChart
from lmeformula.covariance.known import FixedChart
from lmeformula.covariance.structure import Structure


def less_residual(structure: Structure, variance: float) -> Structure:
    """A structure's covariances less a share of each variance, with the structure's parameters.

    Args:
      structure: of the whole covariance.
      variance: the share s^2; where the covariance has no more than that in some direction there is no factor.
    Example:
      >>> from lmeformula.covariance.diagonal import Diagonal
      >>> less_residual(Diagonal(homogeneous=True), 0.75).cholesky(np.zeros(1), 2).tolist()
      [[0.5, 0.0], [0.0, 0.5]]
    """
    return cast(Structure, _LessResidual(structure, variance))


class _LessResidual:
    def __init__(self, structure: Structure, variance: float) -> None:
        self.structure, self.variance = structure, variance

    def __getattr__(self, name: str) -> Any:
        # What is of the parameters alone: names, bounds, reports.
        return getattr(self.structure, name)

    def cholesky(self, theta: Floats, k: int) -> Floats:
        return _less(self.structure.cholesky(theta, k), self.variance)

    def cholesky_jacobian(self, theta: Floats, k: int) -> Floats:
        whole, changes = (
            self.structure.cholesky(theta, k),
            self.structure.cholesky_jacobian(theta, k),
        )
        return _changes(_less(whole, self.variance), whole, changes)

    def to_free(self, covariance: Floats) -> Floats:
        return self.structure.to_free(covariance + self.variance * np.eye(len(covariance)))

    def chart(self, scale: Floats) -> Chart:
        inner = self.structure.chart(scale)
        if isinstance(inner, FixedChart):
            return FixedChart(_less(inner.root, self.variance))
        # What is linear is closed under it: variances that are each their own, or all one.
        is_closed = isinstance(inner, LinearChart) and self.structure.correlations != "known"
        return inner if is_closed else _Chart(inner)


class _Chart:
    """Relative factors of F F' - I, F those of another chart. None of its faces is within reach."""

    faces: tuple[Ints, ...] = ()

    def __init__(self, inner: Chart) -> None:
        self.inner = inner

    @property
    def size(self) -> int:
        return self.inner.size

    def start(self, sd: float) -> Floats:
        return self.near(self.inner.factor(self.inner.start(sd)))

    def near(self, factor: Floats) -> Floats:
        whole = factor @ factor.T + np.eye(len(factor))
        return self.inner.near(np.asarray(np.linalg.cholesky(whole), float))

    def alternatives(self, start: Floats) -> tuple[Floats, ...]:
        return self.inner.alternatives(start)

    def settle(self, elements: Floats, least: float = SMALLEST) -> Floats:
        return self.inner.settle(elements, least)

    def factor(self, elements: Floats) -> Floats:
        return _less(self.inner.factor(elements), 1.0)

    def jacobian(self, elements: Floats) -> Floats:
        whole = self.inner.factor(elements)
        return _changes(_less(whole, 1.0), whole, self.inner.jacobian(elements))

    def falling(self, elements: Floats, slope: Floats, pull: Floats) -> Floats:
        # In the covariance the two charts differ by a constant, and the pull is the same.
        return self.inner.falling(elements, -pull @ self.inner.factor(elements), pull)

    def idle(self, elements: Floats) -> Mask:
        return self.inner.idle(elements)

    def rest(self, face: int, elements: Floats) -> Floats:
        raise NotImplementedError("no face is within reach")

    def escape(
        self, face: int, elements: Floats, score: Floats, slope: Floats, pull: Floats
    ) -> Escape:
        raise NotImplementedError("no face is within reach")


def _less(factor: Floats, variance: float) -> Floats:
    return np.asarray(np.linalg.cholesky(factor @ factor.T - variance * np.eye(len(factor))), float)


def _changes(less: Floats, whole: Floats, changes: Floats) -> Floats:
    """(t, k, k) derivatives of the factor L of S = F F' - v I: L times the lower half of L^-1 dS L'^-1."""
    inverse = lapack.dtrtri(less, lower=1)[0]
    turned = inverse @ (changes @ whole.T) @ inverse.T
    lower = np.tril(turned + turned.transpose(0, 2, 1))
    k = len(less)
    lower[:, range(k), range(k)] *= 0.5
    return np.asarray(less @ lower)
