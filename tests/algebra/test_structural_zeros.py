"""Where elements can meet is the design's to say: sums that are zero by chance, against dense algebra."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.algebra.complement import complement
from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.factor import factorize
from lmeformula.algebra.incidence import find_incidence
from lmeformula.design.design import TermBlock
from tests.algebra.plain import plain_products

SEEDS = range(60)


def random_terms(r: np.random.Generator, n: int) -> tuple[TermBlock, ...]:
    """Terms that share factors, nest, cross, and whose columns cancel or vanish within levels."""
    groups = {"g": np.repeat(np.arange(n // 4), 4)[r.permutation(n)] if r.random() < 0.5 else None}
    groups["g"] = np.arange(n) // 4 if groups["g"] is None else groups["g"]
    groups["h"] = r.integers(0, 5, n)
    groups["g:h"] = np.unique(groups["g"] * 5 + groups["h"], return_inverse=True)[1]
    terms = []
    for number in range(r.integers(2, 5)):
        name = str(r.choice(list(groups)))
        k = int(r.integers(1, 4))
        kind = r.integers(0, 4)
        values = np.ones((n, k))
        if kind == 1:
            values = np.tile([[-0.5], [0.5]], (n // 2, k))
        elif kind == 2:
            values = r.integers(-1, 2, (n, k)).astype(float)
        elif kind == 3:
            # Indicators: zero in most rows.
            values = np.eye(k)[r.integers(0, k, n)]
        index = groups[name].astype(np.int32)
        levels = tuple(map(str, range(int(index.max()) + 1)))
        columns = tuple(f"c{a}" for a in range(k))
        terms.append(TermBlock(f"{name}.{number}", columns, values, name, (name,), levels, index))
    return tuple(terms)


def dense_z(plan) -> np.ndarray:
    """(n, q) in the order of the layout."""
    order = (plan.lead, *plan.rest)
    return np.hstack([plan.matrices[j].toarray() for j in order])


@pytest.mark.parametrize("weighted", ["ones", "zeros among them", "negative among them"])
@pytest.mark.parametrize("seed", SEEDS)
def test_factors_are_those_of_dense_algebra(seed, weighted):
    r = np.random.default_rng(seed)
    n = 4 * int(r.integers(6, 12))
    terms = random_terms(r, n)
    plan = layout(terms)
    weights = np.ones(n)
    if weighted == "zeros among them":
        weights = r.integers(0, 3, n).astype(float)
    elif weighted == "negative among them":
        weights = np.where(r.random(n) < 0.1, -0.01, 1.0)
    lambdas = tuple(np.tril(r.normal(size=(len(t.columns),) * 2)) for t in terms)
    Z, q = dense_z(plan), plan.num_effects
    spread = np.zeros((q, q))
    for j, (levels, k) in enumerate(plan.sizes):
        spread[plan.place(j), plan.place(j)] = np.kron(np.eye(levels), lambdas[j])
        assert (levels, k) == (len(terms[j].levels), len(terms[j].columns))
    M = spread.T @ (Z.T * weights) @ Z @ spread + np.eye(q)
    if np.linalg.eigvalsh(M)[0] <= 1e-6:
        return
    inverse = np.linalg.inv(M)
    right = r.normal(size=(q, 2))
    incidence = find_incidence(plan)
    ways = {
        "listed": incidence.factorize(weights, lambdas),
        "plain": factorize(plan, plain_products(plan, weights), lambdas),
        "without": factorize(plan, incidence.products(weights), lambdas),
    }
    close = {"rtol": 1e-7, "atol": 1e-8}
    for name, factor in ways.items():
        assert factor.log_det == pytest.approx(np.linalg.slogdet(M)[1], rel=1e-9, abs=1e-9), name
        np.testing.assert_allclose(factor.solve(right), inverse @ right, **close)
        leverages = np.einsum("nq,qr,nr->n", Z @ spread, inverse, Z @ spread)
        np.testing.assert_allclose(factor.leverages(), leverages, **close)
        sums = complement(factor).sums()
        for j, (traces, blocks) in enumerate(
            zip(factor.inverse_traces(), factor.inverse_blocks(), strict=True)
        ):
            levels, k = plan.sizes[j]
            own = inverse[plan.place(j), plan.place(j)].reshape(levels, k, levels, k)
            own = own[np.arange(levels), :, np.arange(levels), :]
            np.testing.assert_allclose(blocks, own, **close)
            np.testing.assert_allclose(traces, own.sum(axis=0), **close)
            np.testing.assert_allclose(sums[j], levels * np.eye(k) - own.sum(axis=0), **close)
