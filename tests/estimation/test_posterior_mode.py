"""Posterior modes against blme's, and against dense penalised likelihoods maximised by SciPy."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats
from scipy.special import expit

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.inference.update import update

BLME = json.loads((Path(__file__).parents[1] / "reference" / "priors.json").read_text())["fits"]
SLEEP, SIMPLE = "Reaction ~ Days + (Days | Subject)", "Reaction ~ Days + (1 | Subject)"
Y = "01111 00111 10111 00111 00111 11111 00111 01111 00111 00111 10111 00111"


@cache
def data(name):
    if name != "separated":
        return lf.datasets.load(name)
    y = [int(one) for one in Y if one != " "]
    return pd.DataFrame({"y": y, "g": np.repeat(np.arange(12), 5), "x": [0, 0, 1, 1, 1] * 12})


CBPP = "incidence | trials(size) ~ period + (1 | herd)"
# The set, the formula, priors, and the call besides. blme's own default is relative to sigma.
CASES = {
    "wishart": ("sleepstudy", SLEEP, {"cov/sigma^2": "wishart()"}, {}),
    "wishart_finite": ("sleepstudy", SLEEP, {"cov": "wishart(5, 30)"}, {}),
    "gamma": ("sleepstudy", SIMPLE, {"sd": "gamma(2.5, 0.5)"}, {}),
    "normal": ("sleepstudy", SLEEP, {"Intercept": "normal(0, 250)", "b": "normal(0, 5)"}, {}),
    "boundary": ("dyestuff2", "Yield ~ 1 + (1 | Batch)", {"sd/sigma": "gamma(2.5, 0)"}, {}),
    "invgamma": (
        "dyestuff2",
        "Yield ~ 1 + (1 | Batch)",
        {"sd": "inverse_gamma(2, 1)", "sigma": "inverse_gamma(3, 10)"},
        {},
    ),
    "t": (
        "dyestuff",
        "Yield ~ 1 + (1 | Batch)",
        {"sd(Batch)": "gamma(2.5, 0.01)", "Intercept": "student(3, 0, 1000)"},
        {},
    ),
    "cbpp": (
        "cbpp",
        CBPP,
        {"sd": "gamma(2.5, 0.5)", "Intercept": "normal(0, 5)", "b": "normal(0, 2.5)"},
        {"family": "binomial", "method": "laplace"},
    ),
    "separated": (
        "separated",
        "y ~ x + (1 | g)",
        {"sd": "gamma(2.5, 0.5)", "Intercept": "normal(0, 5)", "b": "normal(0, 2.5)"},
        {"family": "bernoulli", "method": "laplace"},
    ),
    "separated_t": (
        "separated",
        "y ~ 0 + x + (1 | g)",
        {"cov": "wishart(4, 2)", "x": "student(3, 0, 2.5)"},
        {"family": "bernoulli", "method": "laplace"},
    ),
}


@cache
def fitted(name):
    known, formula, priors, how = CASES[name]
    return lf.fit(formula, data(known), priors=priors, progress=False, **how)


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_blme(name):
    fit, truth = fitted(name), BLME[name]
    assert fit.converged
    # What blme maximised is as high here, constants included, and no higher there.
    gain = fit.log_posterior - (truth["logLik"] - 0.5 * truth["penalty"])
    assert -1e-8 < gain < 1e-6
    expected = [*truth["fixef"], *truth["sdcor"]][: len(fit.param_values)]
    np.testing.assert_allclose((fit.param_values - expected) / fit.param_stderr, 0.0, atol=1e-3)
    # blme's standard errors of coefficients are those at the other estimates.
    np.testing.assert_allclose(fit.stderr, truth["se"], rtol=0.3)


REML = {
    "wishart_reml": (SLEEP, {"cov/sigma^2": "wishart()"}),
    "gamma_reml": (SIMPLE, {"sd": "gamma(2.5, 0.5)"}),
}


@pytest.mark.parametrize("name", REML)
def test_the_restricted_likelihood_with_priors_of_covariances(name):
    (formula, priors), truth = REML[name], BLME[name]
    fit = lf.fit(formula, data("sleepstudy"), priors=priors, reml=True)
    assert fit.reml
    gain = fit.log_posterior - (truth["logLik"] - 0.5 * truth["penalty"])
    assert -1e-8 < gain < 1e-6
    expected = [*truth["fixef"], *truth["sdcor"]]
    np.testing.assert_allclose((fit.param_values - expected) / fit.param_stderr, 0.0, atol=1e-3)
    np.testing.assert_allclose(fit.stderr, truth["se"], rtol=1e-4)
    with pytest.raises(ModelError, match="integrates out"):
        lf.fit(formula, data("sleepstudy"), priors={"b": "normal(0, 1)"}, reml=True)


def test_a_flat_prior_of_sigma_is_reml():
    flat = lf.fit(SLEEP, data("sleepstudy"), priors={"sigma": "gamma(1, 0)"}, reml=True)
    truth = lf.fit(SLEEP, data("sleepstudy"), reml=True)
    assert flat.loglik.value == pytest.approx(truth.loglik.value, abs=1e-8)
    np.testing.assert_allclose(flat.param_values, truth.param_values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(flat.param_stderr, truth.param_stderr, rtol=1e-4)


@pytest.mark.parametrize("term", ["(1 | Subject)", "(Days || Subject)"])
@pytest.mark.parametrize("rate", [0.1, 1.0, 10.0])
def test_a_density_that_falls_from_zero_at_once(term, rate):
    """Its mode may be at zero, where it has a kink: no place beside it is higher."""
    fit = lf.fit(
        f"Reaction ~ Days + {term}", data("sleepstudy"), priors={"sd": f"exponential({rate})"}
    )
    assert fit.converged
    assert fit.singular == (fit.param_values[2:-1] == 0.0).any()
    if rate == 10.0:
        assert fit.singular


UNBOUNDED = [{"sd": "gamma(0.5, 1)"}, {"cor": "lkj(0.5)"}, {"cov": "wishart(2, 1)"}]


@pytest.mark.parametrize("priors", UNBOUNDED)
def test_densities_that_are_infinite_have_no_mode(priors):
    with pytest.raises(ModelError, match="infinite at its bound"):
        lf.fit(SLEEP, data("sleepstudy"), priors=priors)


def test_priors_are_kept_by_folds_and_bootstrap_refits():
    """With a prior that says nearly all, every refit has its mean."""
    priors = {"Days": "normal(3, 1e-3)", "sd": "half_normal(50)"}
    fit = lf.fit(SIMPLE, data("sleepstudy"), priors=priors)
    boot = fit.confint(method="boot", num_refits=100, seed=1).set_index("parameter")
    assert boot.loc["Days", ["lower", "upper"]].to_numpy(float) == pytest.approx(
        [3.0, 3.0], abs=0.01
    )
    found = fit.cross_validate(3, seed=1)
    loose = lf.fit(SIMPLE, data("sleepstudy")).cross_validate(found.folds)
    assert found.rmse[0] > loose.rmse[0] + 1.0


def test_an_equation_has_a_line_for_each_prior():
    text = str(fitted("normal").model.equation())
    assert "Days ~ Normal(0, 5²)" in text
    assert r"\text{Days} &\sim \mathcal{N}(0, 5^2)" in fitted("normal").model.equation().latex


def _gaussian(fit, prior):
    """-log posterior density of a dense Gaussian model (beta, log sds, atanh correlation, log sigma)."""
    design = fit.model.design
    y, X, (term,) = design.y, design.X, design.terms
    k, p = len(term.columns), X.shape[1]
    levels = len(term.levels)
    Z = np.zeros((len(y), levels * k))
    for column in range(k):
        Z[np.arange(len(y)), term.index * k + column] = term.values[:, column]

    def density(x):
        sds, sigma = np.exp(x[p : p + k]), np.exp(x[-1])
        R = np.eye(k)
        if k == 2:
            R[0, 1] = R[1, 0] = np.tanh(x[p + k])
        G = R * np.outer(sds, sds)
        V = Z @ np.kron(np.eye(levels), G) @ Z.T + sigma**2 * np.eye(len(y))
        value = stats.multivariate_normal(X @ x[:p], V).logpdf(y)
        return -(value + prior(x[:p], sds, R, sigma))

    start = [*fit.params.beta, *np.log(np.sqrt(np.diag(fit.params.covariances[0])))]
    if k == 2:
        start.append(np.arctanh(fit.param_values[p + k]))
    return density, np.array([*start, np.log(fit.sigma)])


DENSE = [
    (
        SIMPLE,
        {"b": "student(3, 0, 2)", "sd": "half_student(3, 0, 5)", "sigma": "gamma(4, 0.5)"},
        lambda b, s, R, sigma: (
            stats.t(3, 0, 2).logpdf(b[1])
            + stats.t(3, 0, 5).logpdf(s[0])
            + np.log(2)
            + stats.gamma(4, scale=2).logpdf(sigma)
        ),
    ),
    (
        SLEEP,
        {"Intercept": "normal(200, 5)", "sd": "lognormal(2, 0.5)", "cor": "lkj(4)"},
        lambda b, s, R, sigma: (
            stats.norm(200, 5).logpdf(b[0])
            + stats.lognorm(0.5, scale=np.exp(2)).logpdf(s).sum()
            + 3 * np.log(1 - R[0, 1] ** 2)
        ),
    ),
]


@pytest.mark.parametrize(("formula", "priors", "prior"), DENSE)
def test_no_place_is_higher_for_scipy(formula, priors, prior):
    fit = lf.fit(formula, data("sleepstudy"), priors=priors)
    density, start = _gaussian(fit, prior)
    top = optimize.minimize(density, start + 0.05, method="BFGS", options={"gtol": 1e-5})
    np.testing.assert_allclose(top.x, start, atol=2e-4, rtol=1e-5)
    # Standard errors are those of the posterior density where it is normal about its mode.
    hessian = optimize.approx_fprime(
        start, lambda x: optimize.approx_fprime(x, density, 1e-4), 1e-4
    )
    errors = np.sqrt(np.diag(np.linalg.inv(0.5 * (hessian + hessian.T))))
    np.testing.assert_allclose(fit.param_stderr[:2], errors[:2], rtol=0.02)
    np.testing.assert_allclose(fit.param_stderr[-1] / fit.sigma, errors[-1], rtol=0.02)
    if "cor" in priors:
        return
    value = stats.t(3, 0, 2).logpdf(fit.params.beta[1]) + fit.loglik.value
    assert fit.log_posterior > value - 20.0
    assert -density(start) == pytest.approx(fit.log_posterior, abs=1e-8)


def test_quadrature_against_a_dense_integral():
    """Random intercepts integrated out by many nodes, with priors, of separated responses."""
    table = data("separated")
    priors = {"b": "normal(0, 2.5)", "Intercept": "normal(0, 5)", "sd": "gamma(2.5, 0.5)"}
    fit = lf.fit("y ~ x + (1 | g)", table, "bernoulli", priors=priors)
    assert fit.method == "quadrature"
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    y, x = (table[name].to_numpy().reshape(12, 5) for name in ("y", "x"))

    def density(at):
        eta = at[0] + at[1] * x[:, :, None] + np.exp(at[2]) * nodes
        chance = np.where(y[:, :, None] == 1, expit(eta), expit(-eta)).prod(axis=1)
        value = np.log(chance @ weights / weights.sum()).sum()
        prior = stats.norm(0, 5).logpdf(at[0]) + stats.norm(0, 2.5).logpdf(at[1])
        return -(value + prior + stats.gamma(2.5, scale=2).logpdf(np.exp(at[2])))

    start = np.array([*fit.params.beta, np.log(fit.param_values[2])])
    assert -density(start) == pytest.approx(fit.log_posterior, abs=1e-7)
    top = optimize.minimize(density, [0.0, 1.0, 0.0], method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose(top.x, start, atol=1e-4)


DRAWN = {
    "separated": ("separated", "y ~ x + (1 | g)", "bernoulli", {"sd": "gamma(2.5, 0.5)"}),
    "at zero": ("separated", "y ~ x + (1 | g)", "bernoulli", {"sd": "half_normal(1)"}),
    "thresholds": (
        "wine",
        "rating ~ temp + (1 | judge)",
        "cumulative",
        {"sd": "half_normal(1)", "thresholds": "normal(0, 1)"},
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_monte_carlo_em_ends_at_the_mode_of_quadrature(name):
    known, formula, family, priors = DRAWN[name]
    priors = {**priors, "b": "normal(0, 2.5)"}
    priors |= {"Intercept": "normal(0, 5)"} if family == "bernoulli" else {}
    drawn, truth = (
        lf.fit(formula, data(known), family, priors=priors, method=method, progress=False)
        for method in ("mcem", "quadrature")
    )
    assert drawn.converged
    assert drawn.certificate.holds
    assert drawn.singular == truth.singular == (name == "at zero")
    far = np.abs(drawn.param_values - truth.param_values)
    # Five Monte Carlo errors, and what the ascent of quadrature leaves.
    assert (far <= 5.0 * np.nan_to_num(drawn.mc_error) + 1e-5).all()
    np.testing.assert_allclose(drawn.param_stderr, truth.param_stderr, rtol=0.03)
    error = 5.0 * drawn.loglik.mc_error + 1e-5
    assert drawn.loglik.value == pytest.approx(truth.loglik.value, abs=error)


def test_the_mode_is_the_same_in_other_units_of_a_column():
    """What a prior says is of the coefficient, and of nothing in between."""
    table = data("sleepstudy").assign(hours=lambda d: 24.0 * d["Days"])
    one = lf.fit(
        SLEEP,
        table,
        priors={"Days": "normal(0, 3)", "sd(Subject:Days)": "gamma(3, 1)", "cor": "lkj(2)"},
    )
    other = lf.fit(
        "Reaction ~ hours + (hours | Subject)",
        table,
        priors={"hours": "normal(0, 0.125)", "sd(Subject:hours)": "gamma(3, 24)", "cor": "lkj(2)"},
    )
    np.testing.assert_allclose(other.params.beta * [1, 24], one.params.beta, rtol=1e-7)
    np.testing.assert_allclose(other.param_values[3] * 24, one.param_values[3], rtol=1e-6)
    assert other.loglik.value == pytest.approx(one.loglik.value, abs=1e-8)


def test_flat_priors_are_maximum_likelihood():
    fit = lf.fit(SLEEP, data("sleepstudy"), priors={"Intercept": "normal(0, 1e7)"})
    truth = lf.fit(SLEEP, data("sleepstudy"))
    np.testing.assert_allclose(fit.param_values, truth.param_values, rtol=1e-6)
    np.testing.assert_allclose(fit.param_stderr, truth.param_stderr, rtol=1e-4)
    assert fit.loglik.value == pytest.approx(truth.loglik.value, abs=1e-8)


def test_what_is_said_of_a_fit():
    fit = fitted("separated")
    assert str(fit.summary()).startswith("Converged: this is the posterior mode (MAP)")
    assert "log posterior" in repr(fit)
    assert "b ~ normal(0, 2.5)" in repr(fit)
    assert fit.priors.loc["x", "prior"] == "normal(0, 2.5)"
    assert fit.log_posterior == fit.loglik.value + fit.log_prior
    assert "log posterior density" in repr(fit.certificate)
    assert np.isnan(fit.glance()["aic"][0])
    assert lf.table(fit) is not None


REFUSED = [
    lambda fit: fit.aic,
    lambda fit: fit.bic,
    lambda fit: fit.profile(),
    lambda fit: fit.confint(method="profile"),
    lambda fit: fit.anova(lf.fit(SIMPLE, data("sleepstudy"))),
    lambda fit: lf.compare(fit, fit),
    lambda fit: fit.drop1(test="Chisq"),
    lambda fit: fit.tidy(ddf="kenward-roger"),
    lambda fit: lf.power(fit, "Days", num_sims=10),
    lambda fit: update(fit, "~ .", method="mcem"),
    lambda fit: update(fit, "~ .", solver="iterative"),
]


@pytest.mark.parametrize("asked", REFUSED)
def test_what_is_of_maximum_likelihood_is_refused(asked):
    with pytest.raises(ModelError):
        asked(fitted("gamma"))


def test_priors_are_kept(tmp_path):
    fit = fitted("gamma")
    again = lf.load(fit.save(tmp_path / "fit"))
    assert again.model.priors == fit.model.priors
    assert again.log_posterior == fit.log_posterior
    assert repr(again) == repr(fit)
    refit = fit.refit(fit.model.design.y)
    np.testing.assert_allclose(refit.param_values, fit.param_values, rtol=1e-6)
    both = fit.refit(np.column_stack([fit.model.design.y, fit.model.design.y + 1.0]))
    np.testing.assert_allclose(both.values[0], fit.param_values, rtol=1e-6)
    smaller = fit.update("~ . - Days")
    assert smaller.model.priors.given == {"sd": "gamma(2.5, 0.5)"}
    assert not fit.update("~ .", priors=None).has_priors
    kept = fitted("normal").update("~ . - Days - (Days | Subject) + (1 | Subject)")
    assert kept.model.priors.given == {"Intercept": "normal(0, 250)"}
