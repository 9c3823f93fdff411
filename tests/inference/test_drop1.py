"""Terms left out one at a time, and fits of changed formulas."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.errors import ModelError
from tests.prediction.after_fit import data, fit_of
from tests.prediction.odd_designs import frame as frame_of
from tests.prediction.test_mean_intervals import drawn, salamanders

CLMM = {"temp": 34.463710, "contact": 14.346812}


@pytest.mark.parametrize(
    ("formula", "terms"),
    [
        ("angle ~ recipe * temp + (1 | recipe:replicate)", ["recipe:temp"]),
        ("angle ~ recipe + temp + (1 | recipe:replicate)", ["recipe", "temp"]),
        (
            "angle ~ 0 + recipe + poly(temp, 2) + (1 | recipe:replicate)",
            ["recipe", "poly(temp, 2)"],
        ),
        ("angle ~ 0 + temp + temp:recipe + (1 | recipe:replicate)", ["temp:recipe"]),
        ("angle ~ recipe + log(temp) + I(temp^2) + (1 | replicate)", None),
    ],
)
def test_each_row_is_the_fit_of_the_smaller_formula(formula, terms):
    fit = lf.fit(formula, data("cake"))
    frame = fit.drop1().set_index("term")
    if terms is not None:
        assert list(frame.index) == ["<none>", *terms]
    assert frame.loc["<none>", "loglik"] == fit.loglik.value
    for term, row in frame.drop("<none>").iterrows():
        smaller = fit.update(f"~ . - {term}", data("cake"))
        assert row["loglik"] == pytest.approx(smaller.loglik.value, abs=1e-6)
        assert row["df"] == fit.loglik.df - smaller.loglik.df
        assert row["aic"] == pytest.approx(smaller.aic, abs=2e-6)
        assert row["statistic"] == pytest.approx(
            2 * (fit.loglik.value - smaller.loglik.value), abs=2e-6
        )


def test_restricted_fits_are_compared_by_maximum_likelihood():
    fit = fit_of("cake")
    assert fit.reml
    frame = fit.drop1()
    assert frame["loglik"][0] == pytest.approx(lf.fit(fit.formula, data("cake")).loglik.value)


def test_f_tests_are_of_the_coefficients_that_are_lost():
    fit = fit_of("cake")
    for ddf in ("satterthwaite", "kenward-roger"):
        dropped, joint = fit.drop1("F", ddf=ddf), fit.joint_tests(["recipe:temp"], ddf=ddf)
        np.testing.assert_allclose(
            dropped.iloc[0, 1:].astype(float), joint.iloc[0, 1:].astype(float)
        )


def test_counts_are_compared_too():
    frame = fit_of("cbpp").drop1()
    # lme4 1.1-31: anova(glmer(... ~ period), glmer(... ~ 1)) gives a chi-square of 25.61 with 3 df.
    assert frame["statistic"][1] == pytest.approx(25.61, abs=0.01)
    assert frame["df"][1] == 3


def test_other_tests_are_refused():
    with pytest.raises(ModelError, match="test is 'score'"):
        fit_of("cake").drop1("score")


def test_an_update_keeps_what_was_chosen():
    fit = fit_of("oats")
    again = fit.update("~ . + I(nitro^2) - factor(nitro)", data("oats"))
    assert again.reml
    assert str(again.formula.response.expression) == str(fit.formula.response.expression)
    assert again.model.design.names == (
        "Intercept",
        "Variety[T.Marvellous]",
        "Variety[T.Victory]",
        "I(nitro^2)",
    )
    assert not fit.update("~ .", data("oats"), reml=False).reml
    counts = fit_of("ticks").update("~ . - (1 | LOCATION)", data("ticks"))
    assert (counts.model.family.name, counts.method) == ("poisson", "laplace")
    assert [term.group for term in counts.model.design.terms] == ["BROOD"]


ORDERED = {
    "cumulative": "rating ~ temp * contact + (1 | judge)",
    "cumulative(probit)": "rating ~ temp + contact + (1 | judge)",
    "acat": "rating ~ 0 + temp + contact + (1 | judge)",
    "sratio": "rating ~ temp + (1 | judge)",
}


@pytest.mark.parametrize("family", ORDERED)
def test_ordered_responses(family):
    wine = lf.datasets.load("wine")
    fit = lf.fit(ORDERED[family], wine, family, method="laplace")
    frame = fit.drop1().set_index("term")
    assert len(frame) > 1
    for term, row in frame.drop("<none>").iterrows():
        smaller = fit.update(f"~ . - {term}", wine)
        assert row["loglik"] == pytest.approx(smaller.loglik.value, abs=1e-6)
        assert row["df"] == fit.loglik.df - smaller.loglik.df
    wald = fit.drop1("F").set_index("term")
    assert (wald["df1"] == frame["df"].drop("<none>")).all()


def test_ordered_responses_agree_with_clmm():
    # ordinal 2022.11-16: drop1(clmm(rating ~ temp + contact + (1 | judge), wine), test = "Chisq")
    fit = lf.fit(
        "rating ~ temp + contact + (1 | judge)",
        lf.datasets.load("wine"),
        "cumulative",
        method="laplace",
    )
    frame = fit.drop1().set_index("term")
    for term, chisq in CLMM.items():
        assert frame.loc[term, "statistic"] == pytest.approx(chisq, abs=2e-4)


@pytest.mark.filterwarnings("ignore:.*rank")
@pytest.mark.parametrize("family", ["gaussian", "cumulative", "poisson"])
def test_columns_that_were_dropped_stand_in_for_each_other(family):
    rows = frame_of("dropped")
    rows["y"] = np.digitize(rows["y"], [0.0, 1.0, 2.5]) + 1
    method = "exact" if family == "gaussian" else "laplace"
    fit = lf.fit("y ~ a + x + twice + (1 | g)", rows, family, method=method)
    frame = fit.drop1().set_index("term")
    for term in ("x", "twice"):  # each says what the other does
        assert frame.loc[term, "df"] == 0
        assert frame.loc[term, "statistic"] == pytest.approx(0.0, abs=1e-5)
    without = lf.fit("y ~ x + twice + (1 | g)", rows, family, method=method)
    assert frame.loc["a", "loglik"] == pytest.approx(without.loglik.value, abs=1e-6)


SEVERAL = {
    "zi: x": (
        {"mu": "count ~ x + (1 | g)", "zi": "~ x"},
        "zero_inflated_poisson",
        {"mu": "count ~ x + (1 | g)", "zi": "~ 1"},
    ),
    "a": (
        {"mu": "y ~ x + a + (1 | g)", "sigma": "~ a"},
        "gaussian",
        {"mu": "y ~ x + (1 | g)", "sigma": "~ a"},
    ),
    "sigma: a": (
        {"mu": "y ~ x + a + (1 | p | g)", "sigma": "~ a + (1 | p | g)"},
        "gaussian",
        {"mu": "y ~ x + a + (1 | p | g)", "sigma": "~ 1 + (1 | p | g)"},
    ),
    "disc: x": (
        {"mu": "rating ~ x + a + (1 | g)", "disc": "~ x"},
        "cumulative",
        {"mu": "rating ~ x + a + (1 | g)", "disc": "~ 1"},
    ),
    "x": ("kind ~ x + a + (1 | g)", "categorical", "kind ~ a + (1 | g)"),
}


SLOW = ("zi: x", "disc: x")


@pytest.mark.parametrize(
    "term", [pytest.param(t, marks=[pytest.mark.slow] if t in SLOW else []) for t in SEVERAL]
)
def test_terms_of_any_linear_predictor_are_left_out(term):
    formulas, family, smaller = SEVERAL[term]
    fit = lf.fit(formulas, drawn(), family, method="laplace")
    frame = fit.drop1().set_index("term")
    other = lf.fit(smaller, drawn(), family, method="laplace")
    assert frame.loc[term, "loglik"] == pytest.approx(other.loglik.value, abs=1e-6)
    assert frame.loc[term, "df"] == fit.loglik.df - other.loglik.df
    wald = fit.drop1("F").set_index("term")
    assert (wald["df1"] == frame["df"].drop("<none>")).all()


# glmmTMB 1.1.5: drop1(f, test = "Chisq") of f = glmmTMB(count ~ mined + DOY + (1 | site), Salamanders, poisson,
# ziformula = ~ mined + DOY) for the first two, and anova(f, z) with a term of the zero part left out.
ZERO_PARTS = {"mined": 25.8742481, "DOY": 26.8236737, "zi: mined": 24.15579, "zi: DOY": 5.70102}


def test_zero_parts_agree_with_glmmtmb():
    formulas = {"mu": "count ~ mined + DOY + (1 | site)", "zi": "~ mined + DOY"}
    fit = lf.fit(formulas, salamanders(), "zero_inflated_poisson", method="laplace")
    found = fit.drop1().set_index("term")["statistic"].drop("<none>")
    assert list(found.index) == list(ZERO_PARTS)
    np.testing.assert_allclose(found, list(ZERO_PARTS.values()), atol=2e-4)


@pytest.mark.filterwarnings("ignore:.*rank")
def test_columns_dropped_in_a_further_predictor_cost_nothing():
    frame = drawn().assign(twice=lambda d: 2.0 * d["x"] - 1.0)
    formulas = {"mu": "y ~ x + (1 | g)", "sigma": "~ x + twice"}
    found = lf.fit(formulas, frame, "gaussian", method="laplace").drop1().set_index("term")
    assert found.loc["sigma: twice", "df"] == 0
    assert found.loc["sigma: twice", "statistic"] == pytest.approx(0.0, abs=1e-6)
