"""Laplace with own parameters: gradients by differences, published fits, and the exact Gaussian."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.likelihood.gaussian.likelihood import log_likelihood
from lmeformula.likelihood.gaussian.sums import sums
from lmeformula.likelihood.laplace.fit import fit_laplace
from lmeformula.likelihood.laplace.information import coefficients_at
from lmeformula.likelihood.laplace.likelihood import approximate
from lmeformula.likelihood.laplace.modes import place
from lmeformula.likelihood.laplace.observed import observed_information
from tests.likelihood.laplace.gradients import check_gradient
from tests.simulate import FORMULAS, differences, make_design

REFERENCES = {
    record["id"]: record
    for record in json.loads(
        (Path(__file__).parents[2] / "reference" / "reference_fits.json").read_text()
    )
}
PUBLISHED = {
    "salamanders-nb2": "nbinom2",
    "owls-nb1": "nbinom1",
    "wine-clmm-laplace": "cumulative",
    "wine-clmm-probit": "cumulative(probit)",
}


@cache
def published(id: str) -> lf.Fit:
    record = REFERENCES[id]
    data = lf.datasets.load(record["data"])
    return lf.fit(record["formula"], data, PUBLISHED[id], method="laplace")


@pytest.mark.parametrize("id", PUBLISHED)
def test_fits_are_the_published_ones(id):
    fit, record = published(id), REFERENCES[id]
    assert fit.converged
    assert abs(fit.loglik.value - record["logLik"]) < 1e-5
    assert fit.loglik.df == record["df"]
    # clmm lists the standard errors of its thresholds first.
    own = [*record["thresholds"]] or [record["sigma_or_dispersion"]]
    stderr = np.array(record["fixed_se"][-len(record["fixed"]) :])
    assert np.abs((fit.fixef.to_numpy() - record["fixed"]) / stderr).max() < 0.01
    np.testing.assert_allclose(fit.stderr, stderr, rtol=1e-3)
    np.testing.assert_allclose(fit.family_params, own, rtol=1e-3)
    sds = [sd for term in record["varcorr"] for sd in term["sd"]]
    found = [float(np.sqrt(covariance[0, 0])) for covariance in fit.params.covariances]
    np.testing.assert_allclose(found, sds, rtol=1e-3)
    if record["thresholds"]:
        errors = record["fixed_se"][: len(own)]
        np.testing.assert_allclose(fit.param_stderr[-len(own) :], errors, rtol=1e-3)


@pytest.mark.slow
def test_the_ordinal_fit_of_all_ratings_is_clmms():
    # ordinal 2022.11-16: clmm(factor(y) ~ service + (1|s) + (1|d) + (1|dept), InstEval), 1193 s.
    fit = lf.fit(
        "y ~ service + (1|s) + (1|d) + (1|dept)",
        lf.datasets.load("InstEval"),
        "cumulative",
        method="laplace",
    )
    assert fit.loglik.value == pytest.approx(-110474.05, abs=5e-3)
    found = [*np.sqrt([c[0, 0] for c in fit.params.covariances]), *fit.family_params]
    expected = [0.4996, 0.7826, 0.1179, -2.24273, -1.02622, 0.16175, 1.41591]
    np.testing.assert_allclose(found, expected, atol=7e-5)
    assert fit.fixef["service"] == pytest.approx(-0.14027, abs=2e-5)


def simulated(seed: int, n: int = 240) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    g, h = rng.integers(12, size=n), rng.integers(5, size=n)
    x = rng.normal(size=n)
    effects = rng.normal(size=(12, 2)) * [0.8, 0.5]
    eta = 0.3 + 0.5 * x + effects[g, 0] + effects[g, 1] * x + 0.4 * rng.normal(size=5)[h]
    mean = np.exp(eta)
    latent = eta + rng.logistic(size=n)
    return {
        "x": x,
        "g": g,
        "h": h,
        "grade": 1 + np.searchsorted([-1.0, 0.5, 2.0], latent),
        "more": rng.poisson(mean * rng.gamma(2.0, 0.5, size=n)),
        "time": rng.gamma(2.0, mean / 2.0),
        "share": rng.beta(4.0 / (1 + np.exp(-eta)), 4.0 / (1 + np.exp(eta))).clip(1e-6, 1 - 1e-6),
        "level": eta + rng.normal(size=n),
    }


CASES = [
    ("grade ~ x + (x | g) + (1 | h)", "cumulative"),
    ("grade ~ 0 + (1 | h) + diag(x | g)", "cumulative(probit)"),
    ("grade ~ x + offset(x) + (1 | g)", "cumulative(cloglog)"),
    ("more ~ x + (x | g) + (1 | h)", "nbinom2"),
    ("more ~ x + (1 | g)", "nbinom1"),
    ("time ~ x + (x | g)", "gamma"),
    ("share ~ x + (1 | g) + (1 | h)", "beta"),
    ("level ~ x + (x | g) + (1 | h)", "gaussian"),
]


@pytest.mark.parametrize(("formula", "family"), CASES)
def test_gradient_is_that_of_the_approximation(formula, family):
    check_gradient(lf.compile(lf.design(formula, simulated(1)), family))


@pytest.mark.parametrize("family", ["cumulative", "nbinom2", "gamma"])
def test_coefficient_information_is_that_of_the_profiled_joint_density(family):
    """H_cc - H_cu M^-1 H_uc: the second derivative of the joint density with its mode carried along."""
    response = {"cumulative": "grade", "nbinom2": "more", "gamma": "time"}[family]
    model = lf.compile(lf.design(f"{response} ~ x + (x | g) + (1 | h)", simulated(1)), family)
    space, found = model.space, fit_laplace(model)
    psi = space.to_free(found.params)
    start = found.approximation.mode.u

    def slope(at: np.ndarray) -> np.ndarray:
        there = approximate(found.problem, place(space, at), start)
        return np.concatenate([found.problem.X.T @ there.mode.first, there.depths.own])

    coefficients = [*range(space.num_fixed), *range(space.own_slice.start, space.size)]
    expected = -differences(slope, psi)[coefficients]
    there = approximate(found.problem, place(space, psi), start)
    information = coefficients_at(found.problem, there.mode, there.depths).information
    np.testing.assert_allclose(information, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("sigma", [None, 0.7])
@pytest.mark.parametrize("name", FORMULAS)
def test_of_a_gaussian_model_it_is_the_exact_likelihood(name, sigma):
    model = lf.compile(make_design(name), sigma=sigma)
    exact = lf.estimate(model, method="exact")
    found = fit_laplace(model)
    assert found.converged
    assert found.approximation.value == pytest.approx(exact.loglik.value, abs=1e-6)
    # Near a maximum the likelihood falls by half the square of the distance in standard errors.
    psi = model.space.to_free(found.params)
    distance = model.space.to_report(psi) - exact.param_values
    assert (np.abs(distance) < 3e-3 * exact.param_stderr + 1e-6)[
        ~np.isnan(exact.param_stderr)
    ].all()


def test_observed_information_of_a_gaussian_model_is_the_exact_one():
    model = lf.compile(make_design("two columns lead"))
    exact = lf.estimate(model, method="exact")
    found = fit_laplace(model)
    psi = model.space.to_free(exact.params)
    start = np.zeros(found.problem.plan.num_effects)
    free = np.ones(len(psi), bool)
    information = observed_information(model, found.problem, psi, free, start).matrix
    data = sums(model.design)
    expected = -differences(lambda at: log_likelihood(data, model.space, at)[1], psi)
    size = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(information / size, expected / size, atol=1e-5)


SKEWED = {
    "one in a thousand": [2500, 3],
    "steep": [2000, 300, 40, 6, 2],
    "empty middle": [1200, 1, 1300],
    "many": [20] * 25,
}


@pytest.mark.parametrize("case", SKEWED)
@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_skewed_thresholds_converge_from_the_start(case, link):
    rng = np.random.default_rng(5)
    grade = rng.permutation(np.repeat(np.arange(len(SKEWED[case])), SKEWED[case])) + 1
    g = rng.integers(30, size=len(grade))
    order = np.argsort(grade + rng.normal(size=len(grade)) + 0.1 * (g % 7))
    data = {"grade": grade, "g": g, "x": np.argsort(order) / len(grade)}
    fit = lf.fit("grade ~ x + (1 | g)", data, f"cumulative({link})", method="laplace")
    assert fit.converged
    assert np.isfinite(fit.stderr).all()
    assert (np.diff(fit.family_params) > 0).all()


def test_the_intercept_of_a_formula_is_the_thresholds():
    """With 0 +, with 1 +, and with a factor whose columns add up to a constant: one model."""
    data = lf.datasets.load("wine")
    fits = [
        lf.fit(f"rating ~ {fixed} + (1 | judge)", data, "cumulative", method="laplace")
        for fixed in ("temp + contact", "1 + temp + contact", "0 + temp + contact")
    ]
    for fit in fits[1:]:
        assert fit.loglik.value == pytest.approx(fits[0].loglik.value, abs=1e-9)
        np.testing.assert_allclose(fit.param_values, fits[0].param_values, rtol=1e-6)
        np.testing.assert_allclose(fit.predict(data), fits[0].predict(), rtol=1e-6)
    assert fits[2].model.design.dropped == ("temp[cold]",)
    assert "temp[cold]" in str(fits[2].summary())
