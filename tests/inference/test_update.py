"""Changed formulas of fits: those of several predictors are the fits of the formulas written out."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.errors import FormulaSyntaxError, ModelError
from tests.likelihood.laplace.test_several import simulated

SCALE = {"mu": "y ~ x + (1 | p | g) + (1 | h)", "sigma": "~ x + (1 | p | g)"}
ZEROS = {"mu": "count ~ x + (1 | g)", "zi": "~ x"}
FITS: dict[str, tuple[Any, str]] = {
    "scale": (SCALE, "gaussian"),
    "constant": ("y ~ x + (1 | g)", "gaussian"),
    "zeros": (ZEROS, "zero_inflated_poisson"),
    "kinds": ({"mu": "kind ~ x + (1 | p | g)"}, "categorical"),
}
# A fit, a change, and the formulas written out.
CASES = [
    ("scale", "~ . - x", {**SCALE, "mu": "y ~ 1 + (1 | p | g) + (1 | h)"}),
    ("scale", {"sigma": "~ . - x"}, {**SCALE, "sigma": "~ 1 + (1 | p | g)"}),
    ("scale", {"sigma": None}, "y ~ x + (1 | g) + (1 | h)"),
    (
        "scale",
        {"mu": "~ . - (1 | p | g)", "sigma": "~ x"},
        {"mu": "y ~ x + (1 | h)", "sigma": "~ x"},
    ),
    ("constant", {"sigma": "~ x"}, {"mu": "y ~ x + (1 | g)", "sigma": "~ x"}),
    ("constant", {"mu": "~ ."}, "y ~ x + (1 | g)"),
    # The family's other name for the same parameter.
    ("zeros", {"zero_probability": "~ 1"}, {**ZEROS, "zi": "~ 1"}),
    ("zeros", {"zi": None}, "count ~ x + (1 | g)"),
    ("kinds", "~ . - x", {"mu": "kind ~ 1 + (1 | p | g)"}),
]


@cache
def data() -> pd.DataFrame:
    return pd.DataFrame(simulated(3))


@cache
def fit_of(name: str) -> lf.Fit:
    formula, family = FITS[name]
    return lf.fit(formula, data(), family, method="laplace")


@pytest.mark.parametrize(("name", "change", "written"), CASES)
def test_an_update_is_the_fit_of_the_formulas_written_out(name, change, written):
    fit = fit_of(name).update(change, data())
    fresh = lf.fit(written, data(), FITS[name][1], method="laplace")
    assert fit.formula == fresh.formula
    assert fit.param_names == fresh.param_names
    np.testing.assert_array_equal(fit.param_values, fresh.param_values)
    assert fit.loglik.value == fresh.loglik.value
    assert (fit.method, fit.model.family.name) == (fresh.method, fresh.model.family.name)


def test_weights_offsets_and_functions_are_those_of_all_predictors():
    table = data().assign(w=np.linspace(0.5, 2.0, len(data())), o=data()["x"] / 3.0)
    options = {"weights": "w", "offset": "o", "functions": {"half": lambda x: 0.5 * x}}
    fit = lf.fit(
        {"mu": "y ~ x + (1 | g)", "sigma": "~ half(x)"}, table, method="laplace", **options
    )
    found = fit.update({"sigma": "~ . + I(x^2)"}, table)
    formulas = {"mu": "y ~ x + (1 | g)", "sigma": "~ half(x) + I(x^2)"}
    fresh = lf.fit(formulas, table, method="laplace", **options)
    np.testing.assert_array_equal(found.param_values, fresh.param_values)
    without = fit.update("~ .", table, weights=None, offset=None)
    assert abs(without.loglik.value - fit.loglik.value) > 0.1


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("constant", {"tau": "~ x"}, "no parameter 'tau'"),
        ("kinds", {"b": "~ x"}, "Write one formula"),
        ("scale", {"sigma": 3}, r"formula\['sigma'\] is 3"),
        ("scale", 3, "formula is 3"),
    ],
)
def test_changes_to_what_is_no_predictor_are_refused(name, change, message):
    with pytest.raises(ModelError, match=message):
        fit_of(name).update(change, data())


def test_what_has_no_formula_has_none_to_take_away():
    with pytest.raises(FormulaSyntaxError, match="no formula of 'sigma'"):
        fit_of("constant").update({"sigma": None}, data())


def test_a_restricted_likelihood_is_given_up_by_word_only():
    fit = lf.fit("y ~ x + (1 | g)", data(), reml=True)
    with pytest.raises(ModelError, match=r"restricted likelihood(.|\n)*reml=False"):
        fit.update({"sigma": "~ x"}, data())
    found = fit.update({"sigma": "~ x"}, data(), reml=False)
    np.testing.assert_array_equal(
        found.param_values, fit_of("constant").update({"sigma": "~ x"}, data()).param_values
    )


CAKE: dict[str, Any] = {
    "one predictor": "angle ~ recipe * temperature + (1 | replicate)",
    "several": {"mu": "angle ~ recipe + (1 | replicate)", "sigma": "~ temperature"},
}


@pytest.mark.parametrize("name", CAKE)
def test_contrasts_stay_unless_others_are_given(name, tmp_path):
    cake = lf.datasets.load("cake")
    codings = {"recipe": "sum", "temperature": "helmert"}
    fit = lf.fit(CAKE[name], cake, contrasts=codings, method="laplace")
    for before in (fit, lf.load(fit.save(tmp_path / "fit.zip"))):
        again = before.update("~ .", cake)
        np.testing.assert_array_equal(again.param_values, fit.param_values)
        assert again.param_names == fit.param_names
        # What is left of them, where a factor goes.
        left = before.update("angle ~ recipe + (1 | replicate)", cake)
        assert {"recipe[S.A]", "recipe[S.B]"} <= set(left.param_names)
    other = fit.update("~ .", cake, contrasts={"recipe": "helmert"})
    assert "recipe[H.B]" in other.param_names
    assert "recipe[T.B]" in fit.update("~ .", cake, contrasts=None).param_names


def test_a_fit_is_changed_on_its_own_data(tmp_path: Path) -> None:
    data = lf.datasets.load("sleepstudy")
    fit = lf.fit("Reaction ~ 1 + (1 | Subject)", data)
    # Other columns than those of the fit.
    assert fit.update("~ . + Days").loglik == fit.update("~ . + Days", data).loglik
    for apart in (lf.load(fit.save(tmp_path / "fit", data=True)), pickle.loads(pickle.dumps(fit))):
        with pytest.raises(lf.ModelError, match="does not have its data"):
            apart.update("~ . + Days")
