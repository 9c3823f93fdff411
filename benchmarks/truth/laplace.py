"""The Laplace approximation, dense: mode and curvature of the effects of all rows at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg as sl

from truth.densities import Family, derivatives
from truth.matrices import Matrices


class Laplace:
    """log integral of p(y | b) N(b; 0, Sigma), approximated at the mode of b.

    Attributes:
      u: the last mode, where the next search starts.
    """

    def __init__(self, parts: Matrices, family: Family, y: np.ndarray, trials: np.ndarray) -> None:
        self.parts, self.family, self.y, self.trials = parts, family, y, trials
        self.dense = tuple(term.dense for term in parts.effects)
        self.u = np.zeros(sum(each.shape[1] for each in self.dense))

    def at(self, beta: np.ndarray, matrices: Sequence[np.ndarray], own: np.ndarray) -> float:
        """The approximation at any parameters; minus infinity where there is no mode."""
        A = np.hstack(
            [
                Z @ np.kron(np.eye(term.levels), root(matrix))
                for Z, term, matrix in zip(self.dense, self.parts.effects, matrices, strict=True)
            ]
        )
        base = self.parts.X @ beta + self.parts.offset
        for start in (self.u, np.zeros_like(self.u)):
            found = self.mode(A, base, own, start)
            if found is not None:
                self.u, value, curvature = found
                H = (A * curvature[:, None]).T @ A + np.eye(A.shape[1])
                try:
                    factor = sl.cholesky(H, lower=True)
                except np.linalg.LinAlgError:
                    continue
                return value - float(np.log(np.diag(factor)).sum())
        return -np.inf

    def mode(
        self, A: np.ndarray, base: np.ndarray, own: np.ndarray, u: np.ndarray
    ) -> tuple[np.ndarray, float, np.ndarray] | None:
        """The mode, the log joint density there without its constant, and the rows' curvature."""

        def look(at: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
            values, first, second = derivatives(
                self.family, self.y, self.trials, base + A @ at, own
            )
            return float(values.sum() - 0.5 * at @ at), first, -second

        value, first, curvature = look(u)
        for _ in range(100):
            if not (
                np.isfinite(value) and np.isfinite(first).all() and np.isfinite(curvature).all()
            ):
                return None
            slope = A.T @ first - u
            # Rows that bend the wrong way do not steer; the mode is the same.
            H = (A * np.maximum(curvature, 0.0)[:, None]).T @ A + np.eye(len(u))
            try:
                step = sl.solve(H, slope, assume_a="pos")
            except np.linalg.LinAlgError:
                # Curvatures of 1e300, far from any mode.
                return None
            if slope @ step < 1e-22 * max(1.0, abs(value)):
                return u + step, value, curvature
            length = 1.0
            while True:
                there, first_there, curvature_there = look(u + length * step)
                if np.isfinite(there) and there >= value - 1e-13 * abs(value):
                    break
                length *= 0.5
                if length < 1e-8:
                    return (u, value, curvature) if slope @ step < 1e-9 else None
            u, value, first, curvature = u + length * step, there, first_there, curvature_there
        return None


def root(matrix: np.ndarray) -> np.ndarray:
    """L with L L' = matrix, which may be singular."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0.0))
