from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmeformula.design import design
from lmeformula.errors import ColumnNotFoundError, FormulaDataError
from tests.design.conftest import make_frame

FORMULAS = (
    "y ~ x + (1 | g)",
    "y ~ x*a + lg:b + (a | g) + (1 | g:h)",
    "log(w) ~ poly(x, 3)*a + (poly(z, 2) || g)",
    "y ~ bs(x, df = 5) + ns(z, 3) + (scale(x) | h)",
    "y ~ scale(x) + center(z):b + offset(log(z)) + (0 + factor(t) | g)",
    "y ~ cut(z, 4) + factor(t)*x + diag(o | g)",
    "y ~ C(o, contr.poly) + C(a, contr.sum):x + (1 | a/b)",
    'y ~ relevel(a, "a3") + I(x - mean(x)) + interaction(a, b) + (1 | t)',
    "y ~ x + I(2 * x) + as.numeric(o) + I(a == \"a2\") + (1 | lg)",
    "s | trials(n) ~ ifelse(x > mean(x), z, 0) + (1 | g)",
    "o ~ x + (1 | g)",
    "cbind(s, n - s) ~ pmin(x, 0) + (1 | g)",
)  # fmt: skip
ROWS = st.lists(st.integers(0, 59), min_size=1, max_size=30)


@pytest.mark.filterwarnings("ignore::lmeformula.errors.LmeFormulaWarning")
@pytest.mark.parametrize("formula", FORMULAS)
@settings(max_examples=15)
@given(rows=ROWS)
def test_rows_of_the_fit_come_back_as_they_were(formula: str, rows: list[int]) -> None:
    frame = make_frame()
    made = design(formula, frame)
    again = made.rebuild(frame.iloc[rows], response=True)
    np.testing.assert_allclose(again.X, made.X[rows], rtol=0, atol=1e-10)
    np.testing.assert_allclose(again.offset, made.offset[rows], rtol=0, atol=1e-12)
    assert again.names == made.names
    assert again.unseen == {}
    for old, new in zip(made.terms, again.terms, strict=True):
        np.testing.assert_allclose(new.values, old.values[rows], rtol=0, atol=1e-10)
        np.testing.assert_array_equal(new.index, old.index[rows])
        assert (new.name, new.columns, new.levels) == (old.name, old.columns, old.levels)
    assert again.response is not None
    assert made.response is not None
    np.testing.assert_array_equal(again.response.values, made.response.values[rows])
    assert again.response.levels == made.response.levels


def test_new_rows_need_neither_response_nor_all_levels(frame: pd.DataFrame) -> None:
    made = design("y ~ x*a + lg + (1 | g)", frame)
    rows = made.rebuild({"x": [2.0], "a": ["a3"], "lg": [True], "g": ["t"]})
    row = dict(zip(rows.names, rows.X[0].tolist(), strict=True))
    assert row == {
        "Intercept": 1, "x": 2, "a[T.a2]": 0, "a[T.a3]": 1, "lg[T.True]": 1,
        "x:a[T.a2]": 0, "x:a[T.a3]": 2,
    }  # fmt: skip
    assert rows.terms[0].index.tolist() == [4]
    assert rows.response is None


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("a", pd.Categorical(["a3", "a1"], ["a3", "a2", "a1"])),
        ("g", pd.Categorical(["t", "p"])),
        ("h", ["11", "2"]),
        ("h", [11.0, 2.0]),
        ("lg", [1, 0]),
        ("t", np.array([3, 0], dtype="int8")),
    ],
)
def test_types_of_new_rows_may_differ_where_the_meaning_is_plain(
    column: str, values: Any, frame: pd.DataFrame
) -> None:
    made = design("y ~ a + lg + t + (1 | g) + (1 | h)", frame)
    plain = {"a": ["a3", "a1"], "g": ["t", "p"], "h": [11, 2], "lg": [True, False], "t": [3, 0]}
    first, second = made.rebuild(plain), made.rebuild({**plain, column: values})
    np.testing.assert_array_equal(first.X, second.X)
    for p, q in zip(first.terms, second.terms, strict=True):
        np.testing.assert_array_equal(p.index, q.index)
        assert (q.index >= 0).all()


def test_unseen_groups_are_listed_and_not_guessed(frame: pd.DataFrame) -> None:
    made = design("y ~ 1 + (1 | g/h)", frame)
    observed = set(zip(frame["g"], frame["h"], strict=True))
    missing = next(h for h in range(1, 12) if ("p", h) not in observed)
    rows = made.rebuild({"g": ["p", "new", "p", "new"], "h": [missing, 1, 99, 1]})
    assert dict(rows.unseen) == {"g": ("new",), "h:g": (f"{missing}:p", "1:new", "99:p")}
    assert rows.terms[0].index.tolist() == [0, -1, 0, -1]
    assert rows.terms[1].index.tolist() == [-1, -2, -3, -2]
    assert rows.terms[1].levels == made.terms[1].levels


def test_groups_can_be_left_out(frame: pd.DataFrame) -> None:
    made = design("y ~ x + (z | g)", frame)
    rows = made.rebuild({"x": [1.0, 2.0]}, groups=False)
    assert rows.X.tolist() == [[1, 1], [1, 2]]
    assert rows.terms == ()


def test_incomplete_new_rows_are_told_apart(frame: pd.DataFrame) -> None:
    made = design("y ~ x + a + (1 | g)", frame)
    data = {"x": [1.0, float("nan"), 2.0], "a": ["a1", "a1", None], "g": ["p", "p", "p"]}
    rows = made.rebuild(data)
    assert rows.rows.tolist() == [0]
    assert rows.num_rows == 3
    assert made.rebuild({k: v[1:] for k, v in data.items()}).X.shape == (0, 4)


def test_levels_that_nobody_had_are_refused_in_the_fixed_part(frame: pd.DataFrame) -> None:
    made = design("y ~ a + factor(t) + (1 | g)", frame)
    with pytest.raises(FormulaDataError) as caught:
        made.rebuild({"a": ["a1", "a9"], "t": [0, 1], "g": ["p", "p"]})
    assert str(caught.value) == (
        "'a' has levels that the data of the fit did not have: a9\n"
        "    y ~ a + factor(t) + (1 | g)\n"
        "        ^\n"
        "Known are a1, a2, a3. Only grouping factors may have new levels."
    )
    with pytest.raises(FormulaDataError, match=r"'factor\(t\)' has levels .* did not have: 7"):
        made.rebuild({"a": ["a1"], "t": [7], "g": ["p"]})


def test_declared_but_unused_level_is_unseen(frame: pd.DataFrame) -> None:
    data = frame.assign(a=pd.Categorical(frame["a"], ["a1", "a2", "a3", "a4"]))
    made = design("y ~ a", data)
    with pytest.raises(FormulaDataError, match="did not have: a4"):
        made.rebuild({"a": pd.Categorical(["a4"], ["a1", "a2", "a3", "a4"])})


def test_another_kind_of_column_is_refused(frame: pd.DataFrame) -> None:
    made = design("y ~ x + (1 | g)", frame)
    with pytest.raises(FormulaDataError) as caught:
        made.rebuild({"x": ["1.5"], "g": ["p"]})
    assert caught.value.problem == ("column 'x' holds text; in the data of the fit it held numbers")


def test_absent_column_is_named(frame: pd.DataFrame) -> None:
    with pytest.raises(ColumnNotFoundError, match="the formula uses 'x'"):
        design("y ~ x + (1 | g)", frame).rebuild({"g": ["p"]})


def test_codes_of_an_ordered_factor_are_remembered(frame: pd.DataFrame) -> None:
    made = design("y ~ as.numeric(o)", frame)
    only_high = pd.Categorical(["hi"], ["hi"], ordered=True)
    assert made.rebuild({"o": only_high}).X.tolist() == [[1, 3]]


def test_splines_and_polynomials_go_on_beyond_the_data(frame: pd.DataFrame) -> None:
    made = design("y ~ poly(x, 2) + bs(z, df = 4)", frame)
    rows = made.rebuild({"x": [10.0, 20.0], "z": [0.0, 12.0]})
    assert np.isfinite(rows.X).all()
    # A quadratic in x stays one: the columns reproduce it beyond the data.
    X = made.X[:, :3]
    beta = np.linalg.lstsq(X, 3 + 2 * frame["x"] - frame["x"] ** 2, rcond=None)[0]
    np.testing.assert_allclose(rows.X[:, :3] @ beta, [3 + 20 - 100, 3 + 40 - 400])


def test_dropped_columns_stay_dropped(frame: pd.DataFrame) -> None:
    with pytest.warns(match=r"left out I\(2 \* x\)"):
        made = design("y ~ x + I(2 * x) + z", frame)
    assert made.rebuild({"x": [1.0], "z": [5.0]}).X.tolist() == [[1, 1, 5]]


def test_offset_and_weights_given_as_arrays_must_come_along(frame: pd.DataFrame) -> None:
    by_name = design("y ~ x", frame, offset="z", weights="w")
    again = by_name.rebuild(frame.iloc[:3], response=True)
    assert again.offset.tolist() == frame["z"].iloc[:3].tolist()
    assert again.weights is not None
    assert again.weights.tolist() == frame["w"].iloc[:3].tolist()

    by_array = design("y ~ x", frame, offset=frame["z"])
    with pytest.raises(FormulaDataError, match="the fit was given the offset as an array"):
        by_array.rebuild({"x": [1.0]})
    assert by_array.rebuild({"x": [1.0]}, offset=[7.0]).offset.tolist() == [7.0]


def test_callers_functions_are_called_again(frame: pd.DataFrame) -> None:
    made = design("y ~ cube(x)", frame, functions={"cube": lambda v: v**3})
    assert made.rebuild({"x": [2.0]}).X.tolist() == [[1, 8]]


def test_new_category_of_the_response_is_refused_when_it_is_asked_for(frame: pd.DataFrame) -> None:
    made = design("a ~ x", frame)
    data = {"a": ["a9"], "x": [1.0]}
    assert made.rebuild(data).response is None
    with pytest.raises(
        FormulaDataError, match=r"the response 'a' has categories .* did not have: a9"
    ):
        made.rebuild(data, response=True)


def test_design_put_together_by_hand_cannot_be_rebuilt(frame: pd.DataFrame) -> None:
    made = replace(design("y ~ x", frame), recipe=None)
    with pytest.raises(FormulaDataError, match="put together by hand"):
        made.rebuild(frame)


def test_recipe_holds_no_rows(frame: pd.DataFrame) -> None:
    recipe = design(FORMULAS[1], frame).recipe
    assert recipe is not None
    assert all(factor.codes.size == 0 for factor in recipe.factors.values())
    sizes = [
        len(getattr(c, "codes", getattr(c, "values", ()))) for c in recipe.memory.columns.values()
    ]
    assert sizes == [0] * len(sizes)
