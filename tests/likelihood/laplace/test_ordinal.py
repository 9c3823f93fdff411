"""Ordinal families by Laplace: against clmm, glmer and glmmTMB, and what ties the families to each other.

tests/reference/ordinal.R made the published fits. clmm of ordinal 2022.11-16 takes each of the links cloglog
and loglog for the other, so that its fits with those are left out.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from tests.likelihood.laplace.gradients import check_gradient

PUBLISHED = {
    record["id"]: record
    for record in json.loads(
        (Path(__file__).parents[2] / "reference" / "ordinal.json").read_text("utf-8")
    )
}
TASTE = "rating ~ temp + contact + (1 | judge)"


@cache
def wine(family: str) -> lf.Fit:
    return lf.fit(TASTE, lf.datasets.load("wine"), family, method="laplace")


@pytest.mark.parametrize("id", PUBLISHED)
def test_fits_are_the_published_ones(id):
    record = PUBLISHED[id]
    data = lf.datasets.load(record["data"])
    fit = lf.fit(record["formula"], data, record["family"], method="laplace")
    assert fit.converged
    assert abs(fit.loglik.value - record["logLik"]) < 1e-4
    assert fit.loglik.df == record["df"]
    stderr = np.array(record["fixed_se"])
    assert np.abs((fit.fixef.to_numpy() - record["fixed"]) / stderr).max() < 1e-3
    np.testing.assert_allclose(fit.stderr, stderr, rtol=1e-3)
    np.testing.assert_allclose(np.sqrt(fit.params.covariances[0][0]), record["sd"], rtol=1e-4)
    np.testing.assert_allclose(fit.family_params, record["thresholds"], atol=1e-4)
    if "symmetric" not in record["family"]:
        # clmm has other distances of symmetric thresholds: from the centre, not between neighbours.
        own = len(record["alpha"])
        np.testing.assert_allclose(fit.param_values[-own:], record["alpha"], atol=1e-4)
        np.testing.assert_allclose(fit.param_stderr[-own:], record["alpha_se"], rtol=1e-3)


def test_two_thresholds_are_symmetric_whatever_they_are():
    """Three categories: a centre and a distance are the two thresholds, in other words."""
    data = lf.datasets.load("wine")
    data["taste"] = pd.cut(data["rating"].astype(int), [0, 2, 3, 5]).cat.codes + 1
    fits = [
        lf.fit("taste ~ temp + (1 | judge)", data, family, method="laplace")
        for family in (
            "cumulative",
            "cumulative(thresholds=symmetric)",
            "cumulative(thresholds=equidistant)",
        )
    ]
    for fit in fits[1:]:
        assert fit.loglik.value == pytest.approx(fits[0].loglik.value, abs=1e-7)
        np.testing.assert_allclose(fit.family_params, fits[0].family_params, rtol=1e-5)
        np.testing.assert_allclose(fit.stderr, fits[0].stderr, rtol=1e-5)


def test_stopping_ratios_of_cloglog_are_a_cumulative_family():
    """Laara, Matthews (1985), Biometrika 72, 206-207: with thresholds whose exponentials add up."""
    cumulative, ratio = wine("cumulative(cloglog)"), wine("sratio(cloglog)")
    # Each ascent stops within 1e-6 of its maximum.
    assert ratio.loglik.value == pytest.approx(cumulative.loglik.value, abs=1e-6)
    np.testing.assert_allclose(ratio.fixef, cumulative.fixef, rtol=1e-5)
    np.testing.assert_allclose(ratio.stderr, cumulative.stderr, rtol=1e-5)
    summed = np.log(np.cumsum(np.exp(ratio.family_params)))
    np.testing.assert_allclose(summed, cumulative.family_params, rtol=1e-4)


@pytest.mark.parametrize(
    "family", ["acat", "acat(probit)", "cumulative", "cumulative(thresholds=symmetric)"]
)
def test_upside_down_all_signs_change(family):
    """Families that treat both ends alike: of the ratios this does not hold."""
    data = lf.datasets.load("wine")
    data["rating"] = 6 - data["rating"].astype(int)
    fit, turned = wine(family), lf.fit(TASTE, data, family, method="laplace")
    assert turned.loglik.value == pytest.approx(fit.loglik.value, abs=1e-8)
    np.testing.assert_allclose(turned.fixef, -fit.fixef, rtol=1e-4)
    np.testing.assert_allclose(turned.family_params, -fit.family_params.to_numpy()[::-1], rtol=1e-4)


@pytest.mark.parametrize(
    "family",
    [
        "sratio",
        "cratio(cloglog)",
        "acat",
        "acat(probit, thresholds=equidistant)",
        "cumulative(probit, thresholds=symmetric)",
        "cumulative(cloglog, thresholds=equidistant)",
    ],
)
def test_gradient_is_that_of_the_approximation(family):
    check_gradient(wine(family).model)


@pytest.mark.parametrize("family", ["sratio", "cratio(probit)", "acat", "acat(cloglog)"])
def test_many_categories_and_rare_ones_converge_from_the_start(family):
    rng = np.random.default_rng(5)
    for counts in ([20] * 25, [2500, 3], [2000, 300, 40, 6, 2], [1200, 1, 1300]):
        grade = np.repeat(np.arange(len(counts)), counts) + 1
        g = rng.integers(30, size=len(grade))
        order = np.argsort(grade + 0.5 * len(counts) * rng.normal(size=len(grade)) + 0.1 * (g % 7))
        data = {"grade": grade, "g": g, "x": np.argsort(order) / len(grade)}
        fit = lf.fit("grade ~ x + (1 | g)", data, family, method="laplace")
        assert fit.converged, counts
        assert np.isfinite(fit.stderr).all()


def test_what_a_fit_says_of_patterned_thresholds():
    fit = wine("cumulative(thresholds=symmetric)")
    assert list(fit.family_params.index) == ["1|2", "2|3", "3|4", "4|5"]
    assert fit.param_names[-3:] == ("center", "spacing.1", "spacing.2")
    np.testing.assert_allclose(
        fit.param_values[-3:],
        [
            (fit.family_params["2|3"] + fit.family_params["3|4"]) / 2,
            fit.family_params["3|4"] - fit.family_params["2|3"],
            fit.family_params["4|5"] - fit.family_params["3|4"],
        ],
    )
    assert fit.predict(kind="prob").shape == (72, 5)
    text = str(fit.summary())
    assert "symmetric thresholds" in text
    for name in ("center", "spacing.1", "1|2", "4|5"):
        assert name in text
