"""Fits side by side by their information criteria."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.errors import ModelError
from tests.prediction.after_fit import fit_of
from tests.prediction.fakes import fake_fit, fake_mcem_fit


@cache
def ticks(family: str, formula: str = "TICKS ~ YEAR + (1 | BROOD)") -> lf.Fit:
    return lf.fit(formula, lf.datasets.load("grouseticks"), family, method="laplace")


def test_fits_come_in_the_order_of_their_criterion():
    """Poisson and negative binomial counts are of the same numbers, and neither is nested in the other here."""
    fits = (ticks("poisson"), ticks("nbinom2"), ticks("nbinom2", "TICKS ~ HEIGHT + (1 | BROOD)"))
    found = lf.compare(*fits)
    aic = np.array([fit.aic for fit in fits])
    order = np.argsort(aic)
    assert list(found["family"]) == [fits[i].model.family.written for i in order]
    np.testing.assert_allclose(found["AIC"], aic[order])
    np.testing.assert_allclose(found["delta"], aic[order] - aic.min())
    weights = np.exp(-0.5 * (aic - aic.min()))
    np.testing.assert_allclose(found["weight"], (weights / weights.sum())[order])
    change = {"YEAR": "+ HEIGHT - YEAR", "HEIGHT": "+ YEAR - HEIGHT"}
    best = found["formula"][0]
    other = next(text for name, text in change.items() if name in best)
    assert found["change"].tolist() == ["" if each == best else other for each in found["formula"]]
    by_bic = lf.compare(*fits, by="BIC")
    assert by_bic["BIC"].is_monotonic_increasing
    np.testing.assert_allclose(by_bic["delta"], by_bic["BIC"] - by_bic["BIC"].min())


def test_monte_carlo_errors_are_carried_along():
    loglik = fake_fit().loglik
    fits = [
        fake_mcem_fit(loglik=loglik._replace(value=value, mc_error=error))
        for value, error in ((-8.0, 0.3), (-7.0, 0.4))
    ]
    found = lf.compare(*fits)
    assert found["mc_error"].tolist() == [0.4, 0.3]
    assert found["delta_mc_error"].tolist() == pytest.approx([0.0, 1.0])


def test_continuous_families_are_compared_whatever_their_order():
    data = lf.datasets.load("sleepstudy")
    formula = "Reaction ~ Days + (Days | Subject)"
    normal, heavy = (
        lf.fit(formula, data, family, method="auto" if family == "gaussian" else "laplace")
        for family in ("gaussian", "student")
    )
    one, other = lf.compare(normal, heavy), lf.compare(heavy, normal)
    assert one["family"].tolist() == other["family"].tolist()
    # Two subjects have days far off their lines.
    assert one["family"][0].startswith("student")


@pytest.mark.parametrize(
    ("fits", "options", "message"),
    [
        (lambda: (fit_of("sleep"),), {}, "two fits or more"),
        (lambda: (fit_of("sleep"), fit_of("sleep_ml")), {}, "the other of the restricted one"),
        (lambda: (fit_of("sleep"), fit_of("thin")), {}, "different rows"),
        (lambda: (fit_of("sleep"), fit_of("poly")), {}, "different fixed effects"),
        (lambda: (ticks("poisson"), ticks("poisson")), {"by": "DIC"}, "by is 'DIC'"),
        (
            lambda: (ticks("poisson"), replace(ticks("nbinom2"), method="mcem")),
            {},
            "by one method",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(fits, options, message):
    with pytest.raises(ModelError, match=f"(?s){message}"):
        lf.compare(*fits(), **options)
