"""Covariances of estimates: what the information does not say is nan, and nothing is zero."""

from __future__ import annotations

import numpy as np

from lmeformula.estimation.coordinates import LEAST_KNOWN
from lmeformula.estimation.covariance import covariance_of
from lmeformula.likelihood.laplace.observed import along_ways


def least(size: int, num_fixed: int = 0) -> np.ndarray:
    return np.where(np.arange(size) < num_fixed, 0.0, LEAST_KNOWN)


def test_a_direction_without_information_costs_those_in_it():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(4, 4))
    whole = root @ root.T
    # Parameters 1 and 3 enter as their sum only.
    along = np.array([[1.0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]])
    information = along.T @ whole[:3, :3] @ along
    found = covariance_of(
        along_ways(information, np.ones(4, bool), np.zeros((0, 0)), 0.0), least(4)
    )
    assert np.isnan(np.diag(found)).tolist() == [False, True, False, True]
    expected = np.linalg.inv(whole[:3, :3])[np.ix_([0, 2], [0, 2])]
    np.testing.assert_allclose(found[np.ix_([0, 2], [0, 2])], expected, rtol=1e-8)


def test_nearly_equal_columns_are_not_the_same():
    rng = np.random.default_rng(2)
    x = 1e6 + rng.normal(size=50)
    X = np.column_stack([np.ones(50), x])
    R = np.linalg.qr(X)[1]
    found = covariance_of(along_ways(X.T @ X, np.ones(2, bool), R, 0.0), least(2, 2))
    assert np.isclose(found[1, 1], 1.0 / np.sum((x - x.mean()) ** 2), rtol=1e-3)


def test_negative_information_has_no_standard_error():
    matrix = np.diag([2.0, -1.0])
    found = covariance_of(along_ways(matrix, np.ones(2, bool), np.zeros((0, 0)), 0.0), least(2))
    assert found[0, 0] == 0.5
    assert np.isnan(found[1, 1])


def test_a_logarithm_known_to_a_factor_of_thousands_is_not_known():
    matrix = np.diag([1e-20, 1e-20, 2.0])
    found = covariance_of(along_ways(matrix, np.ones(3, bool), np.eye(1), 0.0), least(3, 1))
    # The first is a fixed effect in some small unit.
    assert np.isnan(np.diag(found)).tolist() == [False, True, False]
