"""Profile intervals against lme4's, against the likelihood written out densely, and at boundaries."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg as sl
from scipy.optimize import brentq, minimize
from scipy.stats import chi2

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.errors import ModelError
from lmeformula.face import Fit
from lmeformula.likelihood.laplace.likelihood import approximate
from lmeformula.likelihood.laplace.modes import arrays_of, gradient, place
from lmeformula.prediction.parameters import parameters
from tests.prediction.fakes import fake_fit
from tests.simulate import FORMULAS, frame, marginal_covariance

SLOPES = "Reaction ~ Days + (Days | Subject)"


@cache
def sleepstudy(reml: bool = False) -> Fit:
    return lf.fit(SLOPES, lf.datasets.load("sleepstudy"), reml=reml)


@cache
def simulated(name: str, reml: bool = False) -> Fit:
    return lf.fit(FORMULAS[name], frame(), reml=reml)


REFERENCES = json.loads((Path(__file__).parents[1] / "reference/intervals.json").read_text("utf-8"))


def ours(name: str) -> str:
    """lme4's "sd_Days|Subject", "cor_Days.(Intercept)|Subject" in our words."""
    kind, _, rest = name.partition("_")
    if kind == "sd" and rest:
        column, group = rest.split("|")
        return {
            "(Intercept)|Subject": "sd(Subject:Intercept)",
            "Days|Subject": "sd(Subject:Days)",
        }.get(rest, f"sd({group})" if column == "(Intercept)" else rest)
    if kind == "cor":
        return "cor(Subject:Intercept,Days)"
    return re.sub(r"^period(\d)$", r"period[T.\1]", name.replace("(Intercept)", "Intercept"))


def in_words_of(fit: Fit, name: str) -> str:
    """The name in that fit, where uncorrelated slopes are terms of their own."""
    if name in fit.param_names:
        return name
    return {"sd(Subject:Intercept)": "sd(Subject)", "sd(Subject:Days)": "sd(Subject.1:Days)"}[name]


@pytest.mark.parametrize("entry", REFERENCES["profiles"], ids=lambda e: e["formula"])
def test_as_in_lme4(entry):
    """lme4 interpolates with splines, here between points a twelfth of a standard error apart."""
    fit = lf.fit(entry["formula"], lf.datasets.load(entry["data"]))
    found = fit.confint("profile").set_index("parameter")
    for name, lower, upper in zip(entry["names"], entry["lower"], entry["upper"], strict=True):
        if entry["data"] == "dyestuff2" and ours(name) != "sd(Batch)":
            continue  # lme4's fails at the singular fit; the test below knows better
        row = found.loc[in_words_of(fit, ours(name))]
        tolerance = 2e-6 * (upper - lower)
        assert [row["lower"], row["upper"]] == pytest.approx([lower, upper], abs=tolerance)


def test_mean_of_a_balanced_one_way_layout():
    """By hand: with J groups of K the maximum over the variances, held apart at zero, is in closed form."""
    data = lf.datasets.load("dyestuff2")
    y = data["Yield"].to_numpy().reshape(6, 5)
    within = ((y - y.mean(1, keepdims=True)) ** 2).sum()

    def deviance(mean):
        between = 5 * ((y.mean(1) - mean) ** 2).sum()
        small, large = within / 24, between / 6
        if large < small:
            small = large = (within + between) / 30
        return 24 * math.log(small) + 6 * math.log(large) + within / small + between / large

    def fall(mean):
        return deviance(mean) - deviance(y.mean()) - chi2.ppf(0.95, 1)

    ends = [brentq(fall, y.mean() + s * 0.5, y.mean() + s * 3.0, xtol=1e-12) for s in (-1, 1)]
    fit = lf.fit("Yield ~ 1 + (1 | Batch)", data)
    row = fit.confint("profile", parm="Intercept").iloc[0]
    assert [row["lower"], row["upper"]] == pytest.approx(ends, abs=1e-6)


def test_published_intervals():
    """The four decimals that are known of sleepstudy, whichever version of lme4 one has."""
    found = sleepstudy().confint("profile").set_index("parameter")
    published = {
        "sd(Subject:Intercept)": (14.3814, 37.7161),
        "cor(Subject:Intercept,Days)": (-0.4815, 0.6850),
        "sd(Subject:Days)": (3.8012, 8.7534),
        "sigma": (22.8983, 28.8580),
        "Intercept": (237.6807, 265.1295),
        "Days": (7.3587, 13.5759),
    }
    for name, ends in published.items():
        assert found.loc[name, ["lower", "upper"]].tolist() == pytest.approx(ends, abs=6e-5)


@pytest.mark.parametrize("entry", REFERENCES["laplace"], ids=lambda e: e["formula"])
def test_laplace_fits_as_in_lme4(entry):
    """glmer finds conditional modes to a relative 1e-7: its log-likelihood here is off by 3e-4.

    At zeta = 1.96 that moves an end by up to 2 * 3e-4 / (2 * 1.96) standard errors.
    """
    fit = lf.fit(entry["formula"], lf.datasets.load(entry["data"]), "binomial", method="laplace")
    found = fit.confint("profile").set_index("parameter")
    for name, lower, upper in zip(entry["names"], entry["lower"], entry["upper"], strict=True):
        row = found.loc[ours(name)]
        tolerance = 1.6e-4 * (upper - lower) / (2 * 1.96)
        assert [row["lower"], row["upper"]] == pytest.approx([lower, upper], abs=tolerance)


@pytest.mark.parametrize("name", ["1|2", "2|3", "4|5"])
def test_thresholds_by_constrained_optimisation(name):
    """A later threshold is a sum of unconstrained parameters: SLSQP holds the sum, where we eliminate one."""
    fit = lf.fit(
        "rating ~ temp + contact + (1 | judge)",
        lf.datasets.load("wine"),
        "cumulative",
        method="laplace",
    )
    row = fit.confint("profile", parm=name).iloc[0]
    model, index = fit.model, fit.param_names.index(name)
    plan = layout(model.design.terms)
    problem = arrays_of(model, plan)
    zero = np.zeros(plan.num_effects)

    def fall(psi):
        found = approximate(problem, place(model.space, psi), zero)
        return -found.value, -gradient(model.space, psi, found)

    for end in (row["lower"], row["upper"]):
        held = {
            "type": "eq",
            "fun": lambda psi, end=end: model.space.to_report(psi)[index] - end,
            "jac": lambda psi: model.space.report_jacobian(psi)[index],
        }
        psi = model.space.to_free(fit.params)
        best = minimize(
            fall, psi, jac=True, method="SLSQP", constraints=held, options={"ftol": 1e-10}
        )
        assert 2 * (best.fun + fit.loglik.value) == pytest.approx(chi2.ppf(0.95, 1), abs=1e-5)


def dense_profile(fit: Fit, name: str, value: float) -> float:
    """The profile deviance by the definition: every parameter but one maximised over, none eliminated.

    Restricted where the fit is and the parameter is one of the covariance.
    """
    model, index = fit.model, fit.param_names.index(name)
    design, space = model.design, model.space
    is_fixed = index < space.num_fixed
    psi = space.to_free(fit.params)

    def log_likelihood(at):
        params = space.to_natural(at)
        factor = sl.cho_factor(marginal_covariance(design, params), lower=True)
        residual = design.y - design.offset - design.X @ params.beta
        found = -0.5 * design.n * math.log(2 * math.pi) - np.log(np.diag(factor[0])).sum()
        found -= 0.5 * residual @ sl.cho_solve(factor, residual)
        if fit.reml and not is_fixed:
            found -= 0.5 * np.linalg.slogdet(design.X.T @ sl.cho_solve(factor, design.X))[1]
            found += 0.5 * space.num_fixed * math.log(2 * math.pi)
        return found

    def held(at):
        """The others, with the one put where its report is `value`; an unconstrained sd is its logarithm."""
        whole = np.insert(at, index, 0.0)
        kind = parameters(fit)[index].effect
        whole[index] = {
            "fixed": lambda v: v,
            "sd": math.log,
            "residual": math.log,
            "cor": lambda v: v / math.sqrt(1 - v * v),
        }[kind](value)
        return whole

    others = np.delete(psi, index)
    unit = np.ones(len(others))
    unit[: space.num_fixed - is_fixed] = np.delete(fit.param_stderr, index)[
        : space.num_fixed - is_fixed
    ]
    found = minimize(
        lambda z: -log_likelihood(held(others + unit * z)),
        np.zeros(len(others)),
        method="BFGS",
        options={"gtol": 1e-5},
    )
    top = fit.loglik.value
    if fit.reml and is_fixed:
        top = lf.estimate(model).loglik.value
    return 2.0 * (top + found.fun)


DENSE = [
    ("crossed", False, "sd(h)", 0.95),
    ("crossed", False, "sigma", 0.99),
    ("crossed", True, "sd(g)", 0.95),
    ("one term", True, "x", 0.95),
    ("one variance", False, "sd(g)", 0.9),
    ("slope only", True, "sigma", 0.8),
    pytest.param("weights", False, "x", 0.95, marks=pytest.mark.slow),
    pytest.param("weights", True, "sd(g:Intercept)", 0.95, marks=pytest.mark.slow),
    pytest.param("two columns", False, "cor(g:Intercept,x)", 0.5, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("model", "reml", "name", "level"), DENSE)
def test_the_dense_likelihood_has_fallen_by_the_quantile_at_the_ends(model, reml, name, level):
    fit = simulated(model, reml)
    row = fit.confint("profile", level, name).iloc[0]
    for end in (row["lower"], row["upper"]):
        # The dense maximum is found by differences, to about 1e-6.
        assert dense_profile(fit, name, end) == pytest.approx(chi2.ppf(level, 1), abs=2e-4)


def test_any_correlation_of_three_coefficients():
    """The pair is put first; the intervals do not depend on the order in which the formula has them."""
    one = simulated("three columns").confint("profile", 0.5)
    turned = lf.fit("y ~ x + (0 + z + x + v | g)", {**frame(), "v": np.ones(72)}).confint(
        "profile", 0.5
    )
    pairs = {
        "cor(g:Intercept,x)": "cor(g:x,v)",
        "cor(g:Intercept,z)": "cor(g:z,v)",
        "cor(g:x,z)": "cor(g:z,x)",
    }
    first = one.set_index("parameter")[["lower", "upper"]]
    second = turned.set_index("parameter")[["lower", "upper"]]
    for a, b in pairs.items():
        assert first.loc[a].to_numpy() == pytest.approx(second.loc[b].to_numpy(), abs=2e-4)


@pytest.mark.parametrize(("structure", "option"), [("cs", ""), ("ar1", ", hom = FALSE")])
def test_correlations_of_other_structures(structure, option):
    """Of two coefficients with variances of their own, cs and ar1 are us in other coordinates."""
    data = {**frame(), "t": np.arange(72) // 12 % 2}
    us = lf.fit("y ~ x + (0 + factor(t) | g)", data).confint("profile", 0.6)
    other = lf.fit(f"y ~ x + {structure}(0 + factor(t) | g{option})", data).confint("profile", 0.6)
    for side in ("lower", "upper"):
        assert us[side].to_numpy() == pytest.approx(other[side].to_numpy(), abs=2e-4)


@pytest.mark.parametrize("reml", [False, True])
def test_a_variance_at_zero_has_a_one_sided_interval(reml):
    fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff2"), reml=reml)
    row = fit.confint("profile", parm="sd(Batch)").iloc[0]
    assert row["estimate"] == row["lower"] == 0.0
    assert row["note"] == "zero is not excluded"
    assert dense_profile(fit, "sd(Batch)", row["upper"]) == pytest.approx(3.841459, abs=2e-4)
    wald = fit.confint(parm="sd(Batch)").iloc[0]
    assert math.isnan(wald["upper"])
    assert "boundary" in wald["note"]


def test_zero_is_the_end_where_the_likelihood_does_not_fall_enough():
    fit = lf.fit("strength ~ 1 + (1 | batch/cask)", lf.datasets.load("pastes"))
    row = fit.confint("profile", parm="sd(batch)").iloc[0]
    assert row["lower"] == 0.0
    assert row["note"] == "zero is not excluded"
    assert dense_profile(fit, "sd(batch)", 1e-5) < chi2.ppf(0.95, 1)
    # At a level low enough it does.
    assert fit.confint("profile", 0.3, "sd(batch)")["lower"][0] > 0.0


def test_correlations_end_at_their_bounds():
    row = simulated("two columns").confint("profile", parm="cor(g:Intercept,x)").iloc[0]
    assert [row["lower"], row["upper"]] == [-1.0, 1.0]


@pytest.mark.parametrize("name", ["crossed", "two columns", "slopes apart", "nested"])
def test_order_of_a_profile(name):
    """Zeta rises with the value, through zero at the estimate."""
    fit = simulated(name)
    for one in fit.profile().profiles:
        assert one.is_sound
        assert (np.diff(one.values) >= 0).all()
        assert (np.diff(one.zeta) > 0).all()
        middle = list(one.zeta).index(0.0)
        assert one.values[middle] == pytest.approx(one.parameter.estimate, abs=1e-5)


def test_profile_interpolates_what_confint_searches():
    fit = sleepstudy()
    searched = fit.confint("profile", 0.9).set_index("parameter")
    profile = fit.profile()
    drawn = profile.confint(0.9).set_index("parameter")
    width = searched["upper"] - searched["lower"]
    for side in ("lower", "upper"):
        assert ((searched[side] - drawn[side]).abs() < 1e-4 * width).all()
    assert "Profile likelihood, 66 points, 95 % intervals" in repr(profile)
    assert set(profile.to_frame()) == {"parameter", "value", "zeta"}
    with pytest.raises(ModelError, match=r"goes out to 0\.99"):
        profile.confint(0.999)


def test_zeta_is_a_straight_line_where_the_likelihood_is_quadratic():
    """With both variances known, as good as, the profile of the mean is: one group per row, sigma fixed."""
    rng = np.random.default_rng(4)
    fit = lf.fit(
        "y ~ 1 + (1 | g)", {"y": rng.normal(size=4000), "g": np.arange(4000) % 2000}, sigma=1.0
    )
    one = fit.profile("Intercept").profiles[0]
    slope = one.zeta[-1] / (one.values[-1] - one.parameter.estimate)
    straight = slope * (one.values - one.parameter.estimate)
    assert one.zeta == pytest.approx(straight, abs=5e-3)
    assert 1.0 / slope == pytest.approx(one.parameter.std_error, rel=5e-3)


def test_a_fit_that_is_not_at_the_maximum_is_told_so():
    fit = sleepstudy()
    params = fit.params._replace(own=2.0 * fit.params.own)
    with pytest.raises(ModelError, match="the fit is not at its maximum"):
        replace(fit, params=params).profile("sd(Subject:Days)")


def test_monte_carlo_likelihoods_are_refused_by_name():
    with pytest.raises(ModelError, match="no profile likelihood of a poisson model fitted by mcem"):
        fake_fit(family="poisson", method="mcem").confint("profile")


def test_of_a_fit_by_probes_the_ways_out_are_named():
    data = lf.datasets.load("penicillin")
    fit = lf.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", data, solver="iterative")
    with pytest.raises(ModelError, match=r'method="wald"; .* solver="direct"\. .* anova'):
        fit.confint(method="profile")
