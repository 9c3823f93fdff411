"""Parts of the variance: against R's performance and insight, and against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.special

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.inference.r2 import R2, variances
from tests.prediction.after_fit import CLOSE, REFERENCE, data, fit_of

VARIANCE = REFERENCE["variance"]


def mean_of(name: str) -> float | None:
    # insight takes counts at exp(intercept) of the null model, without half its variance.
    return math.exp(REFERENCE["ticks_null"]["fixef"]) if name == "ticks" else None


@pytest.mark.parametrize("name", ["sleep", "machines", "oats", "cake", "cbpp", "ticks"])
def test_agrees_with_performance(name):
    published, mean = VARIANCE[name], mean_of(name)
    fit = fit_of(name)
    found = fit.r2(mean=mean)
    assert found.marginal == pytest.approx(published["marginal"], rel=CLOSE)
    assert found.conditional == pytest.approx(published["conditional"], rel=CLOSE)
    shares = fit.icc(mean=mean).iloc[-1]
    assert shares["group"] == "all"
    assert shares["adjusted"] == pytest.approx(published["adjusted"], rel=CLOSE)
    assert shares["unadjusted"] == pytest.approx(published["unadjusted"], rel=CLOSE)


def test_a_probit_has_a_latent_variance_of_one():
    fit = lf.fit(
        "cbind(incidence, size - incidence) ~ period + (1 | herd)",
        data("cbpp"),
        family="binomial(probit)",
        method="laplace",
    )
    assert variances(fit).residual == 1.0
    # lme4 takes the expected curvature where the link is not canonical: its fit differs by half a percent.
    assert fit.r2().conditional == pytest.approx(VARIANCE["cbpp_probit"]["conditional"], rel=1e-2)


def test_groups_add_up_and_slopes_count_at_every_row():
    fit = fit_of("machines")
    frame = fit.icc()
    assert frame["adjusted"][:-1].sum() == pytest.approx(frame["adjusted"].iloc[-1])
    # Johnson (2014): the mean of z' Sigma z over the rows.
    sleep = fit_of("sleep")
    days = np.arange(10.0)
    (sigma,) = sleep.params.covariances
    by_day = sigma[0, 0] + 2 * days * sigma[0, 1] + days**2 * sigma[1, 1]
    assert variances(sleep).random == pytest.approx(by_day.mean(), rel=1e-12)


def test_counts_have_three_approximations():
    # Nakagawa, Johnson, Schielzeth (2017), table 1: 1 / m, log(1 + 1 / m), trigamma(m) for a Poisson mean m.
    fit, m = fit_of("ticks"), 3.7
    expected = {
        "delta": 1 / m,
        "lognormal": math.log1p(1 / m),
        "trigamma": float(scipy.special.polygamma(1, m)),
    }
    for kind, value in expected.items():
        assert variances(fit, observation=kind, mean=m).residual == pytest.approx(value, rel=1e-10)
    assert variances(fit, mean=m).residual == pytest.approx(expected["lognormal"])
    assert variances(fit).residual == pytest.approx(math.log1p(1 / data("ticks").TICKS.mean()))


def test_the_mean_of_a_null_model_has_half_its_variance():
    null = lf.fit(
        "TICKS ~ 1 + (1 | BROOD) + (1 | LOCATION)",
        data("ticks"),
        family="poisson",
        method="laplace",
    )
    total = sum(float(cov[0, 0]) for cov in null.params.covariances)
    mean = math.exp(null.params.beta[0] + total / 2)
    assert fit_of("ticks").r2(null=null) == pytest.approx(fit_of("ticks").r2(mean=mean))


def test_a_proportion_by_the_delta_method():
    # One over p (1 - p) on the logit scale.
    assert variances(fit_of("cbpp"), observation="delta", mean=0.2).residual == pytest.approx(6.25)


def test_an_effect_for_each_row_is_residual():
    # The overdispersion of Nakagawa and Schielzeth (2013): LOCATION's effects as if each row had its own.
    fit = fit_of("ticks")
    design = fit.model.design
    brood, location = design.terms
    rows = tuple(str(i) for i in range(design.n))
    own = replace(location, levels=rows, index=np.arange(design.n, dtype=np.int32))
    model = replace(fit.model, design=replace(design, terms=(brood, own)))
    parts = variances(replace(fit, model=model), mean=2.0)
    assert list(parts.groups) == ["BROOD"]
    variance = float(fit.params.covariances[1][0, 0])
    assert parts.residual == pytest.approx(variance + math.log1p(0.5))


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("ticks", {"observation": "latent"}, "no latent variable"),
        ("cbpp", {"observation": "trigamma"}, "for log links"),
        ("cbpp", {"observation": "exact"}, "observation is 'exact'"),
        ("cbpp", {"observation": "delta", "null": "ticks"}, "null fit has predictors"),
        ("ticks", {"mean": 1.0, "null": "ticks"}, "both a mean and a null"),
    ],
)
def test_what_does_not_go_together_is_refused(name, options, problem):
    if "null" in options:
        options = options | {"null": fit_of(options["null"])}
    with pytest.raises(ModelError, match=problem):
        fit_of(name).r2(**options)


def test_shows_four_digits():
    assert repr(R2(0.26856412501338955, 0.5)) == "R2(marginal=0.2686, conditional=0.5000)"
