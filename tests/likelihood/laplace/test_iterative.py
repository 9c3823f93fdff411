"""The Laplace approximation by the iterative solver against the direct one, within its Monte Carlo error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

import lmeformula as lf
from lmeformula.em.outcome import Outcome
from lmeformula.likelihood.laplace import iterative
from lmeformula.likelihood.laplace.fit import fit_laplace
from lmeformula.likelihood.laplace.iterative import fit_iteratively
from lmeformula.likelihood.laplace.observed import observed_information


def frame(n: int = 3000, seed: int = 5) -> pd.DataFrame:
    """Responses of several families over crossed factors g (120 levels) and h (60)."""
    rng = np.random.default_rng(seed)
    g, h = rng.integers(0, 120, n), rng.integers(0, 60, n)
    x = rng.normal(size=n)
    eta = -0.3 + 0.5 * x + 0.7 * rng.normal(size=120)[g] + 0.4 * rng.normal(size=60)[h]
    eta += 0.4 * rng.normal(size=120)[g] * x
    chance, mean = 1.0 / (1.0 + np.exp(-eta)), np.exp(eta)
    latent = np.digitize(eta + rng.logistic(size=n), [-1.5, -0.3, 0.8])
    return pd.DataFrame(
        {
            "x": x,
            "g": g,
            "h": h,
            "yes": (rng.uniform(size=n) < chance).astype(float),
            "count": rng.poisson(mean).astype(float),
            "wins": rng.binomial(5, chance),
            "losses": 0,
            "grade": pd.Categorical.from_codes(latent, list("abcd"), ordered=True),
            "spread": rng.negative_binomial(2, 2 / (2 + mean)).astype(float),
            "size": rng.gamma(3.0, mean / 3.0),
        }
    ).assign(losses=lambda d: 5 - d["wins"])


CASES = {
    "bernoulli": ("yes ~ x + (1 | g) + (1 | h)", "bernoulli"),
    "bernoulli, slopes": ("yes ~ x + (x | g) + (1 | h)", "bernoulli"),
    "binomial": ("cbind(wins, losses) ~ x + (x || g) + (1 | h)", "binomial"),
    "poisson": ("count ~ x + (x | g) + (1 | h)", "poisson"),
    "own parameters of location": ("grade ~ x + (1 | g) + (1 | h)", "cumulative"),
    "an own parameter of scale": ("spread ~ x + (1 | g) + (1 | h)", "nbinom2"),
    "gamma": ("size ~ x + (x | g) + (1 | h)", "gamma"),
    "nested": ("yes ~ x + (1 | h / g)", "bernoulli"),
}


@pytest.fixture(scope="module")
def data():
    return frame()


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_direct_solver(data, name):
    formula, family = CASES[name]
    exact, found = (
        lf.fit(formula, data, family, method="laplace", solver=solver)
        for solver in ("direct", "iterative")
    )
    assert found.outcome is Outcome.CONVERGED
    assert found.solver == "iterative"
    inside = np.isfinite(exact.param_stderr)
    error, stderr = found.param_mc_error[inside], exact.param_stderr[inside]
    # Sharp enough to notice a wrong gradient.
    assert (error < 0.01 * stderr).all()
    distance = np.abs(found.param_values - exact.param_values)[inside]
    # Eight probes know their own error to about a quarter; the direct ascent stops within 5e-5 errors.
    assert (distance < 8.0 * error + 2e-4 * stderr).all()
    np.testing.assert_allclose(found.param_stderr[inside], stderr, rtol=0.01)
    assert abs(float(found.loglik) - float(exact.loglik)) < 8.0 * found.loglik.mc_error + 1e-6
    for mine, theirs, mine_cov, theirs_cov in zip(
        found.modes, exact.modes, found.mode_cov, exact.mode_cov, strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-3)
        np.testing.assert_allclose(mine_cov, theirs_cov, atol=0.03 * np.abs(theirs_cov).max())


def test_monte_carlo_errors_are_calibrated():
    """Over 20 seeds the estimates scatter around the direct solver's as their reported errors say."""
    model = lf.compile(lf.design("yes ~ x + (1 | g) + (1 | h)", frame(n=1200)), family="bernoulli")
    direct = fit_laplace(model)
    exact, best = model.space.to_free(direct.params), direct.approximation.value
    found, variances, logliks, errors = [], [], [], []
    for seed in range(20):
        one = fit_iteratively(model, seed=seed, tolerance=0.01, max_probes=100)
        found.append(one.psi - exact)
        variances.append(np.diag(one.mc_covariance))
        logliks.append(one.loglik - best)
        errors.append(one.loglik_error)
    low, high = chi2.ppf([5e-5, 1 - 5e-5], 20)
    for values, variance in (
        (np.array(found), np.mean(variances, axis=0)),
        (np.array(logliks), np.mean(np.square(errors))),
    ):
        statistic = (values**2).sum(axis=0) / variance
        assert (statistic > low).all()
        assert (statistic < high).all()


def test_an_interruption_returns_what_the_last_probes_gave(data, monkeypatch):
    model = lf.compile(lf.design("yes ~ x + (1 | g) + (1 | h)", data), family="bernoulli")
    calls = []

    def interrupted(*given, **how):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit_with(*given, **how)

    fit_with = iterative._fit_with
    monkeypatch.setattr(iterative, "_fit_with", interrupted)
    found = fit_iteratively(model, seed=0, tolerance=1e-9, max_probes=100)
    assert found.interrupted
    assert found.found.converged
    calls[:] = [()]
    with pytest.raises(KeyboardInterrupt):
        fit_iteratively(model, seed=0, tolerance=1e-9, max_probes=100)


def test_information_is_the_direct_solvers(data):
    model = lf.compile(lf.design("count ~ x + (1 | g) + (1 | h)", data), family="poisson")
    direct = fit_laplace(model)
    psi = model.space.to_free(direct.params)
    inside = np.ones(len(psi), bool)
    exact = observed_information(
        model, direct.problem, psi, inside, direct.approximation.mode.u
    ).matrix
    found = fit_iteratively(model, seed=1, tolerance=0.01, max_probes=100)
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    np.testing.assert_allclose(found.information / scale, exact / scale, atol=2e-3)


@pytest.mark.slow
def test_insteval():
    data = lf.datasets.load("insteval")
    data["good"] = (data["ratings"].astype(float) >= 4).astype(float)
    formula = "good ~ service + (1 | students) + (1 | instructors) + (1 | departments)"
    exact, found = (
        lf.fit(formula, data, "bernoulli", method="laplace", solver=solver)
        for solver in ("direct", "iterative")
    )
    assert found.converged
    distance = np.abs(found.param_values - exact.param_values)
    assert (distance < 6.0 * found.param_mc_error + 2e-4 * exact.param_stderr).all()
    np.testing.assert_allclose(found.param_stderr, exact.param_stderr, rtol=0.01)
    assert abs(float(found.loglik) - float(exact.loglik)) < 6.0 * found.loglik.mc_error
