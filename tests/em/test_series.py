"""Monte Carlo errors of means over draws, on series whose errors are known."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.em.series import effective_draws, mean_covariance, split_rhat


def series(correlation: float, num_draws: int, num_chains: int, seed: int, size: int = 2):
    """(m, v, c) stationary autoregression of variance one."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(num_draws, size, num_chains))
    for number in range(1, num_draws):
        fresh = np.sqrt(1 - correlation**2) * found[number]
        found[number] = correlation * found[number - 1] + fresh
    return found


# successive draws' correlation, draws, chains; the error of the mean of an autoregression is that of as many
# draws divided by (1 + r) / (1 - r)
SERIES = [
    (0.0, 20, 2),
    (0.0, 400, 2),
    (0.0, 1000, 1),
    (0.3, 400, 2),
    (-0.3, 400, 2),
    (0.6, 2000, 2),
]


@pytest.mark.parametrize(("correlation", "num_draws", "num_chains"), SERIES)
def test_the_variance_of_a_mean_is_right_on_average(correlation, num_draws, num_chains):
    found = [
        np.diag(mean_covariance(series(correlation, num_draws, num_chains, seed)))
        for seed in range(150)
    ]
    expected = (1 + correlation) / (1 - correlation) / (num_draws * num_chains)
    # Each has at least 3 degrees of freedom, some 15 mostly, and there are 300: some 0.05 of noise. Batches are
    # short next to a strong correlation, and the widening never narrows: 15 %.
    assert np.mean(found) / expected == pytest.approx(1.0, abs=0.25)
    assert np.mean(found) > 0.9 * expected


def test_a_covariance_of_means():
    """Of two series that are one and its half: rank one, in proportion."""
    one = series(0.2, 400, 2, 3, size=1)
    found = mean_covariance(np.concatenate([one, 0.5 * one], axis=1))
    np.testing.assert_allclose(found, found[0, 0] * np.array([[1.0, 0.5], [0.5, 0.25]]))


@pytest.mark.parametrize("num_draws", [2, 3, 4, 7, 8, 9, 33])
def test_few_draws_have_an_error_too(num_draws):
    found = mean_covariance(series(0.0, num_draws, 2, 1))
    assert found.shape == (2, 2)
    assert (np.diag(found) > 0).all()
    np.testing.assert_allclose(mean_covariance(np.ones((num_draws, 2, 2))), 0.0)


@pytest.mark.parametrize(("correlation", "share"), [(0.0, 1.0), (0.5, 1 / 3), (0.8, 1 / 9)])
def test_effective_draws(correlation, share):
    found = np.mean([effective_draws(series(correlation, 3000, 2, s, size=1)) for s in range(20)])
    # Never above their number, which takes some off where they are independent.
    assert found / 6000 == pytest.approx(share, rel=0.2)


def test_effective_draws_of_what_does_not_vary_are_all():
    assert effective_draws(np.ones((10, 2, 3))) == 30.0


def test_rhat_of_one_distribution_and_of_two():
    mixed = series(0.0, 1000, 2, 1)
    assert split_rhat(mixed) == pytest.approx(1.0, abs=0.01)
    apart = mixed + np.array([0.0, 2.0])
    # Between chains of means 0 and 2 lies a variance of 4 / 3 (four halves), within one of 1.
    assert split_rhat(apart) == pytest.approx(np.sqrt(1 + 4 / 3), rel=0.05)
    drifting = mixed + np.linspace(0, 4, 1000)[:, None, None]
    # Halves of means 1 and 3, each with 2^2 / 12 of drift within.
    assert split_rhat(drifting) == pytest.approx(np.sqrt(1 + 4 / 3 / (1 + 1 / 3)), rel=0.05)
    assert np.isnan(split_rhat(mixed[:3]))
