"""Layouts and cross products against dense NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.algebra.crossproducts import layout, model_matrix
from lmeformula.algebra.incidence import find_incidence
from tests.simulate import FORMULAS, dense, make_design

# Sums of at most 72 products of numbers near 1: rounding is below 72 * 2**-52 of their size.
EXACT = {"rtol": 0.0, "atol": 1e-12}


def in_formula_order(plan) -> np.ndarray:
    """For each effect in formula order, its place in the layout."""
    return np.concatenate(
        [np.arange(plan.place(j).start, plan.place(j).stop) for j in range(len(plan.sizes))]
    )


@pytest.mark.parametrize("name", FORMULAS)
def test_layout(name):
    terms = make_design(name).terms
    plan = layout(terms)
    assert plan.sizes == tuple((len(term.levels), len(term.columns)) for term in terms)
    counts = [levels * k for levels, k in plan.sizes]
    assert counts[plan.lead] == max(counts) == plan.lead_size
    assert plan.place(plan.lead).start == 0
    assert sorted((plan.lead, *plan.rest)) == list(range(len(terms)))
    # Every place is taken once.
    assert sorted(in_formula_order(plan)) == list(range(plan.num_effects))


@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize("name", ["crossed, lead last", "three columns rest"])
def test_split_and_join_are_inverse(name, shape):
    plan = layout(make_design(name).terms)
    effects = np.arange(plan.num_effects * max(1, *shape, 1), dtype=float)
    effects = effects.reshape(plan.num_effects, *shape)
    parts = plan.split(effects)
    assert [part.shape for part in parts] == [(*size, *shape) for size in plan.sizes]
    np.testing.assert_array_equal(plan.join(parts), effects)


@pytest.mark.parametrize("name", FORMULAS)
def test_model_matrix(name):
    design = make_design(name)
    found = np.column_stack([model_matrix(term).toarray() for term in design.terms])
    np.testing.assert_array_equal(found, dense(design).Z)


@pytest.mark.parametrize("kind", ["none", "positive", "any sign"])
@pytest.mark.parametrize("name", FORMULAS)
def test_cross_products(name, kind):
    design = make_design(name)
    rng = np.random.default_rng(3)
    weights = {
        "none": None,
        "positive": rng.uniform(0.1, 2.0, design.n),
        "any sign": rng.normal(size=design.n),
    }[kind]
    plan = layout(design.terms)
    order = np.argsort(in_formula_order(plan))
    Z = dense(design).Z[:, order]
    expected = Z.T @ (Z if weights is None else weights[:, None] * Z)
    found = find_incidence(plan).products(np.ones(design.n) if weights is None else weights)
    size, (levels, k) = plan.lead_size, plan.sizes[plan.lead]
    lead = np.zeros((size, size))
    for level in range(levels):
        place = slice(level * k, (level + 1) * k)
        lead[place, place] = found.lead[level]
    np.testing.assert_allclose(lead, expected[:size, :size], **EXACT)
    np.testing.assert_allclose(found.between.toarray(), expected[:size, size:], **EXACT)
    np.testing.assert_allclose(found.rest, expected[size:, size:], **EXACT)
