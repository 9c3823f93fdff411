"""X = Q R of many columns by products, against what they multiply to; and where reflections take over."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.algebra import orthogonal as module
from lmeformula.algebra.orthogonal import orthogonal, triangle


def dummies(n: int, p: int, units: float = 0.0) -> np.ndarray:
    """An intercept, a covariate far from its origin, and a factor, in units over so many powers of ten."""
    rng = np.random.default_rng(4)
    levels = rng.integers(p - 1, size=n)
    X = np.column_stack(
        [np.ones(n), 30.0 + rng.normal(size=n), levels[:, None] == np.arange(1, p - 1)]
    )
    return X * 10.0 ** rng.uniform(-units, units, size=p)


@pytest.mark.parametrize("units", [0.0, 8.0])
def test_many_columns_by_products(units, monkeypatch):
    X = dummies(600, 60, units)

    def refused(*_, **__):
        raise AssertionError("by reflections")

    monkeypatch.setattr(np.linalg, "qr", refused)
    Q, R = orthogonal(X)
    np.testing.assert_allclose(Q.T @ Q, np.eye(60), atol=1e-14)
    np.testing.assert_array_equal(R, np.triu(R))
    size = np.linalg.norm(X, axis=0)
    np.testing.assert_allclose(Q @ R / size, X / size, atol=1e-14)
    np.testing.assert_allclose(triangle(X), R, rtol=1e-13, atol=1e-14 * size.max())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda X: X[:, :5],
        lambda X: X[:40],
        lambda X: np.column_stack([X, X[:, 3] + 1e-6 * X[:, 1]]),
        lambda X: np.column_stack([X, X[:, 3]]),
        lambda X: np.column_stack([X, np.zeros(len(X))]),
        lambda X: X * 1e200,
    ],
    ids=["few columns", "few rows", "nearly alike", "alike", "a column of zeros", "no squares"],
)
def test_by_reflections(spoil):
    X = spoil(dummies(600, 60))
    assert module._halves(X) is None
    Q, R = orthogonal(X)
    np.testing.assert_array_equal(R, np.linalg.qr(X, mode="r"))
    np.testing.assert_allclose(Q.T @ Q, np.eye(Q.shape[1]), atol=1e-13)
    np.testing.assert_array_equal(triangle(X), R)


@pytest.mark.parametrize("n", [200, 201, 203, 207, 250])
def test_many_rows_are_reflected_in_blocks(n, monkeypatch):
    X = dummies(n, 5, units=3.0)
    expected = np.linalg.qr(X)
    monkeypatch.setattr(module, "BLOCK_ROWS", 50)
    Q, R = orthogonal(X)
    signs = np.sign(np.diag(R) * np.diag(expected[1]))
    np.testing.assert_array_equal(R, np.triu(R))
    size = np.linalg.norm(X, axis=0)
    np.testing.assert_allclose(signs[:, None] * R / size, expected[1] / size, atol=1e-14)
    np.testing.assert_allclose(Q * signs, expected[0], atol=1e-13)
    np.testing.assert_allclose(Q.T @ Q, np.eye(5), atol=1e-14)
