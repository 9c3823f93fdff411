"""Quantile residuals: normal where the model is true, in every family; and chances against plain sums."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from lmeformula.errors import ModelError
from lmeformula.family.deviances import of_counts, of_nbinom1, of_nbinom2
from lmeformula.prediction import distribution as module
from lmeformula.prediction.distribution import chances
from lmeformula.prediction.predictor import linear_predictor
from tests.prediction.families import CASES, ROWS, table, true_fit
from tests.store.fits import fitted

# Smirnov: sqrt(n) D exceeds c with chance 2 exp(-2 c^2), which is 1e-6 for c = 2.69.
FAR = 2.69


@pytest.mark.parametrize("name", CASES)
def test_normal_where_the_model_is_true(name):
    """Also among the rows with a large covariate, and among the small responses."""
    fit = true_fit(name)
    found = fit.residuals("quantile", seed=3)
    assert found.index.equals(fit.residuals().index)
    for rows in (np.ones(ROWS, bool), table()["x"] > 0.5):
        part = found[np.asarray(rows)]
        distance = scipy.stats.kstest(part, "norm").statistic
        assert np.sqrt(len(part)) * distance < FAR


@pytest.mark.parametrize("name", ["poisson", "gamma", "bernoulli", "cumulative", "gaussian"])
def test_not_normal_where_the_predictor_is_wrong(name):
    fit = true_fit(name)
    beta = fit.params.beta - np.array([0.0, 0.8])[-len(fit.params.beta) :]
    wrong = replace(fit, params=fit.params._replace(beta=beta))
    found = wrong.residuals("quantile")[table()["x"].to_numpy() > 0.5]
    assert np.sqrt(len(found)) * scipy.stats.kstest(found, "norm").statistic > FAR


@pytest.mark.parametrize(
    "name", ["poisson", "nbinom2", "nbinom1", "binomial of trials", "bernoulli", "cumulative"]
)
def test_chances_are_sums_of_probabilities(name):
    fit = true_fit(name)
    eta, response = (
        linear_predictor(fit, fit.model.design),
        fit.model.family.response(fit.model.design),
    )
    below, upto = chances(fit, eta, response, np.random.SeedSequence(0))
    expected = module._summed(fit, eta, response)
    np.testing.assert_allclose(below, expected[0], atol=1e-10)
    np.testing.assert_allclose(upto, expected[1], atol=1e-10)


def test_sums_in_parts_are_the_same(monkeypatch):
    """Counts whose probabilities are worked out in another call than those below them."""
    fit = true_fit("generalized_poisson")
    design = fit.model.design
    given = linear_predictor(fit, design), fit.model.family.response(design)
    whole = module._summed(fit, *given)
    monkeypatch.setattr(module, "CHUNK", 7)
    np.testing.assert_allclose(module._summed(fit, *given), whole, rtol=1e-13)


def no_cdf(value):
    raise NotImplementedError


@pytest.mark.parametrize("name", ["poisson", "gamma"])
def test_a_distribution_without_distribution_function(name, monkeypatch):
    fit, real = true_fit(name), module.distribution

    def bare(*arguments):
        made = real(*arguments)
        return SimpleNamespace(cdf=no_cdf, sample=made.sample, log_prob=made.log_prob)

    expected = fit.residuals("quantile", seed=5)
    monkeypatch.setattr(module, "distribution", bare)
    if name == "poisson":
        np.testing.assert_allclose(fit.residuals("quantile", seed=5), expected, atol=1e-7)
    else:
        with pytest.raises(ModelError, match="gamma family has no distribution function"):
            fit.residuals("quantile")


def test_gaussian_ones_are_the_others_over_their_sd():
    fit = fitted("exact")
    np.testing.assert_allclose(fit.residuals("quantile"), fit.residuals() / fit.sigma, rtol=1e-12)


def test_seeds():
    fit = fitted("poisson")
    first, again, other = (fit.residuals("quantile", seed=seed) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_far_responses_stay_finite():
    fit = true_fit("poisson")
    y = fit.model.design.y.copy()
    y[0] = 500.0
    design = replace(fit.model.design, response=replace(fit.model.design.response, values=y))
    found = replace(fit, model=replace(fit.model, design=design)).residuals("quantile")
    assert found.iloc[0] == pytest.approx(8.2, abs=0.1)
    with pytest.raises(ModelError, match="kind is 'deviant'"):
        fit.residuals("deviant")


@pytest.mark.parametrize(
    "name",
    ["poisson", "nbinom2", "bernoulli", "binomial of trials", "binomial of shares", "gaussian"],
)
def test_deviances_are_what_a_perfect_mean_would_gain(name):
    """Twice the difference of log-likelihoods, with the response as its own mean and with the fitted one."""
    fit = true_fit(name)
    design, own = fit.model.design, fit.params.own
    y = fit.model.family.response(design)[0]
    mu = fit.fitted().to_numpy()
    trials = fit.model.family.response(design)[1] if fit.model.family.has_trials else np.ones(ROWS)
    likelihoods = {
        "poisson": lambda m: scipy.stats.poisson.logpmf(y, m),
        "nbinom2": lambda m: scipy.stats.nbinom.logpmf(y, own[0], own[0] / (own[0] + m)),
        "bernoulli": lambda m: scipy.stats.bernoulli.logpmf(y, m),
        "binomial": lambda m: scipy.stats.binom.logpmf(y, trials, m),
        "gaussian": lambda m: scipy.stats.norm.logpdf(y, m, design.weights**-0.5),
    }
    likelihood = likelihoods[fit.model.family.name]
    gained = 2.0 * (likelihood(y / trials) - likelihood(mu))
    found = fit.residuals("deviance")
    np.testing.assert_allclose(found**2, gained, rtol=1e-7, atol=1e-8)
    assert (np.sign(found) == np.sign(y / trials - mu)).all()


def test_deviances_of_nbinom1_are_those_of_the_sizes_that_rows_have():
    fit = true_fit("nbinom1")
    y, mu = fit.model.family.response(fit.model.design)[0], fit.fitted().to_numpy()
    size = mu / fit.params.own[0]

    def likelihood(mean):
        return scipy.stats.nbinom.logpmf(y, size, size / (size + mean))

    found = fit.residuals("deviance")
    np.testing.assert_allclose(
        found**2, 2.0 * (likelihood(y) - likelihood(mu)), rtol=1e-7, atol=1e-8
    )
    assert (np.sign(found) == np.sign(y - mu)).all()


@pytest.mark.parametrize("dispersion", [0.0, 5e-324, 1e-300, 1e-12])
def test_deviances_of_negative_binomials_end_at_those_of_poisson(dispersion):
    y, mu = np.array([0.0, 1.0, 5.0, 400.0]), np.array([0.3, 1.0, 2.5, 500.0])
    expected = of_counts(y, mu, np.zeros(0))
    found = of_nbinom1(y, mu, np.array([dispersion]))
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    size = 1.0 / dispersion if dispersion > 1e-308 else np.inf
    np.testing.assert_allclose(of_nbinom2(y, mu, np.array([size])), expected, rtol=1e-8)


@pytest.mark.parametrize(("name", "power"), [("gamma", 2), ("inverse_gaussian", 3)])
def test_deviances_of_positive_responses_are_integrals(name, power):
    """Twice the integral of (y - m) / m^p from the mean to the response, for the variance function m^p."""
    fit = true_fit(name)
    y, mu = fit.model.family.response(fit.model.design)[0][:20], fit.fitted().to_numpy()[:20]
    found = fit.residuals("deviance").to_numpy()[:20]
    for i in range(20):
        score = partial(lambda m, own: (own - m) / m**power, own=y[i])
        expected = 2.0 * scipy.integrate.quad(score, mu[i], y[i])[0]
        assert found[i] ** 2 == pytest.approx(expected, rel=1e-6)


def test_families_without_deviances_say_what_to_use():
    with pytest.raises(ModelError, match="cumulative family has no deviance"):
        true_fit("cumulative").residuals("deviance")
