"""Frequencies in a design: read or refused in words, 0 left out, what is learned is of all observations."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from lmeformula.design import design
from lmeformula.design.design import Design
from lmeformula.design.observations import by_observation, roughly_by_observation
from lmeformula.errors import FormulaDataError

FORMULA = "y ~ scale(x) + poly(z, 2) + bs(v, df = 4) + factor(a) + I(x > mean(x)) + (1 + z | g)"


def table() -> pd.DataFrame:
    r = np.random.default_rng(3)
    n = 40
    return pd.DataFrame(
        {
            "y": r.normal(size=n),
            "x": r.normal(size=n),
            "z": r.gamma(2.0, size=n),
            "v": r.normal(size=n),
            "a": r.integers(0, 3, n),
            "g": np.arange(n) % 5,
            "n": r.integers(0, 4, n),
        }
    )


def repeated(data: pd.DataFrame) -> pd.DataFrame:
    return data.loc[data.index.repeat(data["n"])].reset_index(drop=True)


def assert_same(found: Design, expected: Design) -> None:
    assert found.names == expected.names
    np.testing.assert_allclose(found.X, expected.X, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(found.y, expected.y)
    for one, other in zip(found.terms, expected.terms, strict=True):
        assert one.levels == other.levels
        np.testing.assert_array_equal(one.index, other.index)
        np.testing.assert_allclose(one.values, other.values)


def test_a_design_is_that_of_the_repeated_rows():
    data = table()
    made, expected = design(FORMULA, data, frequency="n"), design(FORMULA, repeated(data))
    assert made.n == (data["n"] > 0).sum()
    assert made.num_observations == expected.n == expected.num_observations
    assert_same(by_observation(made), expected)
    # New rows, which the columns of the data are centred for, and the means that grids are made at.
    new = {"x": [0.1, 0.2], "z": [1.0, 2.0], "v": [0.0, 0.3], "a": [0, 2], "g": [1, 9]}
    np.testing.assert_allclose(made.rebuild(new).X, expected.rebuild(new).X, rtol=1e-10, atol=1e-12)
    found, wanted = made.recipe.observed, expected.recipe.observed
    np.testing.assert_array_equal(found.counts, wanted.counts)
    np.testing.assert_array_equal(found.cells, wanted.cells)
    np.testing.assert_allclose([c.mean for c in found.columns], [c.mean for c in wanted.columns])


def test_levels_that_only_rows_of_frequency_zero_have_are_left_out():
    data = {
        "y": [1.0, 2.0, 3.0, 5.0],
        "a": ["u", "v", "w", "u"],
        "g": [1, 1, 2, 3],
        "n": [2, 1, 0, 1],
    }
    made = design("y ~ a + factor(g) + (1 | g)", data, frequency="n")
    assert made.names == ("Intercept", "a[T.v]", "factor(g)[T.3]")
    assert made.terms[0].levels == ("1", "3")
    assert (made.num_missing, made.rows.tolist()) == (1, [0, 1, 3])
    assert "1 left out for missing values or a frequency of 0" in str(made)


@pytest.mark.parametrize(
    "given",
    [
        lambda n: n.to_numpy(),
        lambda n: n.tolist(),
        lambda n: n.astype(float),
        lambda n: n.iloc[::-1],
        lambda n: pl.Series(n.to_numpy()),
        lambda n: pd.array(n, dtype="Int64"),
    ],
    ids=["array", "list", "floats", "series in another order", "polars", "Int64"],
)
def test_an_array_serves_as_a_column_does(given: Any):
    data = table()
    found = design("y ~ x + (1 | g)", data, frequency=given(data["n"]))
    np.testing.assert_array_equal(
        found.frequency, design("y ~ x + (1 | g)", data, frequency="n").frequency
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({3: -1.0}, r"the column 'n' of frequency is negative in 1 row, the first at place 3"),
        ({3: 0.5, 5: 1.5}, r"is not a whole number in 2 rows, the first at place 3"),
        ({2: np.nan}, r"is missing in 1 row, the first at place 2"),
        ({2: np.inf}, r"is infinite in 1 row, the first at place 2"),
        (dict.fromkeys(range(40), 0.0), r"the frequency of every row is 0: no row is left"),
    ],
    ids=["negative", "fractional", "missing", "infinite", "none"],
)
def test_what_is_no_frequency_is_refused_in_words(change: dict[int, float], words: str):
    data = table().astype({"n": float})
    for place, value in change.items():
        data.loc[place, "n"] = value
    with pytest.raises(FormulaDataError, match=words) as found:
        design("y ~ x + (1 | g)", data, frequency="n")
    assert found.value.hint


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("absent", "frequency is"),
        ([1, 2], "the argument frequency has 2 values for 40 rows"),
        (["a"] * 40, "the frequency must be numbers"),
    ],
)
def test_another_argument_is_refused_as_those_of_rows_are(given: Any, words: str):
    with pytest.raises(FormulaDataError, match=re.escape(words)):
        design("y ~ x + (1 | g)", table(), frequency=given)


def test_rows_with_a_missing_value_and_a_frequency_are_left_out():
    data = table()
    data.loc[[0, 1], "x"] = np.nan
    data.loc[[0, 1], "n"] = [3, 0]
    made = design("y ~ x + (1 | g)", data, frequency="n")
    assert made.num_missing == 1 + (data["n"] == 0).sum()
    assert_same(by_observation(made), design("y ~ x + (1 | g)", repeated(data)))


def test_formulas_of_several_predictors_have_one_frequency():
    data = table()
    formulas = {"mu": "y ~ scale(x) + (1 | g)", "sigma": "~ center(z)"}
    made, expected = design(formulas, data, frequency="n"), design(formulas, repeated(data))
    each = by_observation(made)
    assert_same(each, expected)
    for one, other in zip(each.predictors, expected.predictors, strict=True):
        np.testing.assert_allclose(one.design.X, other.design.X, rtol=1e-10, atol=1e-12)
    assert made.first.num_observations == expected.n
    assert pickle.loads(pickle.dumps(made)).num_observations == expected.n


def test_starts_are_worked_out_from_so_many_rows_at_most():
    data = table().assign(n=lambda d: d["n"] * 1_000_000)
    made = design("y ~ x + (1 | g)", data, frequency="n")
    rough = roughly_by_observation(made)
    assert 999_000 < rough.n <= 1_000_000 + made.n
    shares = np.bincount(rough.rows, minlength=40) / rough.n
    np.testing.assert_allclose(shares, data["n"] / data["n"].sum(), atol=1e-4)


def test_what_learns_from_too_many_rows_says_so():
    data = table().assign(n=1_000_000_000)
    with pytest.raises(FormulaDataError, match=r"scale\(\) learns from"):
        design("y ~ scale(x) + (1 | g)", data, frequency="n")


@pytest.mark.parametrize("column", ["lag(x)", "lag(x, -1)", "mine(x)", "level(x)", "kind(x)"])
def test_what_hangs_on_other_rows_is_refused(column: str):
    """Of the repeated rows it would be another column."""
    functions = {
        "mine": lambda v: v - v.mean(),
        "level": lambda v: float(v.mean()),
        "kind": lambda v: np.where(v > np.median(v), "high", "low"),
    }
    formula, data = f"y ~ I(x + z):{column} + (1 | g)", table()
    if column != "level(x)":
        assert design(formula, data, functions=functions).n > 0
    with pytest.raises(FormulaDataError, match=r"where the rows are repeated"):
        design(formula, data, functions=functions, frequency="n")


@pytest.mark.parametrize("many", [1, 1_000_000_000])
def test_functions_of_ones_own_that_take_each_row_alone_stay(many: int):
    functions = {
        "mine": lambda v, power=2: np.exp(v) ** power,
        "kind": lambda v: np.where(v > 0.0, "high", "low"),
        "both": lambda v: np.column_stack([np.sin(v), v > 1.0]),
    }
    formula = "y ~ mine(x) + mine(x, power = 3) + kind(z - v) + both(v) + (1 | g)"
    data = table()
    made = design(formula, data.assign(n=data["n"] * many), functions=functions, frequency="n")
    expected = design(formula, data[data["n"] > 0], functions=functions)
    np.testing.assert_array_equal(made.X, expected.X)
