"""The Tweedie distribution: its series against SciPy's sum over numbers of amounts, chances, responses."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from scipy.special import logsumexp

import lmeformula as lf
from lmeformula.model.family import family, log_density

TWEEDIE = family("tweedie")
# Dispersion, power, mean: few amounts, many small ones, more than the series takes one by one.
POINTS = ((1.3, 1.5, 0.7), (0.3, 1.1, 4.0), (0.002, 1.3, 20.0), (1e-4, 1.6, 3.0), (2.0, 1.9, 50.0))


def compound(y: np.ndarray, dispersion: float, power: float, mean: float):
    """Chances of numbers of amounts (m,), and the gamma distribution of the sum of so many."""
    number = mean ** (2 - power) / (dispersion * (2 - power))
    at = y.max() ** (2 - power) / (dispersion * (2 - power))
    highest = int(max(number, at) + 40 * np.sqrt(max(number, at)) + 60)
    counts = np.arange(1, highest)
    scale = dispersion * (power - 1) * mean ** (power - 1)
    amounts = stats.gamma(counts * (2 - power) / (power - 1), scale=scale)
    return stats.poisson(number), counts, amounts


@pytest.mark.parametrize(("dispersion", "power", "mean"), POINTS)
def test_density_and_chances_are_those_of_a_sum_of_amounts(dispersion, power, mean):
    y = mean * np.array([0.0, 0.3, 0.9, 1.0, 1.2, 2.5])
    number, counts, amounts = compound(y, dispersion, power, mean)
    terms = number.logpmf(counts) + amounts.logpdf(y[1:, None])
    expected = np.array([number.logpmf(0), *logsumexp(terms, axis=1)])
    own = tuple(tf.constant(value, tf.float64) for value in (dispersion, power))
    eta = tf.fill([len(y), 1], tf.constant(np.log(mean), tf.float64))
    given = tuple(map(tf.constant, (y, np.log(np.where(y > 0, y, 1.0)))))
    found = np.ravel(log_density(TWEEDIE, eta, given, own))
    # Sums over some thousand terms whose logarithms are some thousands.
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)

    made = TWEEDIE.distribution(eta[:, 0], given, own)
    np.testing.assert_allclose(made.log_prob(y), expected, rtol=1e-9, atol=1e-9)
    chances = number.pmf(0) + (number.pmf(counts) * amounts.cdf(y[:, None])).sum(axis=1)
    np.testing.assert_allclose(made.cdf(y), chances, rtol=1e-8, atol=1e-12)


def test_draws_have_their_moments_and_zeros():
    dispersion, power, mean = 1.3, 1.5, 0.7
    own = tuple(tf.constant(value, tf.float64) for value in (dispersion, power))
    made = TWEEDIE.distribution(tf.constant([np.log(mean)] * 2, tf.float64), (), own)
    drawn = np.asarray(made.sample(40_000, seed=[1, 2])).ravel()
    number = mean ** (2 - power) / (dispersion * (2 - power))
    variance = dispersion * mean**power
    none = np.exp(-number)
    count = len(drawn)
    assert abs((drawn == 0).mean() - none) < 4.5 * np.sqrt(none * (1 - none) / count)
    assert abs(drawn.mean() - mean) < 4.5 * np.sqrt(variance / count)
    fourth = ((drawn - mean) ** 4).mean()
    assert abs(drawn.var() - variance) < 4.5 * np.sqrt((fourth - variance**2) / count)


def test_quantile_residuals_are_normal_zeros_included():
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(30), 20)
    mean = np.exp(0.3 + 0.5 * rng.normal(size=30)[g])
    count = rng.poisson(mean**0.5 / (1.3 * 0.5))
    y = np.where(count > 0, rng.gamma(np.maximum(count, 1.0), 1.3 * 0.5 * mean**0.5), 0.0)
    fit = lf.fit("y ~ 1 + (1 | g)", {"y": y, "g": g}, "tweedie", method="laplace")
    assert fit.converged
    residuals = fit.residuals("quantile", seed=1)
    # Thirty effects are fitted to six hundred rows: a little narrower than normal.
    assert 0.9 < residuals.std() < 1.05
    assert abs(stats.skew(residuals)) < 4.5 * np.sqrt(6 / len(y))
    zeros = residuals[y == 0]
    assert zeros.nunique() == len(zeros)
    low, high = fit.confint().set_index("parameter").loc["power", ["lower", "upper"]]
    assert 1 < low < fit.family_params["power"] < high < 2


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1.0, -2.0, 3.0, 0.0] * 3, "rows are not.*row 1.*-2"),
        (["a", "b", "c", "d"] * 3, "needs numbers from zero"),
    ],
)
def test_responses_that_it_does_not_take(y, message):
    with pytest.raises(lf.ModelError, match=f"(?s){message}"):
        lf.compile(lf.design("y ~ 1 + (1 | g)", {"y": y, "g": list("abc") * 4}), "tweedie")
