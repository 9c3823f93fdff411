"""Stacked rows: their diagonal weights are those of all pairs of predictors."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.incidence import find_incidence
from lmeformula.design.design import LinearPredictor
from lmeformula.design.side_by_side import joined
from lmeformula.model.stack import mixture, stack

UNITS = np.array([50.0, 1.0, 0.2])


@pytest.fixture(scope="module")
def design():
    """Three predictors; g is linked across all of them, h is in two."""
    rng = np.random.default_rng(5)
    n = 60
    data = {
        "y": rng.normal(size=n),
        "x": rng.normal(size=n),
        "g": rng.integers(6, size=n),
        "h": rng.integers(4, size=n),
    }
    formulas = {
        "mu": "y ~ x + (1 + x | p | g) + (1 | h)",
        "a": "~ x + (1 | p | g)",
        "b": "~ 1 + (0 + x | p | g) + (1 | h)",
    }
    return lf.design(formulas, data)


def blocks(n: int, k: int) -> np.ndarray:
    """(n, k, k) symmetric, of either sign."""
    found = np.random.default_rng(8).normal(size=(n, k, k))
    return found + found.transpose(0, 2, 1)


def dense(design, predictor: int) -> np.ndarray:
    """Z of one predictor, its columns in the order of the terms."""
    parts = []
    for term in design.terms:
        mine = np.array(term.predictors) == predictor
        matrix = np.zeros((design.n, len(term.levels), len(term.columns)))
        matrix[np.arange(design.n), term.index] = term.values * mine
        parts.append(matrix.reshape(design.n, -1))
    return np.hstack(parts)


def test_products_and_leverages_are_those_of_all_pairs(design):
    stacked, W = stack(design, UNITS), blocks(design.n, 3)
    weights = stacked.mixture.to_weights(W)
    Z = [dense(design, k) for k in range(3)]
    expected = sum(Z[a].T @ (W[:, a, b, None] * Z[b]) for a in range(3) for b in range(3))
    plan = layout(stacked.terms)
    whole = np.hstack([plan.matrices[j].toarray() for j in range(len(plan.sizes))])
    np.testing.assert_allclose(whole.T @ (weights[:, None] * whole), expected, atol=1e-9)
    assert whole.shape == (6 * design.n, expected.shape[0])
    # The leverages, contracted with what the weights are made of, are those of the blocks.
    lambdas = tuple(np.eye(k) for _, k in plan.sizes)
    safe = stacked.mixture.to_weights(W @ W)
    factor = find_incidence(plan).factorize(safe, lambdas)
    M = np.eye(len(expected)) + sum(
        Z[a].T @ ((W @ W)[:, a, b, None] * Z[b]) for a in range(3) for b in range(3)
    )
    inverse = np.linalg.inv(M)
    traces = sum(
        np.einsum("ni,ij,nj,n->", Z[a], inverse, Z[b], W[:, a, b])
        for a in range(3)
        for b in range(3)
    )
    assert factor.leverages() @ weights == pytest.approx(traces, rel=1e-9)
    assert factor.log_det == pytest.approx(np.linalg.slogdet(M)[1], rel=1e-12)


def test_fixed_columns_and_offsets_are_read_alike(design):
    stacked = stack(design, UNITS)
    beta = np.random.default_rng(1).normal(size=design.X.shape[1])
    etas = (stacked.X @ beta).reshape(6, design.n)
    of = np.array(design.column_predictors)
    for k in range(3):
        np.testing.assert_allclose(etas[k], design.X[:, of == k] @ beta[of == k])
    np.testing.assert_allclose(etas[3], etas[0] / UNITS[0] + etas[1] / UNITS[1])
    Q, R = stacked.orthogonal()
    np.testing.assert_allclose(Q @ R, stacked.X, atol=1e-12)
    own = Q[: 3 * design.n]
    np.testing.assert_allclose(own.T @ own, np.eye(len(beta)), atol=1e-12)


def test_blocks_come_back():
    mixed, W = mixture(UNITS, 7), blocks(7, 3)
    np.testing.assert_allclose(mixed.to_blocks(mixed.to_weights(W)), W, atol=1e-9)


def test_held_weights_are_those_of_the_nearest_blocks_without_negative_ones():
    mixed, W = mixture(UNITS, 7), blocks(7, 3)
    held = mixed.to_blocks(mixed.held(mixed.to_weights(W)))
    scaled = held * np.outer(UNITS, UNITS)
    assert np.linalg.eigvalsh(scaled)[:, 0].min() > -1e-9 * np.abs(scaled).max()
    positive = W @ W
    again = mixed.to_blocks(mixed.held(mixed.to_weights(positive)))
    np.testing.assert_allclose(again, positive, rtol=1e-9, atol=1e-9)


def test_one_predictor_is_its_own_stack():
    data = {"y": [1.0, 2.0, 4.0, 3.0], "g": [1, 1, 2, 2]}
    design = lf.design("y ~ 1 + (1 | g)", data)
    found = stack(design, np.ones(1))
    assert found.X is design.X
    assert found.terms is design.terms
    assert found.offset is design.offset
    assert found.mixture.readers.tolist() == [[1.0]]


def test_parts_with_one_design_are_predictors_of_their_own():
    data = {"y": [1.0, 2.0, 4.0, 3.0], "g": [1, 1, 2, 2]}
    design = lf.design({"mu": "y ~ 1 + (1 | p | g)"}, data)
    parts = tuple(LinearPredictor(name, f"{{}}[{name}]", design) for name in "ab")
    both = joined(design.formula, parts)
    assert both.names == ("Intercept[a]", "Intercept[b]")
    assert [term.columns for term in both.terms] == [("Intercept[a]", "Intercept[b]")]
