"""Sparse cross products and the elimination of the lead term, against the dense factorization."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.algebra.conjugate import conjugate_gradients
from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.eliminated import eliminate
from lmeformula.algebra.factor import factorize
from lmeformula.algebra.sparseproducts import find_meetings, sparse_products
from tests.algebra.plain import plain_products
from tests.simulate import FORMULAS, dense, make_design, random_lambdas

CASES = [(name, weighted) for name in FORMULAS for weighted in (False, True)]


def both(name: str, weighted: bool):
    """(design, weights, sparse elimination, dense factor)."""
    design = make_design(name)
    rng = np.random.default_rng(len(name))
    weights = rng.uniform(0.2, 2.0, design.n) if weighted else None
    plan = layout(design.terms)
    lambdas = random_lambdas(design, rng)
    products = sparse_products(find_meetings(plan), weights)
    return (
        design,
        weights,
        eliminate(plan, products, lambdas),
        factorize(plan, plain_products(plan, weights), lambdas),
    )


@pytest.mark.parametrize(("name", "weighted"), CASES)
def test_products(name, weighted):
    design, weights, factor, _ = both(name, weighted)
    plan = factor.plan
    Z = dense(design).Z
    places = np.concatenate(
        [np.arange(plan.place(j).start, plan.place(j).stop) for j in range(len(plan.sizes))]
    )
    whole = np.zeros((plan.num_effects, plan.num_effects))
    whole[np.ix_(places, places)] = Z.T @ (Z if weights is None else weights[:, None] * Z)
    found = factor.products.times(np.eye(plan.num_effects))
    np.testing.assert_allclose(found, whole, atol=1e-12)


@pytest.mark.parametrize(("name", "weighted"), CASES)
def test_solves_as_the_dense_factor_does(name, weighted):
    _, _, factor, exact = both(name, weighted)
    right = np.random.default_rng(1).normal(size=(factor.plan.num_effects, 3))
    half = factor.lower(right)
    size = factor.plan.lead_size
    half[size:] = conjugate_gradients(factor.times, half[size:], np.full(3, 1e-13)).x
    np.testing.assert_allclose(factor.upper(half), exact.solve(right), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("name", "weighted"), CASES)
def test_what_is_left_has_unit_blocks_and_the_rest_of_the_determinant(name, weighted):
    _, _, factor, exact = both(name, weighted)
    A = factor.times(np.eye(factor.rest_size))
    np.testing.assert_allclose(A, A.T, atol=1e-12)
    for place, blocks in zip(factor.places(), factor.own, strict=True):
        k = blocks.shape[1]
        for start in range(place.start, place.stop, k):
            block = slice(start, start + k)
            np.testing.assert_allclose(A[block, block], np.eye(k), atol=1e-12)
    sign, log_det = np.linalg.slogdet(A)
    assert sign == 1.0
    assert factor.log_det + log_det == pytest.approx(exact.log_det, rel=1e-12)
    if "nested" in name:
        np.testing.assert_allclose(A, np.eye(len(A)), atol=1e-12)


@pytest.mark.parametrize(("name", "weighted"), CASES)
def test_base_blocks(name, weighted):
    _, _, factor, _ = both(name, weighted)
    lower = factor.lower(np.eye(factor.plan.num_effects))
    inverse = lower.T @ lower
    for j, found in enumerate(factor.base_blocks()):
        levels, k = factor.plan.sizes[j]
        square = inverse[factor.plan.place(j), factor.plan.place(j)].reshape(levels, k, levels, k)
        each = np.arange(levels)
        np.testing.assert_allclose(found, square[each, :, each, :], atol=1e-12)
