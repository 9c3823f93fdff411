"""The Gaussian log-likelihood in decimal arithmetic of many digits, for a handful of rows."""

from __future__ import annotations

from decimal import Decimal, getcontext, localcontext
from typing import Any

import numpy as np

DIGITS = 60
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


def log_likelihood(model: Any, psi: np.ndarray) -> float:
    """Of a compiled model at psi (d,), by Cholesky's method on the covariance of all rows."""
    params, design = model.space.to_natural(psi), model.design
    with localcontext() as context:
        context.prec = DIGITS
        y, X = _exact(design.y - design.offset), _exact(design.X)
        beta = _exact(params.beta)
        r = [
            a - sum((v * b for v, b in zip(row, beta, strict=True)), Decimal(0))
            for a, row in zip(y, X, strict=True)
        ]
        n = len(r)
        weights = _exact(np.ones(n) if design.weights is None else design.weights)
        V = [[Decimal(0)] * n for _ in range(n)]
        for i in range(n):
            V[i][i] = Decimal(float(params.residual_sd)) ** 2 / weights[i]
        for term, covariance in zip(design.terms, params.covariances, strict=True):
            Z, T = _exact(term.values), _exact(covariance)
            for i in range(n):
                for j in range(n):
                    if term.index[i] == term.index[j]:
                        V[i][j] += _dot(Z[i], [_dot(row, Z[j]) for row in T])
        total = n * (2 * PI).ln()
        done: list[Decimal] = []
        for i in range(n):
            for j in range(i + 1):
                inner = V[i][j] - sum((V[i][m] * V[j][m] for m in range(j)), Decimal(0))
                V[i][j] = inner.sqrt() if i == j else inner / V[j][j]
            done.append((r[i] - sum((V[i][m] * done[m] for m in range(i)), Decimal(0))) / V[i][i])
            total += 2 * V[i][i].ln() + done[i] ** 2
        assert getcontext().prec == DIGITS
        return float(-total / 2)


def _dot(left: list[Decimal], right: list[Decimal]) -> Decimal:
    return sum((a * b for a, b in zip(left, right, strict=True)), Decimal(0))


def _exact(values: Any) -> Any:
    if isinstance(values, np.ndarray):
        return [_exact(value) for value in values]
    return Decimal(float(values))
