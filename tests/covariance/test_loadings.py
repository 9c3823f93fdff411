"""Covariances of a few factors, and known ones: round trips, derivatives, ranks, bounds."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.covariance.known import Known
from lmeformula.covariance.loadings import HELD_UP, Loadings
from tests.simulate import differences


@pytest.mark.parametrize(("d", "k"), [(1, 2), (1, 5), (2, 3), (2, 6), (3, 5)])
def test_loadings_come_back_from_their_covariance(d, k):
    structure = Loadings(d)
    theta = np.random.default_rng(k).normal(size=structure.num_params(k))
    loadings = structure.limit(theta, k)
    assert not np.triu(loadings, 1).any()
    assert np.linalg.matrix_rank(loadings @ loadings.T) == d == structure.rank(k)
    again = structure.limit(structure.to_free(loadings @ loadings.T), k)
    np.testing.assert_allclose(again @ again.T, loadings @ loadings.T, atol=1e-12)
    # Up to the signs of columns, which are those of their diagonal.
    assert (np.diag(again)[:d] > 0.0).all()
    np.testing.assert_allclose(np.abs(again), np.abs(loadings), atol=1e-9)
    assert len(structure.labels([f"c{i}" for i in range(k)])) == len(theta)


def test_a_factor_of_full_rank_differs_by_next_to_nothing():
    structure = Loadings(2)
    theta = np.random.default_rng(0).normal(size=structure.num_params(5))
    held, limit = structure.cholesky(theta, 5), structure.limit(theta, 5)
    assert (np.abs(np.diag(held)) > 0.0).all()
    np.testing.assert_allclose(held @ held.T, limit @ limit.T, atol=10 * HELD_UP**2)
    expected = differences(lambda at: structure.limit(at, 5), theta)
    np.testing.assert_allclose(structure.cholesky_jacobian(theta, 5), expected, atol=1e-8)


def test_the_first_coefficient_may_have_no_loading():
    structure = Loadings(1)
    loadings = np.array([0.0, 1.0, -2.0])
    found = structure.limit(structure.to_free(np.outer(loadings, loadings)), 3)
    np.testing.assert_allclose(found @ found.T, np.outer(loadings, loadings), atol=1e-12)


def test_a_factor_without_loadings_is_a_bound():
    structure = Loadings(2)
    theta = structure.to_free(np.outer([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]))
    stand_in, inside = structure.off_bounds(theta, 3, 1e-6)
    assert inside.tolist() == [True, True, False, True, False]
    assert np.linalg.matrix_rank(structure.cholesky(stand_in, 3)) == 3


def test_the_chart_is_next_to_its_limit_and_bends_as_it_says():
    structure = Loadings(2)
    chart = structure.chart(np.array([1.0, 2.0, 0.5, 3.0]))
    elements = np.random.default_rng(1).normal(size=chart.size)
    np.testing.assert_allclose(chart.factor(elements), chart.limit(elements), atol=1e-4)
    np.testing.assert_allclose(chart.near(chart.factor(elements)), elements, atol=1e-12)
    np.testing.assert_allclose(
        chart.jacobian(elements), differences(chart.factor, elements), atol=1e-8
    )


def test_known_covariances_come_back():
    root = np.tril(np.random.default_rng(2).normal(size=(4, 4))) + 2.0 * np.eye(4)
    matrix = root @ root.T
    scaled, fixed = Known(matrix, is_scaled=True), Known(matrix, is_scaled=False)
    theta = np.array([0.3])
    factor = scaled.cholesky(theta, 4)
    np.testing.assert_allclose(factor @ factor.T, np.exp(0.6) * matrix)
    np.testing.assert_allclose(scaled.to_free(factor @ factor.T), theta)
    np.testing.assert_allclose(
        scaled.cholesky_jacobian(theta, 4),
        differences(lambda at: scaled.cholesky(at, 4), theta),
        rtol=1e-7,
    )
    assert fixed.to_free(matrix).shape == (0,)
    assert fixed.cholesky_jacobian(np.zeros(0), 4).shape == (0, 4, 4)
    np.testing.assert_allclose(fixed.cholesky(np.zeros(0), 4) @ fixed.root.T, matrix)
    assert Known(np.ones((3, 3)), is_scaled=True).rank(3) == 1
