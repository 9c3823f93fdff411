"""Terms left out one at a time, and fits of changed formulas."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.errors import ModelError
from tests.result.after_fit import data, fit_of


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
