"""Conjugate gradients for several sides at once, against dense solutions, and the quadrature they leave."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.algebra.conjugate import conjugate_gradients


def matrix(size: int, rng: np.random.Generator, condition: float = 100.0) -> np.ndarray:
    """A positive definite matrix of a given condition number."""
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    return (basis * np.geomspace(1.0, condition, size)) @ basis.T


def test_solves_columns_that_converge_at_different_times():
    rng = np.random.default_rng(0)
    A = matrix(60, rng)
    vectors = np.linalg.eigh(A)[1]
    # An eigenvector takes one iteration, a mixture of three some three, noise many; zero takes none.
    right = np.column_stack(
        [vectors[:, 0], vectors[:, :3].sum(axis=1), rng.normal(size=60), np.zeros(60)]
    )
    found = conjugate_gradients(lambda x: A @ x, right, np.full(4, 1e-12))
    assert found.converged
    np.testing.assert_allclose(found.x, np.linalg.solve(A, right), atol=1e-10)
    np.testing.assert_allclose(found.product, A @ right, atol=1e-12)
    lengths = [len(diagonal) for diagonal in found.diagonals]
    assert lengths[0] == 1
    assert 3 <= lengths[1] < lengths[2]
    assert lengths[3] == 0
    residual = np.linalg.norm(A @ found.x - right, axis=0)[:3] / np.linalg.norm(right, axis=0)[:3]
    # What was left is added: of a residual r it leaves (I - A) r.
    assert (residual < 2e-12 * np.abs(np.linalg.eigvalsh(A) - 1.0).max()).all()


def test_is_exact_where_the_matrix_is_the_identity():
    """However loosely the rest is solved: what divides by a vanishing variance is not of this residual."""
    rng = np.random.default_rng(4)
    A = np.eye(60)
    A[:40, :40] = matrix(40, rng, condition=100.0)
    right = rng.normal(size=(60, 2))
    found = conjugate_gradients(lambda x: A @ x, right, np.full(2, 1e-3))
    assert (found.residual > 1e-6).all()
    np.testing.assert_allclose(found.x[40:], right[40:], rtol=1e-14, atol=1e-14)


def test_each_column_has_its_own_tolerance():
    rng = np.random.default_rng(1)
    A = matrix(50, rng)
    right = rng.normal(size=(50, 2))
    found = conjugate_gradients(lambda x: A @ x, right, np.array([1e-2, 1e-10]))
    assert found.residual[0] < 1e-2
    assert found.residual[1] < 1e-10
    assert len(found.diagonals[0]) < len(found.diagonals[1])


def test_says_when_it_did_not_converge():
    rng = np.random.default_rng(2)
    A = matrix(50, rng, condition=1e6)
    found = conjugate_gradients(lambda x: A @ x, rng.normal(size=(50, 1)), np.array([1e-12]), 5)
    assert not found.converged
    assert found.residual[0] > 1e-12


@pytest.mark.parametrize(
    "function", [np.log, np.sqrt, lambda x: 1.0 / x], ids=["log", "sqrt", "inverse"]
)
def test_quadrature_is_that_of_the_whole_spectrum(function):
    rng = np.random.default_rng(3)
    A = matrix(40, rng, condition=10.0)
    values, vectors = np.linalg.eigh(A)
    right = rng.normal(size=(40, 3))
    found = conjugate_gradients(lambda x: A @ x, right, np.full(3, 1e-14))
    exact = ((vectors.T @ right) ** 2 * function(values)[:, None]).sum(axis=0)
    np.testing.assert_allclose(found.quadrature(function), exact, rtol=1e-10)


def test_nothing_to_solve():
    found = conjugate_gradients(lambda x: x, np.zeros((0, 2)), np.full(2, 1e-8))
    assert found.converged
    assert found.x.shape == (0, 2)
    assert found.quadrature(np.log).tolist() == [0.0, 0.0]
