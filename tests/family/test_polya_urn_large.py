"""Polya's urn with many draws: sums by integrals against sums, chances against exact ones and their limits."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import lmeformula as lf
from lmeformula.family import polya_urn
from lmeformula.family.polya_urn_large import FIRST, far_sums, log_chances

FIRSTS = (1e-6, 0.3, 5.0, 1e3, 1e5, 1e8)


@pytest.mark.parametrize("counts", [201.0, 5000.0])
@pytest.mark.parametrize("first", FIRSTS)
def test_tails_are_sums(first, counts):
    j = np.arange(FIRST, counts)
    r, rest = first / (first + j), j / (first + j)
    found = far_sums(np.array([first]), np.array([counts]))
    expected = [np.sum(each) for each in (r, rest, r * rest, r * rest * (rest - r))]
    assert_allclose(np.ravel(found), expected, rtol=1e-10)


@pytest.mark.parametrize("precision", [1e-3, 0.5, 20.0, 1e4, 1e9])
@pytest.mark.parametrize("chance", [0.3, 1e-6, 0.999])
def test_chances_are_products_of_draws(precision, chance):
    trials = np.array([250.0, 250.0, 5000.0, 5000.0])
    successes = np.array([0.0, 83.0, 1.0, 5000.0])
    logs = np.full(4, np.log(chance)), np.full(4, np.log1p(-chance))
    up = polya_urn.summed(logs[0], successes, precision).value
    down = polya_urn.summed(logs[1], trials - successes, precision).value
    whole = polya_urn.summed(np.zeros(4), trials, precision).value
    ways = stats.binom(trials, 0.5).logpmf(successes) + trials * np.log(2.0)
    found = log_chances(*logs, successes, trials, precision)
    # The logarithm of the ways, and of so many draws, is as large as thousands.
    assert_allclose(found, up + down - whole + ways, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("trials", [1e9, 1e15, 1e18])
def test_of_very_many_trials_the_share_has_a_beta_density(trials):
    n, share = np.array([trials]), 0.1
    logs = np.log([0.3]), np.log([0.7])
    found = log_chances(*logs, share * n, n, 7.0)[0]
    expected = stats.beta(2.1, 4.9).logpdf(share) - np.log(trials)
    assert found == pytest.approx(expected, abs=100.0 / trials + 1e-11)


def test_fits_with_a_row_of_any_number_of_trials_are_alike():
    rng = np.random.default_rng(3)
    g, x, t = np.repeat(np.arange(10), 6), rng.normal(size=60), rng.integers(2, 9, 60).astype(float)
    y = rng.binomial(t.astype(int), rng.beta(2, 2, 60)).astype(float)
    fits = []
    for trials in (1e9, 1e18):
        t[7], y[7] = trials, trials / 10
        data = {"y": y, "t": t, "x": x, "g": g}
        fits.append(lf.fit("y | trials(t) ~ x + (1 | g)", data, "beta_binomial", method="laplace"))
    first, last = fits
    assert first.outcome is last.outcome is lf.Outcome.CONVERGED
    assert_allclose(last.param_values, first.param_values, rtol=1e-4)
    assert_allclose(last.param_stderr, first.param_stderr, rtol=1e-4)
    gap = first.loglik.value - last.loglik.value
    assert gap == pytest.approx(np.log(1e9), abs=1e-5)
