"""Second derivatives of a log determinant in blocks, against differences of dense ones."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.algebra.cells import cells_of
from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.determinant import determinant_bend, is_small
from lmeformula.algebra.incidence import find_incidence

FORMULAS = (
    "y ~ x + (1 | g)",
    "y ~ x + (x | g)",
    "y ~ x + (x | g) + (1 | h)",
    "y ~ x + (1 | g) + (x | h) + (1 | g:h)",
    "y ~ x + (1 | g / k)",
    "y ~ x + (x | g / k)",
)


def table() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    n = 60
    g = rng.integers(9, size=n)
    return {
        "y": rng.normal(size=n),
        "x": rng.normal(size=n),
        "g": g,
        "h": rng.integers(4, size=n),
        "k": rng.integers(2, size=n),
    }


@pytest.mark.parametrize("formula", FORMULAS)
def test_it_is_the_second_derivative_of_the_dense_one(formula):
    model = lf.compile(lf.design(formula, table()))
    plan, rng = layout(model.stack.terms), np.random.default_rng(7)
    n, m = len(model.design.y), 4
    # Some weights are negative, as those of densities that are not concave; M is definite for all that.
    weights, moved = rng.uniform(-0.1, 2.0, n), rng.normal(size=(n, m))
    lambdas = tuple(np.tril(0.5 + rng.uniform(size=(k, k))) for _, k in plan.sizes)
    changes = tuple(rng.normal(size=(m, k, k)) for _, k in plan.sizes)
    factor = find_incidence(plan).factorize(weights, lambdas)
    found = determinant_bend(factor, cells_of(plan), tuple(factor.met()), weights, changes, moved)
    whole = np.zeros((n, plan.num_effects))
    for j, matrix in enumerate(plan.matrices):
        whole[:, plan.place(j)] = matrix.toarray()

    def value(step: np.ndarray) -> float:
        there = np.zeros((plan.num_effects, plan.num_effects))
        for j, (levels, _) in enumerate(plan.sizes):
            own = lambdas[j] + np.tensordot(step, changes[j], 1)
            there[plan.place(j), plan.place(j)] = np.kron(np.eye(levels), own)
        loads = whole @ there
        M = loads.T @ ((weights + moved @ step)[:, None] * loads) + np.eye(len(there))
        return -0.5 * np.linalg.slogdet(M)[1]

    # Rounding of values of about 50 is 1e-14, and 1e-6 over the squared step; as is its square.
    length, expected = 1e-4, np.empty((m, m))
    for i, j in np.ndindex(m, m):
        a, b = length * np.eye(m)[i], length * np.eye(m)[j]
        ends = value(a + b) - value(a - b) - value(b - a) + value(-a - b)
        expected[i, j] = ends / (4.0 * length**2)
    np.testing.assert_allclose(found, expected, atol=2e-6 * max(1.0, np.abs(expected).max()))


def test_many_effects_of_the_rest_or_many_directions_are_left_to_differences():
    plan = layout(lf.compile(lf.design(FORMULAS[2], table())).stack.terms)
    assert is_small(plan, 10)
    assert not is_small(plan, 10**6)
