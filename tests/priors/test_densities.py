"""Densities of priors against SciPy's and TFP's, their slopes against differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from lmeformula.errors import ModelError
from lmeformula.priors import prior

POSITIVE = np.array([0.05, 0.7, 2.0, 30.0])
REAL = np.array([-4.0, 0.0, 0.3, 30.0])
SCALARS = [
    ("normal(1, 2.5)", stats.norm(1, 2.5), REAL),
    ("student(3, 1, 2)", stats.t(3, 1, 2), REAL),
    ("cauchy(1, 2)", stats.cauchy(1, 2), REAL),
    ("half_normal(2)", stats.halfnorm(0, 2), POSITIVE),
    ("half_cauchy(2)", stats.halfcauchy(0, 2), POSITIVE),
    ("exponential(3)", stats.expon(scale=1 / 3), POSITIVE),
    ("gamma(2.5, 0.5)", stats.gamma(2.5, scale=2), POSITIVE),
    ("inverse_gamma(2, 3)", stats.invgamma(2, scale=3), POSITIVE),
    ("lognormal(0.5, 1.5)", stats.lognorm(1.5, scale=np.exp(0.5)), POSITIVE),
    ("beta(2, 3)", stats.beta(2, 3), np.array([0.01, 0.5, 0.97])),
]


@pytest.mark.parametrize(("text", "truth", "x"), SCALARS, ids=[one[0] for one in SCALARS])
def test_densities_of_numbers(text, truth, x):
    found = prior(text)
    np.testing.assert_allclose(found.log_density(x), truth.logpdf(x), rtol=1e-12)
    step = 1e-6 * np.maximum(np.abs(x), 1e-2)
    slope = (found.log_density(x + step) - found.log_density(x - step)) / (2 * step)
    np.testing.assert_allclose(found.slope(x), slope, rtol=1e-6, atol=1e-8)
    # A complex step gives the second derivative.
    second = (found.slope(x + step) - found.slope(x - step)) / (2 * step)
    np.testing.assert_allclose(
        np.imag(found.slope(x + 1e-200j)) / 1e-200, second, rtol=1e-6, atol=1e-8
    )


def test_half_of_students_density_is_twice_as_high():
    np.testing.assert_allclose(
        prior("half_student(3, 0, 2)").log_density(POSITIVE),
        stats.t(3, 0, 2).logpdf(POSITIVE) + np.log(2),
    )


def test_an_improper_gamma_is_a_power():
    np.testing.assert_allclose(prior("gamma(2.5, 0)").log_density(POSITIVE), 1.5 * np.log(POSITIVE))
    assert prior("gamma(2.5, 0)").log_density(np.zeros(1)) == -np.inf
    assert prior("gamma(1, 0)").log_density(np.zeros(1)) == 0.0


@pytest.mark.parametrize("text", ["inverse_gamma(2, 1)", "lognormal(0, 1)", "gamma(2, 1)"])
def test_densities_that_exclude_zero(text):
    assert prior(text).log_density(np.zeros(1)) == -np.inf


def _matrix(k: int) -> np.ndarray:
    root = np.tril(np.random.default_rng(k).normal(size=(k, k))) + 2.0 * np.eye(k)
    return root @ root.T


@pytest.mark.parametrize("k", [1, 2, 3])
def test_wishart_densities(k):
    at, scale = _matrix(k), 2.5 * np.eye(k)
    for text, truth in (
        ("wishart(5.5, 2.5)", stats.wishart(5.5, scale)),
        ("inverse_wishart(5.5, 2.5)", stats.invwishart(5.5, scale)),
    ):
        np.testing.assert_allclose(prior(text).log_density(at), truth.logpdf(at), rtol=1e-12)
        _check_slope(prior(text), at)
    # Its degrees of freedom go with the number of coefficients where none are given.
    found = prior("wishart()")
    np.testing.assert_allclose(found.log_density(at), 0.75 * np.linalg.slogdet(at)[1])
    _check_slope(found, at)
    with pytest.raises(ModelError, match=f"Give more than {k}"):
        prior(f"wishart({k}, 1)").log_density(_matrix(k + 1))


def _check_slope(found, at):
    k = len(at)
    for i in range(k):
        for j in range(i + 1):
            move = np.zeros((k, k))
            move[i, j] = move[j, i] = 1e-6
            change = (found.log_density(at + move) - found.log_density(at - move)) / 2e-6
            np.testing.assert_allclose(
                np.sum(found.slope(at) * move) / 1e-6, change, rtol=1e-6, atol=1e-8
            )


def test_lkj_has_an_integral_of_one_and_the_power_of_the_determinant():
    for shape in (0.7, 1.0, 2.0, 4.0):
        found = prior(f"lkj({shape})")

        def density(r, found=found):
            return np.exp(found.log_density(np.array([[1.0, r], [r, 1.0]])))

        assert integrate.quad(density, -1.0, 1.0, epsabs=1e-9)[0] == pytest.approx(1.0, abs=1e-6)


def test_lkj_of_three_against_tfp():
    import tensorflow as tf
    import tensorflow_probability as tfp

    at = np.array([[1.0, 0.3, -0.2], [0.3, 1.0, 0.5], [-0.2, 0.5, 1.0]])
    truth = tfp.distributions.LKJ(3, tf.constant(2.5, tf.float64)).log_prob(at)
    np.testing.assert_allclose(prior("lkj(2.5)").log_density(at), float(truth), rtol=1e-10)


@pytest.mark.parametrize(("text", "truth", "x"), SCALARS, ids=[one[0] for one in SCALARS])
def test_distributions_are_the_same_densities(text, truth, x):
    np.testing.assert_allclose(
        prior(text).distribution().log_prob(x).numpy(), truth.logpdf(x), rtol=1e-10
    )
