"""Rows of models with several linear predictors, with what the model says of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.errors import FormulaDataError
from tests.checking.test_several_held_out import data, fit_of


@pytest.mark.parametrize("name", ["gaussian", "zero_inflated_poisson", "cumulative"])
def test_columns_are_those_of_the_methods(name):
    fit = fit_of(name)
    found, link = fit.augment(data()), fit.predict(kind="link")
    assert list(found.columns[: data().shape[1]]) == list(data().columns)
    added = [".fitted", ".fixed", *(f".link[{each}]" for each in link.columns), ".resid", ".hat"]
    assert list(found.columns[data().shape[1] :]) == added
    np.testing.assert_allclose(found[".fitted"], fit.fitted())
    np.testing.assert_allclose(found[".fixed"], fit.predict(re_form="NA"))
    for each in link.columns:
        np.testing.assert_allclose(found[f".link[{each}]"], link[each])
    np.testing.assert_allclose(found[".resid"], fit.residuals())
    assert list(fit.augment().columns[:2]) == [fit.model.design.response.name, "g"]


def test_pearson_residuals_of_categories_are_by_the_variance_of_their_chances():
    fit = fit_of("cumulative")
    chances = fit.predict(kind="prob").to_numpy()
    numbers = 1.0 + np.arange(chances.shape[1])
    apart = numbers - chances @ numbers[:, None]
    expected = fit.residuals() / np.sqrt((chances * apart**2).sum(axis=1))
    np.testing.assert_allclose(fit.residuals("pearson"), expected, rtol=1e-10)


def test_categories_without_an_order_have_chances():
    fit = fit_of("categorical")
    found, chances = fit.augment(), fit.predict(kind="prob")
    assert list(found["kind"]) == list(data()["kind"])
    for name in chances.columns:
        np.testing.assert_allclose(found[f".fitted[{name}]"], chances[name])
    np.testing.assert_allclose(sum(found[f".fixed[{name}]"] for name in "abc"), 1.0)
    assert ".resid" not in found
    assert list(found.filter(like=".link").columns) == [".link[b]", ".link[c]"]
    with pytest.raises(FormulaDataError, match=r"a column '\.link\[b\]' already"):
        fit.augment(data().assign(**{".link[b]": 0.0}))


def test_leverages_of_a_constant_scale_are_those_of_one_predictor_and_of_the_scale():
    """Summed: the fit of one predictor has the same of its mean, and a constant takes one row's worth."""
    one = lf.fit("y ~ x + (1 | g)", data())
    two = lf.fit({"mu": "y ~ x + (1 | g)", "sigma": "~ 1"}, data(), method="laplace")
    # Rows' own precisions of the scale are 2 r^2, whose sum is what its constant is estimated from.
    total = one.augment()[".hat"].sum() + 1.0
    assert two.augment()[".hat"].sum() == pytest.approx(total, rel=0.03)


@pytest.mark.parametrize("name", ["gaussian", "categorical"])
def test_leverages_add_up_to_how_predictors_follow_their_rows(name):
    """The trace of W V summed over rows is what the fixed effects and the effects take together."""
    fit = fit_of(name)
    found = fit.augment()[".hat"]
    count = fit.model.design.num_predictors
    assert ((found >= 0.0) & (found <= count)).all()
    fixed = len(fit.fixef)
    effects = sum(term.size for term in fit.modes)
    assert fixed - 1.0 < found.sum() < fixed + effects


def test_rows_with_missing_values_are_left_out():
    frame = data().copy()
    frame.loc[[3, 8], "x"] = np.nan
    frame.index = pd.Index([f"r{i}" for i in range(len(frame))])
    fit = lf.fit({"mu": "y ~ 1 + (1 | g)", "sigma": "~ x"}, frame, method="laplace")
    found = fit.augment(frame)
    assert len(found) == len(frame) - 2
    assert "r3" not in found.index
