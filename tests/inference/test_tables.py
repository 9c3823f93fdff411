"""Tables of parameters, their comparison with published values, and the broom-like frames."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from lmeformula.errors import ModelError
from lmeformula.inference.ratios import check_ratios
from lmeformula.inference.tables import (
    Reference,
    coefficient_table,
    comparison_table,
    parameter_table,
    reference_of,
    variance_table,
)
from lmeformula.inference.tidy import Estimate, glance, tidy
from lmeformula.model import compile
from lmeformula.prediction.parameters import parameters
from lmeformula.text.table import Column, Table
from tests.prediction.fakes import STDERR, fake_fit, fake_mcem_fit


def cells(table: Table, heading: str) -> tuple:
    return next(column.cells for column in table.columns if column.heading == heading)


def test_parameters_follow_the_names_of_the_fit():
    fit = fake_fit()
    rows = parameters(fit)
    assert tuple(p.name for p in rows) == fit.param_names
    assert [p.estimate for p in rows] == pytest.approx([1.0, 0.9, 0.5, 0.2, -0.6, 0.3, 0.5])
    assert [p.effect for p in rows] == ["fixed", "fixed", "sd", "sd", "cor", "sd", "residual"]
    assert [p.group for p in rows] == ["", "", "g", "g", "g", "h", "Residual"]
    assert rows[4].term == "Intercept,x"


def test_a_fixed_sigma_is_not_a_parameter():
    fit = fake_fit()
    model = compile(fit.model.design, sigma=0.5)
    ours = [field.name for field in fields(fit) if field.name.startswith("param_")]
    cut = {name: getattr(fit, name)[:-1] for name in ours if getattr(fit, name) is not None}
    fit = replace(fit, model=model, **cut)
    assert [p.effect for p in parameters(fit)].count("residual") == 0
    assert "fixed at 0.5" in variance_table(fit).notes[0]


def test_coefficients_have_z_and_monte_carlo_errors_where_there_are_any():
    table = coefficient_table(fake_fit(), None)
    assert cells(table, "z") == pytest.approx((2.5, 9.0))
    assert [c.heading for c in table.columns] == [
        "",
        "estimate",
        "std error",
        "z",
        "2.5 %",
        "97.5 %",
    ]
    assert cells(coefficient_table(fake_mcem_fit()), "MC error") == pytest.approx((0.004, 0.001))


def test_singular_fit_says_what_that_means():
    assert "boundary" in variance_table(fake_fit(singular=True)).notes[0]
    assert variance_table(fake_fit()).notes == ()


def test_comparison_measures_distance_in_standard_errors():
    reference = Reference("lme4", {"x": 0.95, "sd(h)": 0.3}, -7.5, {"x": 0.11})
    table = comparison_table(fake_fit(), reference)
    assert cells(table, "distance")[1] == pytest.approx(0.5)
    assert cells(table, "distance")[5] == pytest.approx(0.0, abs=1e-12)
    assert cells(table, "lme4") == (None, 0.95, None, None, None, 0.3, None)
    assert table.columns[-2].cells[1] == 0.11
    assert table.notes[-1] == "Log-likelihood -7.2500; lme4: -7.5000."


def test_a_fit_is_at_no_distance_from_itself():
    fit = fake_fit()
    assert set(cells(comparison_table(fit, reference_of(fit, "again")), "distance")) == {0.0}


def test_reference_for_another_model_is_refused():
    with pytest.raises(ModelError, match=r"lme4 are for parameters .* z") as caught:
        comparison_table(fake_fit(), Reference("lme4", {"z": 1.0}, 0.0))
    assert "sd(g:Intercept)" in str(caught.value)


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        Table("t", (Column("a", (1.0,)), Column("b", ())))


def test_tidy_has_the_columns_of_broom_and_wald_intervals():
    frame = tidy(fake_mcem_fit(), ddf=None).set_index(["effect", "group", "term"])
    assert list(frame) == [
        "estimate",
        "std_error",
        "statistic",
        "p_value",
        "conf_low",
        "conf_high",
        "mc_error",
    ]
    slope = frame.loc[("fixed", "", "x")]
    assert slope["conf_low"] == pytest.approx(0.9 - 1.959964 * 0.1)
    assert slope["conf_high"] == pytest.approx(0.9 + 1.959964 * 0.1)
    intercept = frame.loc[("fixed", "", "Intercept")]
    assert intercept["p_value"] == pytest.approx(0.0124193, rel=1e-5)  # R: 2 * pnorm(-2.5)
    sd = frame.loc[("sd", "h", "Intercept")]
    assert sd["conf_low"] * sd["conf_high"] == pytest.approx(0.3**2)  # symmetric for the logarithm
    assert math.isnan(sd["p_value"])
    cor = frame.loc[("cor", "g", "Intercept,x")]
    assert -1 < cor["conf_low"] < cor["estimate"] < cor["conf_high"] < 1


def test_tidy_leaves_out_what_does_not_exist_on_the_boundary():
    row = tidy(fake_fit(param_stderr=np.where(np.arange(7) == 5, np.nan, STDERR))).iloc[5]
    assert np.isnan(row["conf_low"])
    assert np.isnan(row["conf_high"])


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_tidy_refuses_levels_that_are_no_coverage(level):
    with pytest.raises(ModelError, match="level"):
        tidy(fake_fit(), level)


def test_wider_intervals_for_higher_levels():
    narrow, wide = tidy(fake_fit(), 0.8), tidy(fake_fit(), 0.99)
    assert (wide["conf_low"] < narrow["conf_low"]).all()
    assert (wide["conf_high"] > narrow["conf_high"]).all()


def test_glance_is_one_row_of_facts():
    row = glance(fake_fit())
    assert len(row) == 1
    assert row.loc[0, "loglik"] == -7.25
    assert row.loc[0, "df"] == 7
    assert row.loc[0, "outcome"] == "CONVERGED"


def test_parameter_table_lists_all_parameters():
    fit = fake_fit()
    assert cells(parameter_table(fit), "") == fit.param_names


def test_exponentiated_effects_are_by_the_rule_of_broom():
    """broom.mixed: exp of estimate and ends, exp(estimate) times the standard error, the test as it was."""
    fit = fake_mcem_fit(family="poisson")
    plain, ratios = tidy(fit, ddf=None), tidy(fit, ddf=None, exponentiate=True)
    is_fixed = (plain["effect"] == "fixed").to_numpy()
    ends = ["estimate", "conf_low", "conf_high"]
    np.testing.assert_allclose(ratios[is_fixed][ends], np.exp(plain[is_fixed][ends]))
    # Of 0.9 with error 0.1, by hand.
    assert ratios["std_error"][1] == pytest.approx(0.1 * 2.459603, rel=1e-6)
    errors = ratios["mc_error"] / plain["mc_error"]
    np.testing.assert_allclose(errors[is_fixed], ratios["estimate"][is_fixed])
    tests = ["effect", "group", "term", "statistic", "p_value"]
    pd.testing.assert_frame_equal(ratios[tests], plain[tests])
    pd.testing.assert_frame_equal(ratios[~is_fixed], plain[~is_fixed])


@pytest.mark.parametrize(
    ("family", "link"), [("gaussian", "identity"), ("bernoulli(probit)", "probit")]
)
def test_effects_without_a_logarithm_have_no_exponentials(family, link):
    with pytest.raises(ModelError, match=f"effects on mu have the {link} link"):
        tidy(fake_fit(family=family), ddf=None, exponentiate=True)


@pytest.mark.parametrize(
    "family", ["poisson", "bernoulli", "bernoulli(cloglog)", "nbinom2", "beta", "cumulative"]
)
def test_effects_of_logarithms_have_exponentials(family):
    check_ratios(fake_fit(family=family))


def test_an_effect_far_out_has_an_infinite_ratio():
    row = Estimate("fixed", "", "x", 800.0, 1.0, 800.0, np.nan, 0.0, 798.0, 802.0, 0.0)
    assert row.exponentiated[3:5] == (math.inf, math.inf)
    assert row._replace(estimate=-800.0).exponentiated[3:5] == (0.0, 0.0)
