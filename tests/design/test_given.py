"""What is given beside the formula: ids, labels of rows, arrays, words; kept, aligned or refused."""

from __future__ import annotations

import decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import lmeformula as lf
from lmeformula.design import design
from lmeformula.errors import FormulaDataError, LmeFormulaError

IDS = 10**17 + np.arange(48) // 6


def sleep() -> pd.DataFrame:
    return lf.datasets.load("sleepstudy")


def with_gap(values: list[Any]) -> list[Any]:
    return [None, *values[1:]]


# The same eight ids of 18 digits, one of them missing in the first row, as the kinds of columns that hold them.
COLUMNS = {
    "pandas Int64": lambda ids: pd.array(with_gap(ids), dtype="Int64"),
    "object": lambda ids: np.array(with_gap(ids), dtype=object),
    "strings": lambda ids: with_gap([str(i) for i in ids]),
    "polars": lambda ids: pl.Series(with_gap(ids), dtype=pl.Int64),
    "pyarrow": lambda ids: pa.array(with_gap(ids), type=pa.int64()),
    "categorical": lambda ids: pd.Categorical(with_gap(ids)),
    "numpy": lambda ids: np.array(ids),
}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("start", [10**15, 10**17])
def test_ids_of_many_digits_stay_apart_beside_missing_ones(kind, start):
    r = np.random.default_rng(0)
    ids = [int(start + i // 6) for i in range(48)]
    data = {"y": r.normal(size=48), "id": COLUMNS[kind](ids)}
    found = design("y ~ 1 + (1 | id)", data).terms[0].levels
    assert found == tuple(str(start + i) for i in range(8))


def test_levels_of_different_types_that_are_spelled_alike_are_refused():
    levels = [1, "1", 2]
    g = pd.Categorical(np.array(levels, object)[np.arange(60) % 3], levels)
    with pytest.raises(FormulaDataError, match=r"levels 1 and '1', which are spelled alike"):
        design("y ~ 1 + (1 | g)", {"y": np.arange(60.0), "g": g})


@pytest.mark.parametrize("make", [float, int, np.float32])
def test_categories_of_numbers_are_called_as_the_numbers(make):
    g = pd.Categorical([make(i % 4) for i in range(40)])
    made = design("y ~ 1 + (1 | g)", {"y": np.arange(40.0), "g": g})
    assert made.terms[0].levels == ("0", "1", "2", "3")
    assert made.rebuild({"g": [1, 2]}).terms[0].index.tolist() == [1, 2]


@pytest.mark.parametrize(
    "column",
    [[10**400] * 5, [decimal.Decimal("sNaN")] * 5, [1j] * 5, [[1], [2], [3], [4], [5]]],
    ids=["a huge number", "a signalling nan", "complex", "lists"],
)
def test_columns_that_mean_nothing_are_refused_in_words(column):
    data = {"y": np.arange(5.0), "x": np.array([*column, None], object)[:5]}
    with pytest.raises(LmeFormulaError):
        design("y ~ x", data)


@pytest.fixture
def shuffled() -> pd.DataFrame:
    return sleep().sample(frac=1, random_state=0)


def test_what_is_said_of_rows_has_their_labels(shuffled):
    fit = lf.fit("Reaction ~ Days + (Days | Subject)", shuffled)
    for found in (
        fit.residuals(),
        fit.fitted(),
        fit.predict(),
        fit.predict(interval="prediction"),
        fit.simulate(1),
        fit.augment(),
    ):
        assert found.index.equals(shuffled.index)
    straight = lf.fit("Reaction ~ Days + (Days | Subject)", sleep())
    np.testing.assert_allclose(fit.fitted().sort_index(), straight.fitted(), rtol=1e-6)


@pytest.mark.parametrize("name", ["offset", "weights"])
def test_series_are_aligned_by_their_index_and_arrays_by_place(shuffled, name):
    values = pd.Series(np.linspace(1, 50, 180), index=sleep().index)
    formula = "Reaction ~ Days + (1 | Subject)"
    right = lf.fit(formula, sleep(), **{name: values}).loglik.value
    assert lf.fit(formula, shuffled, **{name: values}).loglik.value == pytest.approx(right)
    by_place = values[shuffled.index].to_numpy()
    assert lf.fit(formula, shuffled, **{name: by_place}).loglik.value == pytest.approx(right)
    with pytest.raises(FormulaDataError, match="without a value for 1 of the rows"):
        lf.fit(formula, shuffled, **{name: values.iloc[1:]})


def test_a_new_response_is_aligned_too(shuffled):
    fit = lf.fit("Reaction ~ Days + (1 | Subject)", shuffled)
    y = sleep()["Reaction"] + sleep()["Days"]
    again = fit.refit(y)
    assert again.fixef["Days"] == pytest.approx(fit.fixef["Days"] + 1.0)
    assert fit.refit(y[shuffled.index].to_numpy()).loglik.value == pytest.approx(again.loglik.value)


@pytest.mark.parametrize("name", ["offset", "weights"])
def test_an_update_keeps_arrays(name):
    values = np.linspace(1, 20, 180)
    fit = lf.fit("Reaction ~ Days + (Days | Subject)", sleep(), **{name: values})
    assert fit.update("~ .", sleep()).loglik.value == pytest.approx(fit.loglik.value, rel=1e-9)
    without = lf.fit("Reaction ~ Days + (Days | Subject)", sleep())
    given_none = fit.update("~ .", sleep(), **{name: None})
    assert given_none.loglik.value == pytest.approx(without.loglik.value, rel=1e-9)
    with pytest.raises(FormulaDataError, match=f"{name} as an array, which has 180 values"):
        fit.update("~ .", sleep().iloc[:90])


def test_prediction_intervals_of_new_rows_know_their_weights():
    r = np.random.default_rng(2)
    g, w = np.repeat(np.arange(12), 6), np.tile([0.1, 1, 10], 24)
    data = pd.DataFrame(
        {"y": r.normal(size=72) / np.sqrt(w) + r.normal(size=12)[g], "g": g, "w": w}
    )
    by_name = lf.fit("y ~ 1 + (1 | g)", data, weights="w")
    here = by_name.predict(interval="prediction")
    pd.testing.assert_frame_equal(here, by_name.predict(data, interval="prediction"))
    by_array = lf.fit("y ~ 1 + (1 | g)", data, weights=w)
    there = by_array.predict(data, interval="prediction", weights=w)
    np.testing.assert_allclose(here, there)
    with pytest.raises(FormulaDataError, match="weights as an array"):
        by_array.predict(data, interval="prediction")
    # A mean needs none.
    assert len(by_array.predict(data, interval="confidence")) == 72
    np.testing.assert_allclose(
        by_name.simulate(2, newdata=data[["g", "w"]], seed=1), by_name.simulate(2, seed=1)
    )


def test_parts_of_terms_are_kept_as_lme4_keeps_them():
    # lme4 1.1-31: predict(lmer(Reaction ~ Days + (Days | Subject)), new, re.form = ~ (1 | Subject)), ...
    fit = lf.fit("Reaction ~ Days + (Days | Subject)", sleep(), reml=True)
    new = pd.DataFrame({"Days": [0, 9], "Subject": ["308", "308"]})
    assert fit.predict(new, re_form="~ (1 | Subject)").iloc[0] == pytest.approx(
        253.663652, rel=1e-5
    )
    slopes = fit.predict(new, re_form="~ (0 + Days | Subject)")
    assert slopes.iloc[1] == pytest.approx(428.401472, rel=1e-5)
    population = fit.predict(new, re_form="NA")
    both = fit.predict(new, re_form="~ (1 | Subject)") + slopes - population
    np.testing.assert_allclose(both, fit.predict(new))
    with pytest.raises(lf.ModelError, match="no coefficient Hours of"):
        fit.predict(new, re_form="~ (0 + Hours | Subject)")
    with pytest.raises(lf.ModelError, match="part of the term on Subject"):
        fit.simulate(1, re_form="~ (1 | Subject)")


def test_columns_of_terms_that_are_left_out_are_not_asked_for():
    data = sleep().assign(k=np.arange(180) % 7)
    fit = lf.fit("Reaction ~ Days + (1 | Subject/k)", data)
    new = pd.DataFrame({"Days": [0, 9], "Subject": ["308", "308"]})
    found = fit.predict(new, re_form="~ (1 | Subject)")
    modes = fit.ranef().query("group == 'Subject' and level == '308'")["value"].iloc[0]
    np.testing.assert_allclose(found, fit.predict(new, re_form="NA") + modes)
    frame = fit.predict(new, re_form="~ (1 | Subject)", interval="confidence")
    np.testing.assert_allclose(frame["estimate"], found)


def trials() -> pd.DataFrame:
    g = np.repeat(np.arange(6), 4).astype(str)
    return pd.DataFrame(
        {"k": [1, 2, 3] * 8, "n": 4, "half": 4.5, "few": 2, "g": g, "y": [0, 1, 1] * 8}
    )


@pytest.mark.parametrize("family", ["binomial", "beta_binomial"])
@pytest.mark.parametrize("size", ["half", "few"])
def test_trials_are_whole_and_hold_the_successes(family, size):
    with pytest.raises(FormulaDataError, match=r"not whole|outside 0 to its number of trials"):
        lf.fit(f"k | trials({size}) ~ 1 + (1 | g)", trials(), family, method="laplace")


def test_single_answers_are_binomial_of_one_trial():
    fits = [
        lf.fit("y ~ 1 + (1 | g)", trials(), family, method="laplace")
        for family in ("binomial", "bernoulli")
    ]
    assert fits[0].loglik.value == pytest.approx(fits[1].loglik.value, rel=1e-9)


def test_new_rows_of_trials_need_no_successes():
    cbpp = lf.datasets.load("cbpp")
    fit = lf.fit(
        "incidence | trials(size) ~ period + (1 | herd)", cbpp, "binomial", method="laplace"
    )
    new = cbpp[["size", "period", "herd"]].iloc[:4]
    drawn = fit.simulate(50, newdata=new, re_form=None)
    assert ((drawn >= 0).all(axis=1) & (drawn.le(new["size"], axis=0)).all(axis=1)).all()
    found = fit.predict(new, interval="prediction")
    pd.testing.assert_frame_equal(found, fit.predict(cbpp.iloc[:4], interval="prediction"))
    with pytest.raises(FormulaDataError, match="not whole"):
        fit.simulate(1, newdata=new.assign(size=2.5))


@pytest.mark.parametrize(
    "options",
    [
        {"reml": "no"},
        {"reml": 1},
        {"strict": "yes"},
        {"seed": "a"},
        {"seed": 1.5},
        {"seed": None},
        {"seed": -1},
        {"seed": True},
        {"sigma": "a"},
        {"sigma": True},
        {"sigma": -1.0},
        {"tolerance": "small"},
        {"num_draws": True},
    ],
    ids=str,
)
def test_options_of_the_wrong_kind_are_refused(options):
    with pytest.raises(LmeFormulaError):
        lf.fit("Reaction ~ Days + (1 | Subject)", sleep(), **options)
