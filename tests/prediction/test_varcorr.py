"""Variance components: numbers from the covariance matrices, laid out and printed as lme4 does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.prediction.varcorr import varcorr
from tests.prediction.fakes import fake_fit


def test_frame_has_a_row_for_each_sd_and_correlation():
    frame = varcorr(fake_fit()).to_frame()
    expected = pd.DataFrame(
        {
            "group": ["g", "g", "g", "h", "Residual"],
            "term": ["Intercept", "x", "Intercept", "Intercept", None],
            "term2": [None, None, "x", None, None],
            "sd": [0.5, 0.2, np.nan, 0.3, 0.5],
            "corr": [np.nan, np.nan, -0.6, np.nan, np.nan],
        }
    )
    pd.testing.assert_frame_equal(frame, expected)


def test_prints_as_lme4_does():
    assert repr(varcorr(fake_fit())) == (
        "Random effects\n"
        "group     term           sd   corr\n"
        "g         Intercept  0.5000\n"
        "          x          0.2000  -0.60\n"
        "h         Intercept  0.3000\n"
        "Residual             0.5000"
    )


def test_html_has_the_same_cells():
    page = varcorr(fake_fit())._repr_html_()
    for cell in ("Random effects", "0.2000", "-0.60", "Residual"):
        assert f">{cell}<" in page


def test_a_variance_of_zero_leaves_the_correlation_undefined():
    covariances = (np.array([[0.25, 0.0], [0.0, 0.0]]), np.array([[0.09]]))
    fit = fake_fit()
    fit = replace(fit, params=fit.params._replace(covariances=covariances))
    term = varcorr(fit).terms[0]
    assert term.sd.tolist() == [0.5, 0.0]
    assert np.isnan(term.corr[1, 0])
    assert term.corr[0, 0] == 1.0


def test_family_without_residual_has_no_residual_row():
    assert "Residual" not in set(varcorr(fake_fit(family="bernoulli")).to_frame()["group"])


def test_correlations_that_are_zero_by_choice_are_not_listed():
    fit = fake_fit("y ~ x + diag(x | g) + (1 | h)")
    assert varcorr(fit).to_frame()["corr"].isna().all()
    assert "corr" not in repr(varcorr(fit))


@pytest.mark.parametrize(
    ("term", "row"),
    [
        ("ar1(0 + factor(time) | g)", "factor(time)[1] to factor(time)[4]"),
        ("cs(0 + factor(time) | g, hom = TRUE)", "factor(time)[1] to factor(time)[4]"),
    ],
)
def test_equal_numbers_are_written_once(term, row):
    times, levels = 4, 12
    rng = np.random.default_rng(1)
    data = pd.DataFrame(
        {
            "g": np.repeat(np.arange(levels), 2 * times),
            "time": np.tile(np.arange(1, times + 1), 2 * levels),
            "y": (rng.normal(size=(levels, 1)) + rng.normal(size=(levels, 2 * times))).ravel(),
        }
    )
    found = lf.fit(f"y ~ {term}", data).varcorr
    lines = repr(found).splitlines()
    assert len(lines) == 4
    sd, correlation = found.terms[0].sd[0], found.terms[0].corr[1, 0]
    assert row in lines[2]
    assert lines[2].split()[-1] == f"{correlation:.2f}"
    assert float(lines[2].split()[-2]) == pytest.approx(sd, abs=1e-3)
    # The data frame has a row for each.
    assert found.to_frame()["sd"].notna().sum() == times + 1


def test_other_coefficients_have_rows_of_their_own():
    assert len(repr(varcorr(fake_fit("y ~ x + diag(x | g) + (1 | h)"))).splitlines()) == 6
