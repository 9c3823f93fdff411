"""Distributions of effects at given parameters, against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lmeformula.covariance.prior import NORMAL, PRIORS, STUDENT, EffectDistribution

SCALE = np.array([[4.0, 1.0], [1.0, 2.0]])


def test_the_words_of_a_formula_find_it():
    assert PRIORS == {"gaussian": NORMAL, "student": STUDENT}


@pytest.mark.parametrize("df", [3.0, 8.0])
def test_the_covariance_is_larger_than_the_scale_matrix(df):
    found = EffectDistribution(SCALE, df).covariance
    np.testing.assert_allclose(found, SCALE * stats.t(df).var(), rtol=1e-12)


def test_the_normal_has_its_own_covariance_and_few_degrees_of_freedom_none():
    assert EffectDistribution(SCALE, np.inf).covariance is SCALE
    assert np.isinf(EffectDistribution(SCALE, 2.0).covariance).all()


@pytest.mark.parametrize("df", [2.5, np.inf])
def test_draws_have_the_distribution(df):
    n = 20_000
    drawn = EffectDistribution(SCALE, df).draw(np.random.default_rng(5), n)
    # Of one chance in a million (Massart 1990), for each of three directions.
    farthest = np.sqrt(np.log(2e6) / (2 * n))
    for direction in ([1.0, 0.0], [0.0, 1.0], [1.0, -2.0]):
        scale = np.sqrt(direction @ SCALE @ direction)
        expected = stats.norm if np.isinf(df) else stats.t(df)
        assert stats.kstest(drawn @ direction / scale, expected.cdf).statistic < farthest
