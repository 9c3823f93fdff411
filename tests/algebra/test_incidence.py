"""Cross products and leverages by incidence, against those by sparse products and by the whole inverse."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.algebra import incidence as module
from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.factor import Factor, factorize
from lmeformula.algebra.incidence import find_incidence
from lmeformula.algebra.inverse import loadings
from lmeformula.algebra.lambdas import apply_lambda
from tests.algebra.plain import plain_products
from tests.simulate import FORMULAS, make_design, random_lambdas


def dense_covariances(factor: Factor) -> list[np.ndarray]:
    """(n, k) of each term: M^-1 Lambda' Z' at the rows' own levels, from the whole of it."""
    plan, found = factor.plan, []
    whole = np.zeros((plan.num_effects, plan.matrices[0].shape[0]))
    for j, matrix in enumerate(plan.matrices):
        whole[plan.place(j)] = matrix.toarray().T
    whole = factor.solve(apply_lambda(plan, factor.lambdas, whole, transpose=True))
    for j, (matrix, (_, k)) in enumerate(zip(plan.matrices, plan.sizes, strict=True)):
        places = plan.starts[j] + matrix.indices.reshape(-1, k)
        found.append(whole[places, np.arange(len(places))[:, None]])
    return found


@pytest.mark.parametrize("kept", ["pairs", "all", "nothing"])
@pytest.mark.parametrize("name", FORMULAS)
def test_agrees_with_the_plain_way(name, kept, monkeypatch):
    monkeypatch.setattr(module, "FULL", 0.0 if kept == "all" else 2.0)
    if kept == "nothing":
        monkeypatch.setattr(module, "find_pattern", lambda *arguments: None)
    design = make_design(name)
    rng = np.random.default_rng(len(name))
    plan = layout(design.terms)
    lambdas = random_lambdas(design, rng)
    found = find_incidence(plan)
    assert found.pattern is None or kept == "pairs"
    assert (found.cells is not None) == (kept == "all" and len(plan.rest) > 0)
    # The same incidence serves all weights, some of them negative as away from a mode.
    for low in (0.2, -0.005):
        weights = rng.uniform(low, 2.0, design.n)
        ours, plain = found.products(weights), plain_products(plan, weights)
        scale = np.abs(plain.lead).max()
        np.testing.assert_allclose(ours.lead, plain.lead, atol=1e-13 * scale)
        np.testing.assert_allclose(ours.rest, plain.rest, atol=1e-13 * scale)
        difference = np.abs((ours.between - plain.between).toarray())
        assert difference.max(initial=0.0) <= 1e-13 * scale
        factor = factorize(plan, plain, lambdas)
        quick = found.factorize(weights, lambdas)
        assert quick.log_det == pytest.approx(factor.log_det, rel=1e-11, abs=1e-11)
        right = rng.normal(size=plan.num_effects)
        np.testing.assert_allclose(quick.solve(right), factor.solve(right), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(quick.leverages(), factor.leverages(), rtol=1e-8, atol=1e-10)
        dense = dense_covariances(factor)
        for one, other, known in zip(quick.covariances(), factor.covariances(), dense, strict=True):
            np.testing.assert_allclose(one, known, rtol=1e-8, atol=1e-10)
            np.testing.assert_allclose(other, known, rtol=1e-8, atol=1e-10)
        loads = loadings(plan, lambdas)
        together = sum(np.sum(a * b, axis=1) for a, b in zip(loads, dense, strict=True))
        np.testing.assert_allclose(quick.leverages(), together, rtol=1e-8, atol=1e-10)
        for one, other in zip(quick.inverse_traces(), factor.inverse_traces(), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)
