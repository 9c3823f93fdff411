"""The block factorization of M = Lambda' Z'WZ Lambda + I against dense NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.algebra.crossproducts import (
    block_diagonal,
    block_rows,
    layout,
)
from lmeformula.algebra.factor import factorize
from lmeformula.algebra.lambdas import apply_lambda
from tests.algebra.plain import plain_products
from tests.simulate import FORMULAS, dense, make_design, random_lambdas

# Condition numbers here are below 1e4, so that solving loses at most four of sixteen digits.
SOLVED = {"rtol": 1e-10, "atol": 1e-11}


def problem(name: str, weighted: bool):
    """(plan, lambdas, factor, dense M in the layout's order)."""
    design = make_design(name)
    rng = np.random.default_rng(len(name))
    weights = rng.uniform(0.2, 2.0, design.n) if weighted else None
    plan = layout(design.terms)
    lambdas = random_lambdas(design, rng)
    factor = factorize(plan, plain_products(plan, weights), lambdas)
    matrices = dense(design)
    scaled = matrices.Z @ matrices.spread(design, lambdas)
    product = scaled.T @ (scaled if weights is None else weights[:, None] * scaled)
    # From formula order to the layout's.
    places = np.concatenate(
        [np.arange(plan.place(j).start, plan.place(j).stop) for j in range(len(plan.sizes))]
    )
    M = np.zeros_like(product)
    M[np.ix_(places, places)] = product + np.eye(len(product))
    return plan, lambdas, factor, M


CASES = [(name, weighted) for name in FORMULAS for weighted in (False, True)]


@pytest.mark.parametrize(("name", "weighted"), CASES)
def test_log_det(name, weighted):
    _, _, factor, M = problem(name, weighted)
    sign, expected = np.linalg.slogdet(M)
    assert sign == 1.0
    assert factor.log_det == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("name", "weighted"), CASES)
def test_solves(name, weighted):
    plan, _, factor, M = problem(name, weighted)
    rng = np.random.default_rng(1)
    for right in (rng.normal(size=plan.num_effects), rng.normal(size=(plan.num_effects, 3))):
        np.testing.assert_allclose(factor.solve(right), np.linalg.solve(M, right), **SOLVED)
        half = factor.solve_lower(right)
        # L^-1 is a square root of M^-1, and the two halves make the whole.
        np.testing.assert_allclose(half.T @ half, right.T @ np.linalg.solve(M, right), **SOLVED)
        np.testing.assert_allclose(factor.solve_upper(half), factor.solve(right), **SOLVED)


@pytest.mark.parametrize(("name", "weighted"), CASES)
def test_lower_is_triangular_in_the_order_of_elimination(name, weighted):
    plan, _, factor, M = problem(name, weighted)
    inverse = factor.solve_lower(np.eye(plan.num_effects))
    assert np.abs(np.triu(inverse, 1)).max() < 1e-14  # the small blocks are inverted by LU
    np.testing.assert_allclose(inverse @ M @ inverse.T, np.eye(plan.num_effects), atol=1e-10)


@pytest.mark.parametrize(("name", "weighted"), CASES)
def test_inverse_blocks_and_traces(name, weighted):
    plan, _, factor, M = problem(name, weighted)
    inverse = np.linalg.inv(M)
    blocks, traces = factor.inverse_blocks(), factor.inverse_traces()
    for j, (levels, k) in enumerate(plan.sizes):
        square = inverse[plan.place(j), plan.place(j)].reshape(levels, k, levels, k)
        expected = square[np.arange(levels), :, np.arange(levels), :]
        np.testing.assert_allclose(blocks[j], expected, **SOLVED)
        np.testing.assert_allclose(traces[j], expected.sum(axis=0), **SOLVED)


@pytest.mark.parametrize("name", FORMULAS)
def test_apply_lambda(name):
    plan, lambdas, _, _ = problem(name, False)
    rng = np.random.default_rng(2)
    blocks = {j: np.kron(np.eye(levels), lambdas[j]) for j, (levels, _) in enumerate(plan.sizes)}
    full = np.zeros((plan.num_effects, plan.num_effects))
    for j, block in blocks.items():
        full[plan.place(j), plan.place(j)] = block
    for shape in ((), (2,)):
        columns = rng.normal(size=(plan.num_effects, *shape))
        rest = columns[plan.lead_size :]
        for transpose, matrix in ((False, full), (True, full.T)):
            found = apply_lambda(plan, lambdas, columns, transpose=transpose)
            np.testing.assert_allclose(found, matrix @ columns, **SOLVED)
            found = apply_lambda(plan, lambdas, rest, transpose=transpose, rest_only=True)
            corner = matrix[plan.lead_size :, plan.lead_size :]
            np.testing.assert_allclose(found, corner @ rest, **SOLVED)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_block_diagonal_and_rows(k):
    import scipy.linalg as sl
    import scipy.sparse as sp

    rng = np.random.default_rng(k)
    blocks = rng.normal(size=(4, k, k))
    expected = sl.block_diag(*blocks)
    np.testing.assert_array_equal(block_diagonal(blocks).toarray(), expected)
    matrix = sp.csr_array(sp.random(4 * k, 5, 0.5, random_state=rng, format="csr"))
    np.testing.assert_allclose(
        block_rows(blocks, matrix).toarray(), expected @ matrix.toarray(), **SOLVED
    )


@pytest.mark.parametrize("name", ["one term", "crossed", "two columns"])
def test_an_indefinite_matrix_is_refused(name):
    design = make_design(name)
    plan = layout(design.terms)
    products = plain_products(plan, np.full(design.n, -10.0))
    lambdas = tuple(np.eye(len(term.columns)) for term in design.terms)
    with pytest.raises(np.linalg.LinAlgError):
        factorize(plan, products, lambdas)


@pytest.mark.parametrize("name", ["crossed", "two columns rest"])
def test_zero_factors_are_an_ordinary_point(name):
    # A variance of zero: M is the identity there, and nothing is divided by the factor.
    design = make_design(name)
    plan = layout(design.terms)
    lambdas = tuple(np.zeros((len(t.columns),) * 2) for t in design.terms)
    factor = factorize(plan, plain_products(plan, None), lambdas)
    right = np.random.default_rng(4).normal(size=plan.num_effects)
    assert factor.log_det == 0.0
    np.testing.assert_array_equal(factor.solve(right), right)
    for (levels, k), trace in zip(plan.sizes, factor.inverse_traces(), strict=True):
        np.testing.assert_array_equal(trace, levels * np.eye(k))
