"""M without a dense block behind the names of its dense factor, against that factor."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import block_diag

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.factor import factorize
from lmeformula.algebra.probed import factor_iteratively
from lmeformula.algebra.sparseproducts import find_meetings, sparse_products
from tests.algebra.plain import plain_products, random_signs

FORMULAS = {
    "crossed": "y ~ 1 + (1 | g) + (1 | h)",
    "a small term": "y ~ 1 + (1 | g) + (1 | h) + (1 | d)",
    "slopes": "y ~ 1 + (x | g) + (x | h)",
    "slopes apart": "y ~ 1 + (1 | g) + (x || h)",
    "nested": "y ~ 1 + (1 | h / g)",
    "one term": "y ~ 1 + (x | g)",
}


def both(name: str, num_probes: int):
    """(probed, dense factor) of 900 rows."""
    rng = np.random.default_rng(7)
    n = 900
    data = {name: rng.integers(0, size, n) for name, size in (("g", 80), ("h", 50), ("d", 6))}
    design = lf.design(FORMULAS[name], data | {"x": rng.normal(size=n), "y": rng.normal(size=n)})
    plan = layout(design.terms)
    weights = rng.uniform(0.5, 2.0, n)
    lambdas = tuple(0.7 * np.eye(k) + 0.2 * np.tril(rng.normal(size=(k, k))) for _, k in plan.sizes)
    signs = random_signs(plan, num_probes, 3)
    found = factor_iteratively(sparse_products(find_meetings(plan), weights), lambdas, signs)
    return found, factorize(plan, plain_products(plan, weights), lambdas)


@pytest.mark.parametrize("name", FORMULAS)
def test_solves(name):
    found, exact = both(name, 2)
    rng = np.random.default_rng(1)
    for right in (
        rng.normal(size=found.plan.num_effects),
        rng.normal(size=(found.plan.num_effects, 3)),
    ):
        np.testing.assert_allclose(found.solve(right), exact.solve(right), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", FORMULAS)
def test_leverages_are_unbiased_row_by_row(name):
    found, exact = both(name, 100)
    truth = exact.leverages()
    each = np.array(list(found.leverages_by_probe()))
    np.testing.assert_allclose(each.mean(axis=0), found.leverages(), rtol=1e-10)
    error = each.std(axis=0, ddof=1) / 10.0
    distance = np.abs(found.leverages() - truth)
    if name in ("nested", "one term"):
        np.testing.assert_allclose(found.leverages(), truth, rtol=1e-8)
        return
    # 900 rows: five errors are exceeded with probability 5e-4 by the normal distribution.
    assert (distance < 5.0 * error).all()
    assert 0.8 < np.sqrt(np.mean((distance / error) ** 2)) < 1.25
    assert (error < 0.02 * truth).all()


@pytest.mark.parametrize("name", FORMULAS)
def test_whitening_is_what_it_says(name):
    """L diag(I, B^-2) L' written out: its determinant, the traces of its inverse, and M near it."""
    found, _ = both(name, 2)
    factor, plan, white = found.eliminated, found.plan, found.near()
    size = plan.num_effects
    lower = np.linalg.inv(factor.lower(np.eye(size)))
    rest = factor.rest_size
    B = np.eye(rest) + white.directions @ white.stretch @ white.directions.T
    near = lower @ block_diag(np.eye(size - rest), np.linalg.inv(B @ B)) @ lower.T
    assert white.log_det == pytest.approx(np.linalg.slogdet(near)[1], rel=1e-9)
    inverse = np.linalg.inv(near)
    for j, (trace, (levels, k)) in enumerate(zip(white.inverse_traces(), plan.sizes, strict=True)):
        square = inverse[plan.place(j), plan.place(j)].reshape(levels, k, levels, k)
        np.testing.assert_allclose(trace, np.einsum("lalb->ab", square), rtol=1e-8)
    A = factor.times(np.eye(rest))
    left = np.linalg.eigvalsh(B @ A @ B)
    # What sampling has to cope with; without the directions some eigenvalue is below 0.1 where terms cross.
    assert left.min(initial=1.0) > 0.3
    assert left.max(initial=1.0) < 2.5
