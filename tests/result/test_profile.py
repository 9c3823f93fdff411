"""Profile intervals against lme4's, against the likelihood written out densely, and at boundaries."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import scipy.linalg as sl
from scipy.optimize import minimize
from scipy.stats import chi2

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.fit import Fit
from lmeformula.result.parameters import parameters
from tests.result.fakes import fake_fit
from tests.simulate import FORMULAS, frame, marginal_covariance

SLOPES = "Reaction ~ Days + (Days | Subject)"


@cache
def sleepstudy(reml: bool = False) -> Fit:
    return lf.fit(SLOPES, lf.datasets.load("sleepstudy"), reml=reml)


@cache
def simulated(name: str, reml: bool = False) -> Fit:
    return lf.fit(FORMULAS[name], frame(), reml=reml)


# confint(lmer(Reaction ~ Days + (Days | Subject), sleepstudy, REML = FALSE)) of lme4, as published with its
# examples, four decimals. The intercept's also stands in glmmTMB's tests (tests/testthat/test-methods.R,
# confint by "uniroot"): 237.68071, 265.12949.
LME4 = {
    "sd(Subject:Intercept)": (14.3815, 37.7160),
    "cor(Subject:Intercept,Days)": (-0.4815, 0.6850),
    "sd(Subject:Days)": (3.8012, 8.7534),
    "sigma": (22.8983, 28.8580),
    "Intercept": (237.6807, 265.1300),
    "Days": (7.3587, 13.5759),
}


@pytest.mark.parametrize("name", LME4)
def test_sleepstudy_as_in_lme4(name):
    """lme4 interpolates with splines between some ten points: to about 1e-4 of the width of an interval."""
    row = sleepstudy().confint("profile", parm=name).iloc[0]
    lower, upper = LME4[name]
    tolerance = 1e-4 * (upper - lower) + 5e-5
    assert row["lower"] == pytest.approx(lower, abs=tolerance)
    assert row["upper"] == pytest.approx(upper, abs=tolerance)
    assert row["note"] == ""


def test_intercept_as_in_glmmtmb():
    row = sleepstudy().confint("profile", parm="Intercept").iloc[0]
    assert [row["lower"], row["upper"]] == pytest.approx([237.68071, 265.12949], abs=2e-4)


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
    params = fit.params._replace(sigma=2.0 * fit.params.sigma)
    with pytest.raises(ModelError, match="the fit is not at its maximum"):
        Fit(**{name: getattr(fit, name) for name in fit.__slots__} | {"params": params}).profile(
            "sd(Subject:Days)"
        )


def test_monte_carlo_likelihoods_are_refused_by_name():
    with pytest.raises(ModelError, match="no profile likelihood of a poisson model fitted by mcem"):
        fake_fit(family="poisson", method="mcem").confint("profile")
