"""One scalar grouping factor: the integral itself, by the trapezoid rule in stretched coordinates."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from truth.densities import Family, derivatives
from truth.matrices import Matrices

# Nodes sinh(t) around each mode: dense near it, and as far as any one-sided posterior goes.
STRETCH = np.arange(-50, 51) * 0.08


class Quadrature:
    """log of the product over levels of the integral of p(y_l | b) N(b; 0, sd^2)."""

    def __init__(self, parts: Matrices, family: Family, y: np.ndarray, trials: np.ndarray) -> None:
        assert [term.values.shape[1] for term in parts.effects] == [1]
        self.parts, self.family, self.y, self.trials = parts, family, y, trials
        self.term = parts.effects[0]

    def at(self, beta: np.ndarray, sd: float, own: np.ndarray) -> float:
        """The log-likelihood at any parameters."""
        term, base = self.term, self.parts.X @ beta + self.parts.offset
        z = sd * term.values[:, 0]
        u = np.zeros(term.levels)
        for _ in range(60):
            _, first, second = derivatives(
                self.family, self.y, self.trials, base + z * u[term.index], own
            )
            slope = self._sum(z * first) - u
            curvature = np.maximum(self._sum(-(z**2) * second), 0.0) + 1.0
            step = np.clip(slope / curvature, -1.0, 1.0)
            u = u + step
            if np.max(np.abs(step)) < 1e-6:
                break
        width = 1.0 / np.sqrt(curvature)
        nodes = u[:, None] + width[:, None] * np.sinh(STRETCH)
        rows = self.family.log_density(
            self.y[:, None],
            self.trials[:, None],
            base[:, None] + z[:, None] * nodes[term.index],
            own,
        )
        total = np.zeros_like(nodes)
        np.add.at(total, term.index, rows)
        total += -0.5 * nodes**2 - 0.5 * np.log(2 * np.pi) + np.log(np.cosh(STRETCH))
        step = STRETCH[1] - STRETCH[0]
        return float((logsumexp(total, axis=1) + np.log(step * width)).sum())

    def _sum(self, rows: np.ndarray) -> np.ndarray:
        return np.bincount(self.term.index, rows, minlength=self.term.levels)
