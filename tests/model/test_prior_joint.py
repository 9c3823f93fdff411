"""The joint distribution of parameters, effects and response: its density and its draws."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_probability as tfp
from scipy import stats

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.model.ordered_prior import Ordered

SLEEP = "Reaction ~ Days + (Days | Subject)"
PRIORS = {
    "Intercept": "normal(250, 50)",
    "b": "normal(0, 10)",
    "sd": "half_student(3, 0, 20)",
    "sd(Subject:Days)": "gamma(2, 0.3)",
    "cor": "lkj(2)",
    "sigma": "half_normal(30)",
}


def compiled(formula, data, family="gaussian", priors=PRIORS):
    return lf.compile(lf.design(formula, lf.datasets.load(data)), family, priors=priors)


def test_its_density_is_that_of_the_priors_times_that_of_the_model():
    fit = lf.estimate(compiled(SLEEP, "sleepstudy"))
    r = fit.param_values[4]
    seen = {**fit.joint_effects, "Reaction": fit.model.design.y}
    parameters = {
        "intercept": fit.params.beta[0],
        "effect_Days": fit.params.beta[1],
        "stddev_Subject": fit.param_values[2:4],
        "correlation_Subject": np.linalg.cholesky([[1.0, r], [r, 1.0]]),
        "sigma": np.float64(fit.sigma),
    }
    whole = float(fit.model.prior_joint.log_prob({**parameters, **seen}))
    assert whole - float(fit.joint.log_prob(**seen)) == pytest.approx(fit.log_prior, abs=1e-9)


def test_its_draws_have_the_moments_of_the_priors():
    draws = compiled(SLEEP, "sleepstudy").prior_joint.sample(2000, seed=2)
    assert draws["Reaction"].shape == (2000, 180)
    mean, error = np.mean(draws["intercept"]), 50.0 / 2000**0.5
    assert abs(mean - 250.0) < 5.0 * error
    sd = draws["stddev_Subject"].numpy()[:, 1]
    assert abs(sd.mean() - 2.0 / 0.3) < 5.0 * 2.0**0.5 / 0.3 / 2000**0.5
    # Effects of a level are as large as the standard deviation that was drawn with them.
    z = draws["Subject"].numpy()[:, :, 1] / sd[:, None]
    assert abs((z**2).mean() - 1.0) < 5.0 * (2.0 / z.size) ** 0.5


@pytest.mark.parametrize(
    ("formula", "data", "family", "priors", "part"),
    [
        (
            "incidence | trials(size) ~ period + (1 | herd)",
            "cbpp",
            "binomial",
            {"Intercept": "normal(0, 2)", "b": "normal(0, 1)", "sd": "gamma(2.5, 1)"},
            "incidence",
        ),
        (
            "TICKS ~ YEAR + (1 | BROOD) + (1 | INDEX)",
            "grouseticks",
            "nbinom2",
            {
                "Intercept": "normal(0, 1)",
                "b": "normal(0, 1)",
                "sd": "half_normal(0.5)",
                "dispersion": "gamma(2, 1)",
            },
            "TICKS",
        ),
    ],
)
def test_other_families(formula, data, family, priors, part):
    model = compiled(formula, data, family, priors)
    joint = model.prior_joint
    draws = joint.sample(3, seed=1)
    assert draws[part].shape == (3, model.design.n)
    assert np.isfinite(joint.log_prob(draws)).all()


REFUSED = [
    ({"b": "normal(0, 1)"}, "there is no prior of Intercept, sigma"),
    ({**PRIORS, "sigma": "gamma(2, 0)"}, "is improper"),
    ({"cov": "wishart(5, 1)"}, "of a whole covariance"),
    ({"sd/sigma": "half_normal(1)"}, "is relative to sigma"),
]


@pytest.mark.parametrize(("priors", "words"), REFUSED)
def test_what_cannot_be_drawn_is_refused(priors, words):
    with pytest.raises(ModelError, match=words):
        _ = compiled(SLEEP, "sleepstudy", priors=priors).prior_joint


WINE = "rating ~ temp + (1 | judge)"
ORDERED = {"thresholds": "normal(0, 2)", "b": "normal(0, 1)", "sd": "half_normal(1)"}


def test_ordered_thresholds_are_sorted_draws():
    """Of v sorted normal numbers the squares have the sum of v squares; their density is v! times theirs."""
    fit = lf.estimate(compiled(WINE, "wine", "cumulative", ORDERED))
    joint = fit.model.prior_joint
    draws = joint.sample(2000, seed=4)
    thresholds = draws["thresholds"].numpy()
    assert (np.diff(thresholds, axis=1) > 0.0).all()
    squares = (thresholds / 2.0) ** 2
    assert abs(squares.mean() - 1.0) < 5.0 * (2.0 / squares.size) ** 0.5
    # The mean of the largest of four normal numbers (David and Nagaraja, 2003, section 3.2).
    error = thresholds[:, -1].std() / 2000**0.5
    assert abs(thresholds[:, -1].mean() - 2.0 * 1.029375) < 5.0 * error
    parameters = {
        "effect_temp_T_warm": fit.params.beta[0],
        "stddev_judge": np.sqrt(fit.params.covariances[0][0, 0]),
        "thresholds": fit.params.own,
    }
    seen = {**fit.joint_effects, "rating": fit.model.design.y}
    whole = float(joint.log_prob({**parameters, **seen}))
    by_hand = (
        np.log(24.0)
        + stats.norm(0, 2).logpdf(fit.params.own).sum()
        + stats.norm(0, 1).logpdf(fit.params.beta[0])
        + stats.halfnorm(0, 1).logpdf(parameters["stddev_judge"])
    )
    assert fit.log_prior == pytest.approx(by_hand, abs=1e-9)
    assert whole - float(fit.joint.log_prob(**seen)) == pytest.approx(by_hand, abs=1e-9)
    each = tfp.distributions.Normal(np.float64(0.0), 1.0)
    assert float(Ordered(each, 2).log_prob([1.0, 0.0])) == -np.inf


@pytest.mark.parametrize(
    ("family", "priors", "words"),
    [
        ("cumulative", {"1|2": "normal(-2, 1)"}, "from one prior of all"),
        ("cumulative(thresholds=equidistant)", {}, "thresholds in a pattern"),
    ],
)
def test_thresholds_that_are_not_drawn_are_refused(family, priors, words):
    given = {**ORDERED, **priors}
    if "equidistant" in family:
        del given["thresholds"]
    with pytest.raises(ModelError, match=words):
        _ = compiled(WINE, "wine", family, given).prior_joint
