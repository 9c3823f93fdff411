"""Smooths as columns: centred, of what rows, by what, at new rows; and what is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.design import design
from lmeformula.errors import FormulaDataError, LmeFormulaWarning

N = 60


def table() -> pd.DataFrame:
    r = np.random.default_rng(8)
    return pd.DataFrame(
        {
            "x": r.uniform(1.0, 3.0, N).round(3),
            "z": r.normal(size=N),
            "w": r.normal(size=N),
            "a": np.array(list("uvw"))[np.arange(N) % 3],
            "g": np.array([f"g{i}" for i in range(6)])[np.arange(N) % 6],
            "y": r.normal(size=N),
            "n": r.integers(1, 4, N),
        }
    )


DATA = table()


def test_a_curve_is_a_fixed_line_and_a_term_of_the_population():
    made = design("y ~ s(x) + (1 | g)", DATA)
    assert made.names == ("Intercept", "s(x)[x]")
    np.testing.assert_allclose(made.X[:, 1], DATA["x"] - DATA["x"].mean(), atol=1e-12)
    group, curve = made.terms
    assert (group.role, curve.role) == ("group", "population")
    assert curve.levels == ("all",)
    assert len(curve.columns) == 8
    assert (curve.covariance, curve.homogeneous) == ("diag", True)
    np.testing.assert_allclose(curve.values.sum(axis=0), 0.0, atol=1e-10)
    assert (curve.values**2).sum(axis=1).mean() == pytest.approx(1.0)


def test_frequencies_are_repeated_rows():
    weighted = design('y ~ s(x, bs = "cr", k = 6)', DATA, frequency="n")
    repeated = design('y ~ s(x, bs = "cr", k = 6)', DATA.loc[DATA.index.repeat(DATA["n"])])
    every = np.repeat(np.arange(N), DATA["n"])
    np.testing.assert_allclose(weighted.X[every], repeated.X, atol=1e-12)
    values = weighted.terms[0].values[every]
    np.testing.assert_allclose(
        values @ values.T, repeated.terms[0].values @ repeated.terms[0].values.T
    )


def test_rows_that_miss_something_take_no_part_in_the_basis():
    holes = DATA.copy()
    holes.loc[[3, 9], "y"] = np.nan
    holes.loc[5, "x"] = np.nan
    made, fewer = design("y ~ s(x)", holes), design("y ~ s(x)", holes.dropna())
    assert made.num_missing == 3
    np.testing.assert_array_equal(made.X, fewer.X)
    np.testing.assert_array_equal(made.terms[0].values, fewer.terms[0].values)
    # A cyclic curve has no fixed column in which a missing value would show.
    assert design('y ~ s(x, bs = "cc")', holes).n == N - 3


def test_by_a_number_is_not_centred_unless_it_is_constant():
    made = design("y ~ s(x, by = w)", DATA)
    assert made.names == ("Intercept", "s(x, by = w)[w]", "s(x, by = w)[w:x]")
    np.testing.assert_allclose(made.X[:, 1], DATA["w"], atol=1e-9)
    constant = design("y ~ s(x, by = w)", DATA.assign(w=2.0))
    assert constant.names == ("Intercept", "s(x, by = w)[w:x]")
    logical = design("y ~ s(x, by = w)", DATA.assign(w=DATA["w"] > 0))
    assert len(logical.terms[0].columns) == 8


def test_by_a_factor_has_a_curve_and_a_variance_for_each_level():
    made = design("y ~ a + s(x, by = a)", DATA)
    (curve,) = made.terms
    assert (curve.parts, len(curve.columns)) == (3, 24)
    own = curve.values.reshape(N, 3, 8)
    is_own = DATA["a"].to_numpy()[:, None] == np.array(["u", "v", "w"])
    assert not own[~is_own].any()
    alone = design("y ~ s(x)", DATA).terms[0].values
    np.testing.assert_allclose(own[is_own], alone, atol=1e-12)
    ordered = DATA.assign(a=pd.Categorical(DATA["a"], ordered=True))
    assert design("y ~ a + s(x, by = a)", ordered).terms[0].parts == 2


def test_effects_of_levels_are_random_terms():
    made = design('y ~ s(g, bs = "re") + s(x, g, bs = "re")', DATA)
    plain = design("y ~ (1 | g) + (0 + x | g)", DATA)
    assert made.names == ("Intercept",)
    for one, other in zip(made.terms, plain.terms, strict=True):
        assert (one.name, one.columns, one.role) == (other.name, other.columns, "group")
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.index, other.index)


def test_new_rows_have_the_columns_of_the_fit():
    formula = 'y ~ s(x) + s(z, bs = "cr", k = 5, by = a) + s(w, bs = "cc") + s(g, bs = "re")'
    made = design(formula, DATA)
    rows = made.rebuild(DATA.iloc[[7, 3]])
    np.testing.assert_allclose(rows.X, made.X[[7, 3]], atol=1e-10)
    for one, other in zip(rows.terms, made.terms, strict=True):
        np.testing.assert_allclose(one.values, other.values[[7, 3]], atol=1e-8)
    # The factor of effects that take no part is not asked for.
    some = made.rebuild(DATA.drop(columns=["y", "g"]), groups=(True, True, True, False))
    assert [term.name for term in some.terms] == [term.name for term in made.terms]


def test_beyond_the_data_there_is_a_warning_with_the_range():
    made = design("y ~ s(x)", DATA)
    with pytest.warns(LmeFormulaWarning, match=r"s\(x\) was fitted for x from 1.*straight line"):
        made.rebuild({"x": [2.0, 9.0]})
    with pytest.warns(LmeFormulaWarning, match="begins again"):
        design('y ~ s(x, bs = "cc")', DATA).rebuild({"x": [9.0]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.rebuild({"x": [DATA["x"].min(), DATA["x"].max()]})


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("y ~ s(a)", "'a' is not one column of numbers"),
        ("y ~ s(x, by = b)", "only one level"),
        ("y ~ s(x, k = 100)", "100 distinct values"),
        ("y ~ s(few)", "there are 3"),
        ("y ~ s(few, k = 3, bs = 'cc')", "at least 4"),
        ("y ~ s(gap)", "no row is complete"),
        ("y ~ s(inf)", "infinite in 1 row"),
        ("y ~ s(nope)", "nope"),
        ("y ~ s(x, by = nope)", "nope"),
        ("y ~ s(nope, bs = 're')", "nope"),
        ("y ~ s(log(a))", "log"),
        ("y ~ s(poly(x, 2))", "not one column"),
    ],
)
def test_refuses_in_words(formula, words):
    data = DATA.assign(b="only", few=np.arange(N) % 3, gap=np.nan, inf=DATA["x"])
    data.loc[4, "inf"] = np.inf
    with pytest.raises(FormulaDataError, match=words):
        design(formula, data)


def test_a_new_level_of_by_has_no_curve():
    made = design("y ~ s(x, by = a)", DATA)
    with pytest.raises(FormulaDataError, match=r"without a curve: t"):
        made.rebuild({"x": [2.0], "a": ["t"]})


def test_names_of_levels_with_colons_stay_apart():
    data = DATA.assign(a=np.where(DATA["a"] == "u", "p:q", np.where(DATA["a"] == "v", "r:q", "s")))
    fit = lf.fit("y ~ a + s(x, by = a, k = 4)", data)
    names = [name for name in fit.param_names if name.startswith("sd(")]
    assert [name.partition("):")[2] for name in names] == ["a[p:q])", "a[r:q])", "a[s])"]
