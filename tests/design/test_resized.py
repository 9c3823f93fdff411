"""Designs of other sizes are those of the data with the rows repeated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.design.resized import resized
from lmeformula.errors import FormulaDataError


def data() -> pd.DataFrame:
    r = np.random.default_rng(1)
    n = 24
    school = np.repeat(list("abc"), 8)
    return pd.DataFrame(
        {
            "y": r.normal(size=n),
            "x": r.normal(size=n),
            "o": r.normal(size=n),
            "w": r.uniform(1.0, 2.0, n),
            "school": school,
            "pupil": np.tile(np.repeat(list("pq"), 4), 3),
            "item": np.tile(list("ijkl"), 6),
        }
    )


FORMULA = "y | weights(w) ~ x + offset(o) + (x | school / pupil) + (1 | item)"


def test_fewer_groups_and_rows_are_those_of_the_data():
    rows = data()
    kept = rows[rows["school"].isin(["a", "b"]) & (rows.groupby("school").cumcount() < 5)]
    found = resized(lf.design(FORMULA, rows), "school", num_groups=2, num_rows=5)
    expected = lf.design(FORMULA, kept)
    same(found, expected)
    assert [term.levels for term in found.terms] == [term.levels for term in expected.terms]


def test_more_groups_are_new_levels_of_what_is_nested_and_the_old_ones_of_what_is_crossed():
    rows = data()
    again = rows[rows["school"].isin(["a", "b"])].assign(
        school=lambda frame: frame["school"] + ".2"
    )
    found = resized(lf.design(FORMULA, rows), "school", num_groups=5)
    expected = lf.design(FORMULA, pd.concat([rows, again], ignore_index=True))
    same(found, expected)
    assert [len(term.levels) for term in found.terms] == [5, 10, 4]
    assert found.terms[0].levels == ("a", "b", "c", "a.2", "b.2")


def test_more_rows_repeat_those_of_a_group():
    rows = data()
    found = resized(lf.design(FORMULA, rows), "school", num_rows=12)
    repeated = rows.groupby("school", group_keys=False)[list(rows)].apply(
        lambda part: pd.concat([part, part[:4]])
    )
    same(found, lf.design(FORMULA, repeated))


def same(found: lf.Design, expected: lf.Design) -> None:
    """The same arrays, whatever the order of a term's levels."""
    np.testing.assert_array_equal(found.X, expected.X)
    np.testing.assert_array_equal(found.y, expected.y)
    np.testing.assert_array_equal(found.offset, expected.offset)
    np.testing.assert_array_equal(found.weights, expected.weights)
    for one, other in zip(found.terms, expected.terms, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        pairs = {(int(a), int(b)) for a, b in zip(one.index, other.index, strict=True)}
        assert len(pairs) == len(one.levels) == len(other.levels)


def test_several_predictors_stay_side_by_side():
    rows = data()
    made = lf.design({"mu": "y ~ x + (1 | school)", "sigma": "~ x"}, rows)
    found = resized(made, "school", num_groups=6)
    assert (found.n, found.num_predictors) == (48, 2)
    np.testing.assert_array_equal(found.X[:24], made.X)


def test_refusals():
    made = lf.design("y ~ x + (1 | school)", data())
    with pytest.raises(FormulaDataError, match="there is no grouping factor 'class'"):
        resized(made, "class")
    with pytest.raises(FormulaDataError, match="1 rows of 1 school do not determine"):
        resized(made, "school", num_groups=1, num_rows=1)
