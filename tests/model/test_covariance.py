"""Covariance structures: round trips, derivatives, names, and the boundary."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.model.covariance import STRUCTURES, cholesky_semidefinite
from tests.simulate import differences

CASES = [(kind, k) for kind in STRUCTURES for k in (1, 2, 3, 5)]
# The step of the differences is 1e-5: their error is some 1e-10 times third derivatives of order one.
BY_DIFFERENCES = {"rtol": 1e-7, "atol": 1e-8}


def theta_of(structure, k: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=structure.num_params(k))


@pytest.mark.parametrize(("kind", "k"), CASES)
def test_round_trip(kind, k):
    structure = STRUCTURES[kind]
    theta = theta_of(structure, k)
    factor = structure.cholesky(theta, k)
    assert factor.shape == (k, k)
    assert not np.triu(factor, 1).any()
    assert (np.diag(factor) > 0).all()
    np.testing.assert_allclose(structure.to_free(factor @ factor.T), theta, rtol=1e-9)


@pytest.mark.parametrize(("kind", "k"), CASES)
def test_cholesky_jacobian(kind, k):
    structure = STRUCTURES[kind]
    theta = theta_of(structure, k)
    expected = differences(lambda at: structure.cholesky(at, k), theta)
    np.testing.assert_allclose(structure.cholesky_jacobian(theta, k), expected, **BY_DIFFERENCES)


@pytest.mark.parametrize(("kind", "k"), CASES)
def test_report_and_its_jacobian(kind, k):
    structure = STRUCTURES[kind]
    theta = theta_of(structure, k)
    factor = structure.cholesky(theta, k)
    covariance = factor @ factor.T
    sd = np.sqrt(np.diag(covariance))
    report = structure.to_report(theta, k)
    assert len(report) == len(theta) == structure.num_params(k)
    if structure.num_params(k) == 1:
        np.testing.assert_allclose(sd, report[0])
    else:
        np.testing.assert_allclose(report[:k], sd)
        correlation = covariance / np.outer(sd, sd)
        below = [correlation[i, j] for i in range(k) for j in range(i)]
        np.testing.assert_allclose(report[k:], below[: len(report) - k], atol=1e-14)
    expected = differences(lambda at: structure.to_report(at, k), theta).T
    np.testing.assert_allclose(structure.report_jacobian(theta, k), expected, **BY_DIFFERENCES)


@pytest.mark.parametrize(("kind", "k"), CASES)
def test_chart_starts_independent(kind, k):
    structure = STRUCTURES[kind]
    scale = np.arange(1.0, k + 1)
    chart = structure.chart(scale)
    assert chart.size == structure.num_params(k)
    covariance = chart.factor(chart.start(0.4)) @ chart.factor(chart.start(0.4)).T
    one = np.sqrt(np.mean(scale**2)) if kind[1] else scale
    np.testing.assert_allclose(
        covariance, np.diag(np.broadcast_to((0.4 / one) ** 2, k)), atol=1e-15
    )


@pytest.mark.parametrize(("kind", "k"), CASES)
def test_chart_jacobian(kind, k):
    chart = STRUCTURES[kind].chart(np.linspace(1.0, 2.0, k))
    elements = np.random.default_rng(k).uniform(0.2, 1.2, chart.size)
    expected = differences(chart.factor, elements)
    np.testing.assert_allclose(chart.jacobian(elements), expected, **BY_DIFFERENCES)


@pytest.mark.parametrize(("kind", "k"), CASES)
def test_every_face_is_singular(kind, k):
    chart = STRUCTURES[kind].chart(np.ones(k))
    elements = np.random.default_rng(k).uniform(0.2, 1.2, chart.size)
    assert len(chart.faces) >= 1
    for face in range(len(chart.faces)):
        factor = chart.factor(chart.rest(face, elements))
        assert np.abs(np.diag(factor)).min() < 1e-15
        settled = chart.factor(chart.settle(chart.rest(face, elements)))
        assert np.abs(np.diag(settled)).min() > 0.0


@pytest.mark.parametrize(("kind", "k"), CASES)
def test_a_zero_variance_is_minus_infinity_and_comes_back(kind, k):
    structure = STRUCTURES[kind]
    covariance = np.zeros((k, k))
    theta = structure.to_free(covariance)
    num_sd = 1 if structure.num_params(k) == 1 else k
    assert np.isneginf(theta[:num_sd]).all()
    np.testing.assert_array_equal(structure.cholesky(theta, k), covariance)


def test_one_zero_variance_among_others_comes_back():
    structure = STRUCTURES["us", False]
    covariance = np.array([[4.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 9.0]])
    theta = structure.to_free(covariance)
    factor = structure.cholesky(theta, 3)
    np.testing.assert_allclose(factor @ factor.T, covariance, atol=1e-12)
    assert np.isneginf(theta[1])
    assert structure.to_report(theta, 3)[[0, 1, 2]] == pytest.approx([2.0, 0.0, 3.0])


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_perfect_correlation_comes_back_to_rounding(sign):
    structure = STRUCTURES["us", False]
    covariance = np.array([[4.0, 6.0 * sign], [6.0 * sign, 9.0]])
    theta = structure.to_free(covariance)
    assert np.isfinite(theta).all()
    factor = structure.cholesky(theta, 2)
    np.testing.assert_allclose(factor @ factor.T, covariance, rtol=1e-12)


NAMES = [
    ("us", False, ("Intercept",), ["sd(g)"]),
    ("us", False, ("x",), ["sd(g:x)"]),
    ("us", False, ("Intercept", "x"), ["sd(g:Intercept)", "sd(g:x)", "cor(g:Intercept,x)"]),
    (
        "us",
        False,
        ("a", "b", "c"),
        ["sd(g:a)", "sd(g:b)", "sd(g:c)", "cor(g:a,b)", "cor(g:a,c)", "cor(g:b,c)"],
    ),
    ("diag", False, ("Intercept", "x"), ["sd(g:Intercept)", "sd(g:x)"]),
    ("diag", True, ("Intercept", "x"), ["sd(g)"]),
]


@pytest.mark.parametrize(("kind", "homogeneous", "columns", "expected"), NAMES)
def test_names(kind, homogeneous, columns, expected):
    structure = STRUCTURES[kind, homogeneous]
    assert structure.param_names("g", columns) == expected
    assert len(expected) == structure.num_params(len(columns))


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_cholesky_semidefinite(rank):
    rng = np.random.default_rng(rank)
    root = rng.normal(size=(3, rank))
    matrix = root @ root.T
    factor = cholesky_semidefinite(matrix)
    assert not np.triu(factor, 1).any()
    np.testing.assert_allclose(factor @ factor.T, matrix, atol=1e-7 if rank < 3 else 1e-13)
