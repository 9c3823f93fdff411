"""A covariance of which a share stands as a residual: its factors, their derivatives, and its chart."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.covariance.less_residual import less_residual
from lmeformula.covariance.table import STRUCTURES
from tests.simulate import differences

SHARE = 0.04
BY_DIFFERENCES = {"rtol": 1e-6, "atol": 1e-7}


@pytest.mark.parametrize("kind", STRUCTURES)
def test_the_share_is_taken_from_each_variance(kind):
    structure, k = STRUCTURES[kind], 3
    less = less_residual(structure, SHARE)
    theta = np.random.default_rng(1).uniform(-0.3, 0.3, structure.num_params(k))
    whole, factor = structure.cholesky(theta, k), less.cholesky(theta, k)
    np.testing.assert_allclose(
        factor @ factor.T + SHARE * np.eye(k), whole @ whole.T, rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(less.to_free(factor @ factor.T), theta, rtol=1e-9, atol=1e-10)
    np.testing.assert_array_equal(less.to_report(theta, k), structure.to_report(theta, k))
    by = differences(lambda at: less.cholesky(at, k), theta)
    np.testing.assert_allclose(less.cholesky_jacobian(theta, k), by, **BY_DIFFERENCES)


@pytest.mark.parametrize(
    "kind", [key for key, one in STRUCTURES.items() if one.correlations not in ("each", "none")]
)
def test_the_chart_is_that_of_the_whole_less_one(kind):
    k = 3
    scale = np.array([0.5, 0.6, 0.4])
    whole = STRUCTURES[kind].chart(scale)
    chart = less_residual(STRUCTURES[kind], SHARE).chart(scale)
    assert chart.faces == ()
    elements = chart.start(2.0)
    elements[-1] += 0.1
    factor, inner = chart.factor(elements), whole.factor(elements)
    np.testing.assert_allclose(
        factor @ factor.T + np.eye(k), inner @ inner.T, rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(chart.near(factor), elements, rtol=1e-9)
    by = differences(chart.factor, elements)
    np.testing.assert_allclose(chart.jacobian(elements), by, **BY_DIFFERENCES)
    with pytest.raises(np.linalg.LinAlgError):
        chart.factor(0.01 * elements)
