"""The Tweedie distribution: its series against SciPy's sum over numbers of amounts, chances, responses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import logsumexp

import lmeformula as lf
from lmeformula.family import family, log_density
from lmeformula.likelihood.laplace.expanded import expanded

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
    found = TWEEDIE.cdf(y, np.full(len(y), np.log(mean)), (dispersion, power))
    np.testing.assert_allclose(found, chances, rtol=1e-8, atol=1e-12)


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


# Worked out by mpmath 1.4.1 at 80 digits: the sum over numbers of amounts, and its differences.
TABLE = pd.read_csv(Path(__file__).parent / "tweedie.csv")


@pytest.mark.parametrize("row", range(len(TABLE)))
def test_derivatives_against_80_digits(row):
    y, eta, dispersion, power, *expected = TABLE.iloc[row]
    given = (np.array([y]), np.log(np.array([y if y > 0.0 else 1.0])))
    found = flat(np.array([eta]), given, np.array([dispersion, power]))
    # In steps of the logarithm of the dispersion, and of the power's logit.
    s, p = dispersion, min(power - 1.0, 2.0 - power)
    units = np.array([1.0, 1.0, 1.0, 1.0, s, p, s * s, s * p, p * p, s, p, s, p])
    size = np.maximum(np.abs(expected * units), 1.0)
    # Amounts of a relative spread of 1e-4 know the dispersion to 1e-8 of their own terms.
    assert_allclose(found * units / size, expected * units / size, rtol=0.0, atol=5e-11)


def flat(eta, response, own):
    """All derivatives of one row, as the table has them."""
    form = expanded(TWEEDIE, response)
    slopes, depths = form.slopes(eta, response, own), form.depths(eta, response, own)
    places = np.triu_indices(2)
    parts = (slopes.value, slopes.first, slopes.second, depths.third[0, 0], depths.own)
    return np.hstack([*parts, depths.own_own[places], *depths.own_first, *depths.own_second])


@pytest.mark.parametrize("dispersion", [0.01, 0.5, 7.0])
def test_its_density_is_the_gamma_density_in_the_limit(dispersion):
    """By NumPy and by TensorFlow, and on the way there what is left falls like the distance."""
    y, eta = np.array([0.2, 1.0, 3.0]), np.array([0.5, -0.3, 1.0])
    given, shape = (y, np.log(y)), 1.0 / dispersion
    expected = stats.gamma(shape, scale=np.exp(eta) / shape).logpdf(y).sum()
    last = np.inf
    for rest in (1e-3, 1e-4, 1e-5, 1e-7, 1e-9, 1e-12):
        own = np.array([dispersion, 2.0 - rest])
        value = expanded(TWEEDIE, given).slopes(eta, given, own).value
        assert abs(value - expected) < 0.2 * last + 1e-9
        last = abs(value - expected)
        tensors = tuple(tf.constant(number, tf.float64) for number in own)
        by_tensors = np.sum(log_density(TWEEDIE, eta[:, None], given, tensors))
        assert by_tensors == pytest.approx(value, rel=1e-8)


def test_chances_next_to_the_limits_are_those_of_the_simpler_families():
    def chances(y, power):
        return TWEEDIE.cdf(y, np.full(len(y), 0.3), (0.5, power))

    y = np.array([0.2, 1.3, 4.1])
    of_gamma = stats.gamma(2.0, scale=np.exp(0.3) / 2.0).cdf(y)
    assert_allclose(chances(y, 2.0 - 1e-11), of_gamma, rtol=1e-6)
    of_poisson = stats.poisson(np.exp(0.3) / 0.5).cdf(np.floor(y / 0.5))
    assert_allclose(chances(y, 1.0 + 1e-8), of_poisson, rtol=1e-6)


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
