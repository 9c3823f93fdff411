"""The marginaleffects package itself, where it and a polars that it takes are installed; no dependency."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from lmeformula.errors import ModelError
from tests.inference.test_emmeans_several import crossed, kinds
from tests.prediction.after_fit import data, fit_of

polars = pytest.importorskip("polars")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    me = pytest.importorskip("marginaleffects")
pytestmark = pytest.mark.filterwarnings("default")
IS_NEW_POLARS = int(polars.__version__.split(".")[0]) >= 2


def model(name: str, **options: Any) -> Any:
    try:
        return fit_of(name).to_marginaleffects(data(name), **options)
    except ModelError as error:
        if IS_NEW_POLARS and "does not work with polars" in str(error):
            pytest.skip("this marginaleffects does not take polars 2")
        raise


@pytest.mark.parametrize(
    ("name", "by", "options"),
    [
        ("oats", "Variety", {}),
        ("machines", "Machine", {}),
        ("ticks", "YEAR", {"kind": "link"}),
        ("cake", "recipe", {}),
    ],
)
def test_means_over_a_balanced_grid_are_marginal_means(name, by, options):
    """Which are held to R's emmeans in test_emmeans.py; the ends of intervals differ by degrees of freedom."""
    found = me.predictions(model(name, **options), newdata="balanced", by=by)
    found = getattr(found, "data", found)
    own = fit_of(name).emmeans(by).to_frame()
    assert found[by].cast(str).to_list() == [str(level) for level in own[by]]
    np.testing.assert_allclose(found["estimate"], own["estimate"], rtol=1e-8)
    np.testing.assert_allclose(found["std_error"], own["std_error"], rtol=2e-5)


@pytest.mark.parametrize(("name", "variable", "by"), [("cake", "temp", "recipe")])
def test_slopes_are_marginal_slopes(name, variable, by):
    found = me.slopes(model(name), variables=variable, by=by)
    found = getattr(found, "data", found)
    own = fit_of(name).emmeans(by, var=variable).to_frame()
    np.testing.assert_allclose(found["estimate"], own["estimate"], rtol=1e-5)
    # Its standard errors are by differences of slopes that are such differences
    # themselves: two digits are left.
    np.testing.assert_allclose(found["std_error"], own["std_error"], rtol=0.1)


def test_contrasts_are_pairwise_contrasts():
    found = me.avg_comparisons(model("oats"), variables={"Variety": "pairwise"})
    found = getattr(found, "data", found)
    own = fit_of("oats").emmeans("Variety").contrasts("pairwise", adjust="none").to_frame()
    np.testing.assert_allclose(found["estimate"], -own["estimate"], rtol=1e-6)
    np.testing.assert_allclose(found["std_error"], own["std_error"], rtol=2e-4)


def test_responses_of_counts_are_averages_of_predictions():
    found = me.avg_predictions(model("ticks"))
    found = getattr(found, "data", found)
    expected = fit_of("ticks").predict(re_form="NA").mean()
    assert found["estimate"][0] == pytest.approx(expected)


def test_chances_of_categories_are_marginal_means_of_groups():
    fit = kinds()
    try:
        wrapped = fit.to_marginaleffects(crossed())
    except ModelError as error:
        if IS_NEW_POLARS and "does not work with polars" in str(error):
            pytest.skip("this marginaleffects does not take polars 2")
        raise
    found = me.predictions(wrapped, newdata="balanced", by=["a", "group"])
    found = getattr(found, "data", found).sort("group", "a")
    own = fit.emmeans("a", kind="response").to_frame()
    assert found["group"].to_list() == own["kind"].tolist()
    np.testing.assert_allclose(found["estimate"], own["estimate"], rtol=1e-8)
    np.testing.assert_allclose(found["std_error"], own["std_error"], rtol=2e-4)


def test_hypotheses_are_of_the_coefficients():
    found = me.hypotheses(model("oats"), hypothesis="b1 - b2 = 0")
    found = getattr(found, "data", found)
    fit = fit_of("oats")
    weights = np.zeros(len(fit.fixef))
    weights[1:3] = 1.0, -1.0
    assert found["estimate"][0] == pytest.approx(weights @ fit.fixef.to_numpy())
    expected = np.sqrt(weights @ fit.fixed_vcov @ weights)
    assert found["std_error"][0] == pytest.approx(expected, rel=1e-4)
