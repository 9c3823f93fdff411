"""The factor of a covariance of lower rank is zero where earlier coefficients determine one."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.covariance.chart import triangular


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_factor_is_that_of_the_covariance(rank):
    root = np.random.default_rng(rank).normal(size=(3, rank))
    factor = triangular(root)
    np.testing.assert_allclose(factor @ factor.T, root @ root.T, atol=1e-13)
    assert (np.triu(factor, 1) == 0.0).all()
    assert (np.diag(factor) != 0.0).tolist() == [True, rank > 1, rank > 2]


def test_what_has_no_variance_determines_nothing():
    assert triangular(np.array([[0.0, 0.0], [3.0, 4.0]])).tolist() == [[0.0, 0.0], [0.0, 5.0]]
