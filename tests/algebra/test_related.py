"""M where levels are related, as one matrix and sparse, against dense algebra that knows nothing of blocks."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import lmeformula as lf
from lmeformula.algebra.crossproducts import Layout, layout
from lmeformula.algebra.general import find_general
from lmeformula.algebra.selected import find_symbolic, selected_inverse
from lmeformula.algebra.sparse_factor import find_arrangement
from lmeformula.design import design

WAYS = {"whole": find_general, "sparse": find_arrangement}
N = 40


def chain(size: int, share: float = 0.6) -> sp.csc_array:
    """The precision of levels each of which is a share of the one before, but for the middle one's."""
    rows = np.eye(size) - share * np.eye(size, k=-1)
    rows[size // 2, 0] = -0.3
    return sp.csc_array(rows.T @ rows)


@cache
def problem(kind: str) -> tuple[Layout, tuple[np.ndarray, ...], np.ndarray]:
    """A layout, factors, and row weights."""
    r = np.random.default_rng(3)
    rows = {
        "y": r.normal(size=N),
        "x": r.normal(size=N),
        "g": [f"g{i}" for i in r.integers(0, 9, N)],
        "h": [f"h{i}" for i in r.integers(0, 5, N)],
        "k": [f"k{i}" for i in r.integers(0, 4, N)],
    }
    formula = {
        "one": "y ~ 1 + (1 | gr(g, cov = A))",
        "slopes": "y ~ 1 + (1 + x | gr(g, cov = A)) + (1 | h)",
        "twice": "y ~ 1 + (1 | gr(g, cov = A)) + (0 + x | gr(k, cov = B)) + (1 | g)",
    }[kind]
    known = {
        "A": lf.precision(chain(11), [f"g{i}" for i in range(11)]),
        "B": lf.precision(chain(4), [f"k{i}" for i in range(4)]),
    }
    used = {name: one for name, one in known.items() if f"cov = {name}" in formula}
    terms = design(formula, rows, covariances=used).terms
    lambdas = tuple(
        np.tril(r.normal(size=(k, k))) + 1.5 * np.eye(k) for k in (len(t.columns) for t in terms)
    )
    return layout(terms), lambdas, r.uniform(0.5, 2.0, N)


class Dense:
    """M and what is asked of it, by matrices with all zeros."""

    def __init__(self, plan: Layout, lambdas: Any, weights: np.ndarray) -> None:
        self.plan, q = plan, plan.num_effects
        self.Z, self.B, self.Lambda = np.zeros((len(weights), q)), np.eye(q), np.zeros((q, q))
        for j, (levels, k) in enumerate(plan.sizes):
            place, relation = plan.place(j), plan.relation(j)
            self.Z[:, place] = plan.matrices[j].toarray()
            self.Lambda[place, place] = np.kron(np.eye(levels), lambdas[j])
            if relation is not None:
                self.B[place, place] = np.kron(relation.dense_root(), np.eye(k))
        self.G = (self.Z @ self.B).T @ (weights[:, None] * (self.Z @ self.B))
        self.M = self.Lambda.T @ self.G @ self.Lambda + np.eye(q)
        self.inverse = np.linalg.inv(self.M)
        half = self.G @ self.Lambda
        self.Q = self.G - half @ self.inverse @ half.T
        own = self.B @ self.Lambda
        self.covariance = own @ self.inverse @ own.T

    def blocks(self, matrix: np.ndarray) -> list[np.ndarray]:
        found = []
        for j, (levels, k) in enumerate(self.plan.sizes):
            place, each = self.plan.place(j), np.arange(levels)
            square = matrix[place, place].reshape(levels, k, levels, k)
            found.append(square[each, :, each, :])
        return found


@pytest.mark.parametrize("kind", ["one", "slopes", "twice"])
@pytest.mark.parametrize("way", WAYS)
def test_a_factor_is_that_of_dense_algebra(way, kind):
    plan, lambdas, weights = problem(kind)
    dense, made = Dense(plan, lambdas, weights), WAYS[way](plan)
    factor, products = made.factorize(weights, lambdas), made.products(weights)
    r = np.random.default_rng(4)
    right, q = r.normal(size=(plan.num_effects, 3)), plan.num_effects

    def same(found: Any, expected: Any, rtol: float = 1e-9) -> None:
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, atol=rtol * scale, rtol=0.0)

    same(products.times(right), dense.G @ right)
    same(factor.log_det, np.linalg.slogdet(dense.M)[1])
    same(factor.solve(right), dense.inverse @ right)
    same(factor.solve(right[:, 0]), dense.inverse @ right[:, 0])
    _, columns = factor.solve_columns(right)
    same(columns.form(slice(0, 2), 2), right[:, :2].T @ dense.inverse @ right[:, 2])
    root = factor.solve_upper(np.eye(q))
    same(root @ root.T, dense.inverse)
    same(factor.leverages(), np.diag(dense.Z @ dense.covariance @ dense.Z.T))
    same(factor.row_variances(plan), factor.leverages())
    same(factor.outer_form(right), right.T @ dense.Q @ right)
    for found, expected in zip(factor.inverse_traces(), dense.blocks(dense.inverse), strict=True):
        same(found, expected.sum(axis=0))
    for found, expected in zip(factor.outer_sums(), dense.blocks(dense.Q), strict=True):
        same(found, expected.sum(axis=0))
    slopes = zip(factor.log_det_slopes(), dense.blocks(dense.Q), lambdas, strict=True)
    for found, expected, own in slopes:
        same(found, expected.sum(axis=0) @ own)
    for found, expected in zip(factor.effect_blocks(), dense.blocks(dense.covariance), strict=True):
        same(found, expected)
    u = right[:, 0]
    own = plan.split(dense.B @ dense.Lambda @ u)
    for found, expected in zip(factor.effects(u, u), own, strict=True):
        same(found, expected)


@pytest.mark.parametrize("kind", ["one", "slopes", "twice"])
@pytest.mark.parametrize("way", WAYS)
def test_traces_of_products(way, kind):
    """By differences they are good to the square of their step."""
    plan, lambdas, weights = problem(kind)
    dense, factor = Dense(plan, lambdas, weights), WAYS[way](plan).factorize(weights, lambdas)
    r, changes, each = np.random.default_rng(5), [], []
    for j, (levels, k) in enumerate(plan.sizes):
        half = r.normal(size=(2, k, k))
        changes.append(half + half.transpose(0, 2, 1))
        for change in changes[-1]:
            whole = np.zeros_like(dense.Q)
            whole[plan.place(j), plan.place(j)] = np.kron(np.eye(levels), change)
            each.append(dense.Q @ whole)
    expected = np.array([[np.trace(a @ b) for b in each] for a in each])
    found = factor.outer_traces(tuple(changes)).traces
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_rows_that_read_what_was_never_read_together():
    plan, lambdas, weights = problem("slopes")
    factor = find_arrangement(plan).factorize(weights, lambdas)
    pairs = np.array([(g, h) for g in range(11) for h in range(5)])
    x = np.linspace(-1.0, 1.0, len(pairs))
    first = sp.csr_array(
        (
            np.column_stack([np.ones(len(x)), x]).ravel(),
            (pairs[:, :1] * 2 + [0, 1]).ravel().astype(np.int32),
            np.arange(0, 2 * len(x) + 1, 2),
        ),
        (len(x), 22),
    )
    second = sp.csr_array(
        (np.ones(len(x)), pairs[:, 1].astype(np.int32), np.arange(len(x) + 1)), (len(x), 5)
    )
    new = plan.with_matrices((first, second))
    Z = np.zeros((len(x), plan.num_effects))
    for j, matrix in enumerate((first, second)):
        Z[:, plan.place(j)] = matrix.toarray()
    covariance = Dense(plan, lambdas, weights).covariance
    np.testing.assert_allclose(factor.row_variances(new), np.diag(Z @ covariance @ Z.T), rtol=1e-9)


@pytest.mark.parametrize("cut", [0, 15, 60])
def test_elements_of_an_inverse(cut):
    """Whichever of the columns are dense."""
    r = np.random.default_rng(6)
    pattern = sp.random_array((60, 60), density=0.05, rng=r) + sp.eye_array(60)
    matrix = sp.csc_array(pattern @ pattern.T + 0.5 * sp.eye_array(60))
    found = find_symbolic(matrix)
    symbolic = type(found)(found.order, found.starts, found.rows, cut)
    permuted = matrix.toarray()[np.ix_(symbolic.order, symbolic.order)]
    lower = np.linalg.cholesky(permuted)
    D = np.diag(lower) ** 2
    L = lower / np.diag(lower)
    assert (np.abs(L[np.tril_indices(60, -1)]) > 1e-12).sum() <= len(symbolic.rows)
    selected = selected_inverse(symbolic, L[symbolic.rows, symbolic.columns], D)
    one, other = np.nonzero(permuted)
    expected = np.linalg.inv(permuted)[one, other]
    found_there = selected.at(symbolic.places(one, other))
    np.testing.assert_allclose(found_there, expected, atol=1e-10 * np.abs(expected).max())
