"""Predictions, residuals and held-out rows: against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats

import lmeformula as lf
from lmeformula.checking.holdout import holdout, split_rows
from lmeformula.errors import ColumnNotFoundError, FormulaDataError, ModelError
from lmeformula.face import Fit
from lmeformula.prediction.predict import fitted, predict
from lmeformula.prediction.residuals import residuals
from tests.prediction.after_fit import small_fit
from tests.prediction.fakes import DATA, fake_fit

# Twice the same six rows: 1 + 0.9 x, plus g's (0.3 - 0.1 x, -0.2 + 0.05 x, -0.1 + 0.05 x), plus h's
# 0.1 and -0.1 in turn.
POPULATION = [1.0, 1.9, 2.8, 3.7, 4.6, 5.5] * 2
CONDITIONAL = [1.4, 2.0, 2.8, 3.55, 4.8, 5.55] * 2


@pytest.mark.parametrize("newdata", [None, DATA, DATA.drop(columns="y")])
@pytest.mark.parametrize(("re_form", "expected"), [(None, CONDITIONAL), ("NA", POPULATION)])
def test_predictions_of_known_levels(newdata, re_form, expected):
    values = predict(fake_fit(), newdata, re_form=re_form)
    np.testing.assert_allclose(values, expected)
    assert list(values.index) == list(range(12))


def test_predictions_keep_the_index_of_new_data_and_skip_missing_values():
    newdata = DATA.set_axis(list("pqrstuvwxyzä"))
    newdata.loc["q", "x"] = np.nan
    values = predict(fake_fit(), newdata)
    assert list(values.index) == list("pqrstuvwxyzä")
    assert np.isnan(values["q"])
    np.testing.assert_allclose(values.drop("q"), np.delete(CONDITIONAL, 1))


def test_new_data_may_be_a_dict_of_columns():
    values = predict(fake_fit(), {"x": [0.0], "g": ["a"], "h": ["u"]})
    assert values.tolist() == pytest.approx([1.4])


def test_the_population_needs_no_grouping_columns():
    values = predict(fake_fit(), {"x": [1.0, 2.0]}, re_form="NA")
    np.testing.assert_allclose(values, [1.9, 2.8])


NEW_LEVEL = pd.DataFrame({"x": [0.0, 1.0], "g": ["a", "z"], "h": ["u", "v"]})


def test_new_levels_are_refused_by_name():
    with pytest.raises(FormulaDataError, match=r"1 new rows .* 1 of g \('z'\)") as caught:
        predict(fake_fit(), NEW_LEVEL)
    assert 'new_levels="population"' in str(caught.value)


def test_new_levels_at_the_population_have_no_effect_of_that_factor_only():
    values = predict(fake_fit(), NEW_LEVEL, new_levels="population")
    np.testing.assert_allclose(values, [1.4, 1.9 - 0.1])


def test_a_missing_column_is_named():
    with pytest.raises(ColumnNotFoundError, match="'x'"):
        predict(fake_fit(), {"g": ["a"], "h": ["u"]})


@pytest.mark.parametrize(
    "option", [{"kind": "probs"}, {"re_form": "all"}, {"new_levels": "ignore"}], ids=str
)
def test_options_outside_the_list_are_refused(option):
    (name, value), *_ = option.items()
    with pytest.raises(ModelError, match=f"{name} is {value!r}") as caught:
        predict(fake_fit(), **option)
    assert "Choose one of" in str(caught.value)


@pytest.mark.parametrize(
    ("family", "mean"),
    [
        ("poisson", np.exp),
        ("bernoulli", lambda eta: 1 / (1 + np.exp(-eta))),
        ("bernoulli(cloglog)", lambda eta: 1 - np.exp(-np.exp(eta))),
        ("binomial(probit)", scipy.stats.norm.cdf),
        ("nbinom1", np.exp),
        ("gamma", np.exp),
    ],
)
def test_response_scale_undoes_the_link(family, mean):
    fit = fake_fit(family=family)
    np.testing.assert_allclose(predict(fit), mean(np.array(CONDITIONAL)))
    np.testing.assert_allclose(predict(fit, kind="link"), CONDITIONAL)


def test_probabilities_are_for_ordered_categories():
    with pytest.raises(ModelError, match="the poisson family has no categories") as caught:
        predict(fake_fit(family="poisson"), kind="prob")
    assert 'kind="response"' in caught.value.hint


def ordinal_fit(data: pd.DataFrame = DATA) -> Fit:
    """Three categories, thresholds at 0.5 and 2."""
    grade = pd.Categorical(["lo", "mid", "hi"] * 4, ["lo", "mid", "hi"], ordered=True)
    design = lf.design("grade ~ 0 + x + (x | g) + (1 | h)", data.assign(grade=grade))
    plain = fake_fit()
    return replace(
        plain,
        model=lf.compile(design, "cumulative"),
        params=plain.params._replace(beta=np.array([0.9]), own=np.array([0.5, 2.0])),
    )


def test_category_probabilities_are_differences_of_the_distribution_function():
    fit = ordinal_fit()
    eta = predict(fit, kind="link").to_numpy()
    np.testing.assert_allclose(eta, np.subtract(CONDITIONAL, 1.0))
    found = predict(fit, kind="prob")
    assert list(found.columns) == ["lo", "mid", "hi"]
    below = [scipy.stats.logistic.cdf(threshold - eta) for threshold in (0.5, 2.0)]
    expected = np.column_stack([below[0], below[1] - below[0], 1 - below[1]])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(predict(fit), expected @ [1.0, 2.0, 3.0])
    np.testing.assert_allclose(residuals(fit), [1, 2, 3] * 4 - expected @ [1.0, 2.0, 3.0])
    new = DATA.iloc[[3, 0]].assign(x=[np.nan, 0.0])
    there = predict(fit, new, kind="prob")
    assert there.iloc[0].isna().all()
    np.testing.assert_allclose(there.iloc[1], expected[0])


def test_offsets_are_part_of_the_linear_predictor():
    data = DATA.assign(o=2.0)
    fit = fake_fit("y ~ x + (x | g) + (1 | h) + offset(o)", data)
    np.testing.assert_allclose(fitted(fit), np.add(CONDITIONAL, 2.0))
    np.testing.assert_allclose(predict(fit, data.assign(o=3.0)), np.add(CONDITIONAL, 3.0))


def test_residuals_are_observed_minus_fitted():
    fit = fake_fit()
    np.testing.assert_allclose(residuals(fit) + fitted(fit), DATA["y"])


def test_rows_left_out_keep_their_place_in_the_index():
    data = DATA.copy()
    data.loc[2, "y"] = np.nan
    values = residuals(fake_fit(data=data))
    assert list(values.index) == [0, 1, *range(3, 12)]


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("gaussian", lambda mu: np.full(12, 0.25)),
        ("poisson", lambda mu: mu),
        ("bernoulli", lambda mu: mu * (1 - mu)),
        ("nbinom2", lambda mu: mu + mu**2 / 0.5),
        ("nbinom1", lambda mu: 1.5 * mu),
        ("gamma", lambda mu: mu**2 / 0.5),
    ],
)
def test_pearson_residuals_divide_by_the_variance(name, variance):
    # The chosen residual sd of 0.5 is that of normal rows, and stands in for other families' own parameter.
    fit = fake_fit(family=name)
    mu = fitted(fit)
    expected = (DATA["y"] - mu) / np.sqrt(variance(mu))
    np.testing.assert_allclose(residuals(fit, "pearson"), expected)


def test_successes_out_of_trials_are_compared_as_proportions():
    data = pd.DataFrame(
        {"s": [1, 2, 3, 0, 1, 2] * 2, "f": [3, 2, 1, 4, 3, 2] * 2, **DATA[["x", "g", "h"]]}
    )
    fit = fake_fit("cbind(s, f) ~ x + (x | g) + (1 | h)", data, family="binomial")
    mu = fitted(fit)
    np.testing.assert_allclose(residuals(fit), data["s"] / 4 - mu)
    expected = (data["s"] - 4 * mu) / np.sqrt(4 * mu * (1 - mu))
    np.testing.assert_allclose(residuals(fit, "pearson"), expected)


def test_unknown_residuals_are_refused():
    with pytest.raises(ModelError, match="kind is 'deviant'"):
        residuals(fake_fit(), "deviant")  # type: ignore[arg-type]


def test_split_is_a_partition_that_follows_the_seed():
    fit_rows, test_rows = split_rows(101, fraction=0.2, seed=1)
    assert (len(fit_rows), len(test_rows)) == (81, 20)
    assert sorted([*fit_rows, *test_rows]) == list(range(101))
    assert (np.diff(test_rows) > 0).all()
    assert test_rows.tolist() == split_rows(101, fraction=0.2, seed=1)[1].tolist()
    assert test_rows.tolist() != split_rows(101, fraction=0.2, seed=2)[1].tolist()


@pytest.mark.parametrize(("num_rows", "fraction"), [(10, 0.0), (10, 1.0), (1, 0.2)])
def test_split_refuses_an_empty_part(num_rows, fraction):
    with pytest.raises(ValueError, match="leaves one part empty"):
        split_rows(num_rows, fraction=fraction)


def test_held_out_rows_are_scored_against_two_simpler_predictions():
    held_out = holdout(fake_fit(), NEW_LEVEL.assign(y=[1.0, 2.5]))
    assert (held_out.num_rows, held_out.num_new_levels) == (2, 1)
    np.testing.assert_allclose(held_out.residuals, [-0.4, 0.7])
    assert held_out.rmse == pytest.approx(np.sqrt((0.4**2 + 0.7**2) / 2))
    assert held_out.rmse_fixed == pytest.approx(np.sqrt((0.0**2 + 0.6**2) / 2))
    mean = DATA["y"].mean()
    assert held_out.rmse_mean == pytest.approx(np.sqrt(((1 - mean) ** 2 + (2.5 - mean) ** 2) / 2))


def test_some_of_the_terms_by_formula():
    """By hand: the fixed effects and the modes of the terms named."""
    fit = small_fit("y ~ x + (x | g) + (1 | h)")
    design = fit.model.design
    fixed = design.X @ fit.params.beta
    g, h = design.terms
    of_g = np.einsum("nk,nk->n", g.values, fit.modes[0][g.index])
    of_h = fit.modes[1][h.index, 0]
    for re_form, expected in {
        "~ (x | g)": fixed + of_g,
        "~ (1 | h)": fixed + of_h,
        "~ (1 | h) + (x | g)": fixed + of_g + of_h,
        "~ 0": fixed,
    }.items():
        np.testing.assert_allclose(fit.predict(re_form=re_form), expected)
    # Only the levels of the terms named must be known.
    new = {"x": [0.5], "g": ["never seen"], "h": ["1"]}
    place = h.levels.index("1")
    found = fit.predict(new, re_form="~ (1 | h)")
    assert found[0] == pytest.approx(fit.params.beta @ [1.0, 0.5] + fit.modes[1][place, 0])
    with pytest.raises(ModelError, match=r"no random-effects term \(1 \| x\)"):
        fit.predict(re_form="~ (1 | x)")
    with pytest.raises(ModelError, match=r"no coefficient z of \(1 \+ z \| g\) that is coded so"):
        fit.predict(re_form="~ (z | g)")
