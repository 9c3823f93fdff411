"""Which parameters priors are of, and their log density with its derivatives."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.model.penalty import Moves

SLEEP = "Reaction ~ Days + (Days | Subject)"


@cache
def design(formula=SLEEP, name="sleepstudy"):
    return lf.design(formula, lf.datasets.load(name))


def names(priors, family="gaussian", of=SLEEP, **more):
    model = lf.compile(design(of), family, priors=priors, **more)
    return {one.key: one.names for one in model.priors}


def test_one_parameter_counts_before_a_term_and_that_before_all():
    found = names(
        {
            "sd": "half_normal(10)",
            "sd(Subject:Days)": "exponential(1)",
            "b": "normal(0, 10)",
            "Intercept": "student(3, 250, 50)",
            "cor(Subject)": "lkj(2)",
            "sigma": "half_cauchy(20)",
        }
    )
    assert found == {
        "sd": ("sd(Subject:Intercept)",),
        "sd(Subject:Days)": ("sd(Subject:Days)",),
        "b": ("Days",),
        "Intercept": ("Intercept",),
        "cor(Subject)": ("cor(Subject)",),
        "sigma": ("sigma",),
    }
    assert names({"b(Days)": "normal(0, 1)", "b": "normal(0, 2)"}) == {"b(Days)": ("Days",)}


def test_terms_and_further_predictors():
    data = lf.datasets.load("sleepstudy").assign(
        **{"my x": np.tile([1.0, 2.0], 90)}, day=lambda d: d["Days"].astype(str)
    )
    made = lf.design(
        {"mu": "Reaction ~ Days + `my x`:Days + (Days || Subject) + (1 | day)", "sigma": "~ Days"},
        data,
    )
    model = lf.compile(
        made,
        priors={
            "b": "normal(0, 1)",
            "sigma_b": "normal(0, 2)",
            "sigma_Intercept": "normal(3, 1)",
            "sd(day)": "gamma(2.5, 0)",
            "sd": "half_normal(1)",
        },
    )
    found = {one.key: one.names for one in model.priors}
    assert found["sigma_b"] == ("sigma_Days",)
    assert "sigma_Days" not in found["b"]
    assert found["sd(day)"] == ("sd(day)",)
    assert len(found["sd"]) == 2


OTHERS = [
    ("cumulative", "rating ~ temp + (1 | judge)", "wine", {"thresholds": "normal(0, 5)"}, 4),
    ("nbinom2", "TICKS ~ YEAR + (1 | BROOD)", "grouseticks", {"dispersion": "gamma(2, 1)"}, 1),
]


@pytest.mark.parametrize(("family", "formula", "data", "priors", "count"), OTHERS)
def test_own_parameters_by_their_names(family, formula, data, priors, count):
    model = lf.compile(design(formula, data), family, priors=priors)
    (one,) = model.priors
    assert len(one.names) == count
    assert set(one.names) <= set(model.space.own.names)


WRONG = [
    ({"bb": "normal(0, 1)"}, "priors['bb'] is of no parameter of this model\nDid you mean 'b'?"),
    ({"Day": "normal(0, 1)"}, "Did you mean 'Days'?"),
    ({"sd(Subjekt)": "half_normal(1)"}, "Did you mean"),
    (
        {"sd": "normal(0, 1)"},
        "normal(0, 1) is no prior of sd(Subject:Intercept), which is above zero\nWrite",
    ),
    ({"b": "half_normal(1)"}, "which may be any number\nWrite normal"),
    ({"cor": "normal(0, 1)"}, 'Write "lkj(2)".'),
    ({"cov": "lkj(2)"}, 'Write "wishart()"'),
    ({"b": "norml(0, 1)"}, "priors['b']: there is no prior 'norml'\nDid you mean normal?"),
    ({"cov": "wishart()", "sd": "half_normal(1)"}, "of the whole covariance"),
    ({"cov(Subject)": "wishart(0.5, 1)"}, "0.5 degrees of freedom for 2 coefficients"),
    ({"cor(Subject:Intercept,Days)": "lkj(2)"}, "a single correlation"),
    ({"sd/sigma": "half_normal(1)", "sd": "half_normal(1)"}, "are both of sd(Subject:Intercept)"),
    ({"cov/sigma": "wishart()"}, 'Write "cov/sigma^2".'),
    ({"b": 3}, "priors['b']: a prior is 3"),
    ("normal(0, 1)", "Give a dictionary of priors"),
    ({1: "normal(0, 1)"}, "Give a dictionary of priors"),
]


@pytest.mark.parametrize(("priors", "words"), WRONG)
def test_what_cannot_be_is_refused_in_words(priors, words):
    with pytest.raises(ModelError) as caught:
        lf.compile(design(), priors=priors)
    assert words in str(caught.value)


def test_models_without_the_parameter_say_so():
    with pytest.raises(ModelError, match="of no parameter"):
        names({"sigma": "half_normal(1)"}, sigma=20.0)
    with pytest.raises(ModelError, match="relative to sigma"):
        names({"sd/sigma": "half_normal(1)"}, sigma=20.0)
    with pytest.raises(ModelError, match="no correlation matrix"):
        names({"cor": "lkj(2)"}, of="Reaction ~ Days + cs(0 + Days | Subject)")
    with pytest.raises(ModelError, match="Student's t"):
        names({"b": "normal(0, 1)"}, of='Reaction ~ Days + (1 | gr(Subject, dist = "student"))')


PENALTIES = [
    {
        "b": "normal(0, 2.5)",
        "Intercept": "student(3, 0, 10)",
        "sd": "gamma(2.5, 0.1)",
        "sd(Subject:Days)": "half_student(3, 0, 2.5)",
        "cor": "lkj(2)",
        "sigma": "lognormal(3, 1)",
    },
    {"cov(Subject)/sigma^2": "wishart(scale=2)", "sigma": "inverse_gamma(2, 1)"},
    {"sd/sigma": "inverse_gamma(2, 1)", "cor(Subject)": "lkj(3)", "b": "cauchy(0, 1)"},
    {"cov": "inverse_wishart(5, 2)"},
]


@pytest.mark.parametrize("priors", PENALTIES)
def test_derivatives_against_differences(priors):
    model = lf.compile(design(), priors=priors)
    penalty, space = model.penalty, model.space
    psi = np.random.default_rng(1).normal(size=space.size)
    value, gradient = penalty.in_psi(psi)
    assert value == pytest.approx(penalty.of(space.to_natural(psi)), abs=1e-10)
    steps = 1e-6 * np.eye(space.size)
    change = [(penalty.in_psi(psi + e)[0] - penalty.in_psi(psi - e)[0]) / 2e-6 for e in steps]
    np.testing.assert_allclose(gradient, change, rtol=1e-6, atol=1e-7)

    # Along directions in which Lambda moves in straight lines, whole and not triangular as it may be.
    p, (factor,) = space.num_fixed, space.factors(psi)
    m = p + 4 + 1
    unit = np.eye(m)
    turned = np.zeros((m, 2, 2))
    turned[p : p + 4] = np.eye(4).reshape(4, 2, 2)
    moves = Moves(unit[:p], (turned,), unit[p + 4 :])
    found = penalty.information(psi[:p], (factor,), psi[space.own_slice], moves)

    def slope(x):
        at = factor + x[p : p + 4].reshape(2, 2)
        _, slopes = penalty.at(psi[:p] + x[:p], (at,), psi[space.own_slice] + x[p + 4 :])
        return np.concatenate([slopes.in_beta, slopes.in_factors[0].ravel(), slopes.in_own])

    bent = np.array([(slope(-e) - slope(e)) / 2e-5 for e in 1e-5 * unit])
    np.testing.assert_allclose(found, bent, rtol=1e-5, atol=1e-6 * np.abs(bent).max())


def test_at_a_standard_deviation_of_zero_there_is_a_value_and_no_slope_that_is_no_number():
    for text, value in (("gamma(2.5, 0)", -np.inf), ("exponential(2)", np.log(2.0))):
        penalty = lf.compile(design("Reaction ~ Days + (1 | Subject)"), priors={"sd": text}).penalty
        found, slopes = penalty.at(np.zeros(2), (np.zeros((1, 1)),), np.zeros(1))
        assert found == pytest.approx(value)
        assert np.isfinite(slopes.in_factors[0]).all()


def test_columns_with_spaces_and_factors():
    data = pd.DataFrame(
        {
            "y": np.arange(12.0) % 5,
            "my x": np.arange(12.0) % 3,
            "f": list("abcabbcacbca"),
            "g": [0, 1] * 6,
        }
    )
    model = lf.compile(
        lf.design("y ~ `my x` + f + (1 | g)", data),
        priors={"my x": "normal(0, 1)", "f[T.b]": "normal(0, 2)", "b": "normal(0, 3)"},
    )
    assert {one.key: one.names for one in model.priors} == {
        "my x": ("my x",),
        "f[T.b]": ("f[T.b]",),
        "b": ("f[T.c]",),
    }
