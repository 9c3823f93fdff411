"""Covariance structures: round trips, derivatives, names, and the boundary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmeformula.covariance.structure import cholesky_semidefinite, names_of
from lmeformula.covariance.table import STRUCTURES
from lmeformula.formula.explain import num_parameters
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


@settings(max_examples=30, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("kind", STRUCTURES)
def test_any_theta_is_a_covariance_and_comes_back(kind, data):
    structure, k = STRUCTURES[kind], data.draw(st.integers(1, 7))
    size = structure.num_params(k)
    theta = np.array(data.draw(st.lists(st.floats(-4, 4), min_size=size, max_size=size)))
    factor = structure.cholesky(theta, k)
    covariance = factor @ factor.T
    sd = np.sqrt(np.diag(covariance))
    assert np.linalg.eigvalsh(covariance / np.outer(sd, sd))[0] > 0
    np.testing.assert_allclose(structure.to_free(covariance), theta, rtol=1e-6, atol=1e-7)
    stand_in, inside = structure.off_bounds(theta, k, 1e-6)
    np.testing.assert_array_equal(stand_in, theta)
    assert inside.all()


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
    report, num_sds = structure.to_report(theta, k), structure.num_sds(k)
    assert len(report) == len(theta) == structure.num_params(k)
    np.testing.assert_allclose(report[:num_sds], sd[:num_sds])
    correlation = covariance / np.outer(sd, sd)
    # One correlation is that of the first two coefficients, whatever the pattern.
    below = [correlation[i, j] for i in range(k) for j in range(i)]
    if structure.correlations == "lags":
        below = list(correlation[1:, 0])
    np.testing.assert_allclose(report[num_sds:], below[: len(report) - num_sds], atol=1e-14)
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
    assert np.isneginf(theta[: structure.num_sds(k)]).all()
    np.testing.assert_array_equal(structure.cholesky(theta, k), covariance)
    stand_in, inside = structure.off_bounds(theta, k, 0.01)
    assert not inside.any()
    sd = structure.to_report(stand_in, k)[: structure.num_sds(k)]
    np.testing.assert_allclose(sd, 0.01)


def test_one_zero_variance_among_others_comes_back():
    structure = STRUCTURES["us", False]
    covariance = np.array([[4.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 9.0]])
    theta = structure.to_free(covariance)
    factor = structure.cholesky(theta, 3)
    np.testing.assert_allclose(factor @ factor.T, covariance, atol=1e-12)
    assert np.isneginf(theta[1])
    assert structure.to_report(theta, 3)[[0, 1, 2]] == pytest.approx([2.0, 0.0, 3.0])


@pytest.mark.parametrize("homogeneous", [True, False])
@pytest.mark.parametrize(
    ("kind", "rho"),
    [("cs", -0.5), ("cs", 0.3), ("cs", 1.0), ("ar1", -1.0), ("ar1", 0.3), ("ar1", 1.0)],
)
def test_the_correlation_at_its_bounds(kind, homogeneous, rho):
    structure = STRUCTURES[kind, homogeneous]
    apart = np.abs(np.subtract.outer(np.arange(3), np.arange(3)))
    covariance = 4.0 * (rho**apart if kind == "ar1" else np.where(apart, rho, 1.0))
    theta = structure.to_free(covariance)
    factor = structure.cholesky(theta, 3)
    np.testing.assert_allclose(factor @ factor.T, covariance, atol=1e-12)
    assert structure.to_report(theta, 3)[-1] == pytest.approx(rho, abs=1e-14)
    on_bound = rho != 0.3
    assert np.isinf(theta[-1]) == on_bound
    stand_in, inside = structure.off_bounds(theta, 3, 1e-6)
    assert np.isfinite(stand_in).all()
    assert inside.tolist() == [True] * (len(theta) - 1) + [not on_bound]
    assert structure.to_report(stand_in, 3)[-1] == pytest.approx(rho, abs=1e-11)


def test_ar1_of_coefficients_that_vary_two_steps_apart():
    structure = STRUCTURES["ar1", False]
    covariance = np.array([[4.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 4.0]])
    theta = structure.to_free(covariance)
    assert np.isneginf(theta[1])
    assert structure.to_report(theta, 3)[-1] == pytest.approx(0.5)
    assert structure.off_bounds(theta, 3, 1e-6)[1].tolist() == [True, False, True, True]


def test_two_coefficients_have_one_correlation_whatever_the_structure():
    covariance = np.array([[4.0, -1.2], [-1.2, 9.0]])
    for kind in ("us", "cs", "ar1"):
        structure = STRUCTURES[kind, False]
        report = structure.to_report(structure.to_free(covariance), 2)
        np.testing.assert_allclose(report, [2.0, 3.0, -0.2])


@pytest.mark.parametrize(("kind", "k"), CASES)
def test_the_formula_counts_parameters_as_the_structures_do(kind, k):
    assert num_parameters(*kind, k) == STRUCTURES[kind].num_params(k)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_perfect_correlation_comes_back_to_rounding(sign):
    structure = STRUCTURES["us", False]
    covariance = np.array([[4.0, 6.0 * sign], [6.0 * sign, 9.0]])
    theta = structure.to_free(covariance)
    assert np.isfinite(theta).all()
    factor = structure.cholesky(theta, 2)
    np.testing.assert_allclose(factor @ factor.T, covariance, rtol=1e-12)
    # On the bound it has no information of its own; the stand-in is a covariance of full rank next to it.
    stand_in, inside = structure.off_bounds(theta, 2, 1e-6)
    assert inside.tolist() == [True, True, False]
    near = structure.cholesky(stand_in, 2)
    np.testing.assert_allclose(near @ near.T, covariance, rtol=1e-11)
    assert np.abs(np.diag(near)).min() > 1e-7


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
    ("cs", False, ("Intercept",), ["sd(g)"]),
    ("cs", False, ("a", "b", "c"), ["sd(g:a)", "sd(g:b)", "sd(g:c)", "cor(g)"]),
    ("cs", True, ("a", "b", "c"), ["sd(g)", "cor(g)"]),
    ("ar1", True, ("t[1]", "t[2]"), ["sd(g)", "cor(g)"]),
    ("ar1", False, ("t[1]", "t[2]"), ["sd(g:t[1])", "sd(g:t[2])", "cor(g)"]),
    ("ar1", True, ("t[1]",), ["sd(g)"]),
]


@pytest.mark.parametrize(("kind", "homogeneous", "columns", "expected"), NAMES)
def test_names(kind, homogeneous, columns, expected):
    structure = STRUCTURES[kind, homogeneous]
    assert names_of(structure.labels(columns), "g", columns) == expected
    assert len(expected) == structure.num_params(len(columns))


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_cholesky_semidefinite(rank):
    rng = np.random.default_rng(rank)
    root = rng.normal(size=(3, rank))
    matrix = root @ root.T
    factor = cholesky_semidefinite(matrix)
    assert not np.triu(factor, 1).any()
    np.testing.assert_allclose(factor @ factor.T, matrix, atol=1e-7 if rank < 3 else 1e-13)


@pytest.mark.parametrize("shift", [0.0, 1e2, 1e4])
@pytest.mark.parametrize("seed", range(3))
def test_what_rounding_leaves_of_a_variance_is_none(shift, seed):
    """Of rank two however far the second column's origin is, which makes the first two nearly one."""
    factor = np.random.default_rng(seed).normal(size=(3, 2))
    factor[0] -= shift * factor[1]
    sd = np.linalg.norm(factor, axis=1)
    correlation = (factor / sd[:, None]) @ (factor / sd[:, None]).T
    assert cholesky_semidefinite(correlation)[2, 2] == 0.0
    # A variance of its own stays.
    own = correlation + np.diag([0.0, 0.0, 1e-4])
    assert cholesky_semidefinite(own)[2, 2] == pytest.approx(1e-2, rel=0.2)


@pytest.mark.parametrize(("kind", "k"), CASES)
def test_covariances_are_the_combinations_of_their_elements(kind, k):
    """As many as there are parameters, or none are said to be."""
    structure = STRUCTURES[kind]
    elements = structure.elements(k)
    if elements is None:
        return
    assert len(elements) == structure.num_params(k)
    factor = structure.cholesky(theta_of(structure, k), k)
    covariance, basis = (factor @ factor.T).ravel(), elements.reshape(len(elements), -1).T
    solved, _, rank, _ = np.linalg.lstsq(basis, covariance)
    assert rank == len(elements)
    np.testing.assert_allclose(basis @ solved, covariance, rtol=1e-12, atol=1e-12)
