"""Covariances at their boundary are held up by as little as a density needs."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.model.regular import LEAST_SD, held_up


@pytest.mark.parametrize(
    "covariance",
    [
        np.zeros((1, 1)),
        np.zeros((2, 2)),
        np.ones((2, 2)),
        np.diag([4.0, 0.0]),
        np.array([[4.0, -6.0], [-6.0, 9.0]]),
        np.outer([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
    ],
    ids=str,
)
def test_singular_ones_become_positive_definite_and_stay_close(covariance):
    found = held_up(covariance, 10.0)
    np.linalg.cholesky(found)
    np.testing.assert_allclose(found, covariance, atol=10 * LEAST_SD * (1 + covariance.max()))


def test_regular_ones_stay_as_they_are():
    covariance = np.array([[2.0, 0.3], [0.3, 1.0]])
    assert held_up(covariance, 1.0) is covariance
