"""I - M^-1 and traces of products with it, against dense NumPy; with and without listed pairs."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.algebra.complement import complement
from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.factor import factorize
from lmeformula.algebra.incidence import find_incidence
from tests.algebra.plain import plain_products
from tests.simulate import FORMULAS, dense, make_design, random_lambdas

# Condition numbers here are below 1e4, so that solving loses at most four of sixteen digits.
SOLVED = {"rtol": 1e-9, "atol": 1e-10}


def problem(name: str, has_pairs: bool, lambdas=None):
    """(plan, lambdas, factor, dense H in the layout's order)."""
    design = make_design(name)
    plan = layout(design.terms)
    lambdas = lambdas or random_lambdas(design, np.random.default_rng(len(name)))
    ones = np.ones(design.n)
    products = find_incidence(plan).products(ones) if has_pairs else plain_products(plan, None)
    factor = factorize(plan, products, lambdas)
    matrices = dense(design)
    scaled = matrices.Z @ matrices.spread(design, lambdas)
    places = np.concatenate(
        [np.arange(plan.place(j).start, plan.place(j).stop) for j in range(len(plan.sizes))]
    )
    H = np.zeros((plan.num_effects,) * 2)
    product = scaled.T @ scaled
    H[np.ix_(places, places)] = np.linalg.solve(np.eye(len(product)) + product, product)
    return plan, lambdas, factor, H


CASES = [(name, has_pairs) for name in FORMULAS for has_pairs in (False, True)]


@pytest.mark.parametrize(("name", "has_pairs"), CASES)
def test_sums(name, has_pairs):
    plan, _, factor, H = problem(name, has_pairs)
    for j, (levels, k) in enumerate(plan.sizes):
        each = np.arange(levels)
        blocks = H[plan.place(j), plan.place(j)].reshape(levels, k, levels, k)[each, :, each, :]
        np.testing.assert_allclose(complement(factor).sums()[j], blocks.sum(axis=0), **SOLVED)


@pytest.mark.parametrize(("name", "has_pairs"), CASES)
def test_trace_products(name, has_pairs):
    plan, _, factor, H = problem(name, has_pairs)
    rng = np.random.default_rng(3)
    changes, whole = [], []
    for j, (levels, k) in enumerate(plan.sizes):
        raw = rng.normal(size=(2, k, k))
        changes.append(raw + raw.transpose(0, 2, 1))
        for change in changes[-1]:
            full = np.zeros_like(H)
            full[plan.place(j), plan.place(j)] = np.kron(np.eye(levels), change)
            whole.append(full)
    expected = [[np.trace(H @ a @ H @ b) for b in whole] for a in whole]
    found = complement(factor).trace_products(tuple(changes))
    np.testing.assert_allclose(found, expected, **SOLVED)
    np.testing.assert_allclose(found, found.T, rtol=1e-12)


@pytest.mark.parametrize("has_pairs", [False, True])
@pytest.mark.parametrize("name", ["two columns", "two columns rest", "three columns lead"])
def test_nearly_singular_factors_cost_no_digits(name, has_pairs):
    """H = Lambda' Q Lambda: what is divided by Lambda on both sides is the same at any small scale."""
    design = make_design(name)
    found = []
    for smallest in (1e-5, 1e-8):
        lambdas = []
        for term in design.terms:
            k = len(term.columns)
            factor = np.tril(np.full((k, k), 0.3)) + np.eye(k)
            if k > 1:
                factor[-1, -1] = smallest
            lambdas.append(factor)
        _, _, factor, _ = problem(name, has_pairs, tuple(lambdas))
        sums = complement(factor).sums()
        found.append(
            [
                np.linalg.solve(m.T, np.linalg.solve(m.T, total).T)
                for m, total in zip(lambdas, sums, strict=True)
            ]
        )
    for near, nearer in zip(*found, strict=True):
        np.testing.assert_allclose(near, nearer, rtol=1e-7)


@pytest.mark.parametrize("name", FORMULAS)
def test_listed_pairs_change_nothing(name):
    design = make_design(name)
    plan = layout(design.terms)
    weights = np.random.default_rng(1).uniform(0.5, 1.5, design.n)
    products, listed = plain_products(plan, weights), find_incidence(plan).products(weights)
    if not plan.rest:
        assert listed.pairs is None
        return
    rng = np.random.default_rng(2)
    levels, k = plan.sizes[plan.lead]
    raw = rng.normal(size=(levels, k, k))
    middles = raw + raw.transpose(0, 2, 1)
    matrix = rng.normal(size=products.rest.shape)
    matrix += matrix.T
    np.testing.assert_allclose(listed.gram(middles), products.gram(middles), atol=1e-11)
    np.testing.assert_allclose(listed.forms(matrix), products.forms(matrix), atol=1e-11)
    lambdas = random_lambdas(design, rng)
    one, other = factorize(plan, listed, lambdas), factorize(plan, products, lambdas)
    np.testing.assert_allclose(one.rest, other.rest, atol=1e-12)
    assert one.log_det == pytest.approx(other.log_det, rel=1e-13)
    for a, b in zip(one.inverse_traces(), other.inverse_traces(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
    for a, b in zip(one.inverse_blocks(), other.inverse_blocks(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
