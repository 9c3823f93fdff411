"""Every function of the table, by the columns it makes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmeformula.design import design
from lmeformula.design.bases import poly, scale
from lmeformula.design.functions import CONSTANTS, FUNCTIONS
from lmeformula.design.values import Numbers
from lmeformula.errors import FormulaDataError, FunctionNotFoundError, LmeFormulaWarning

DATA = {
    "y": [1.0, 2.0, 4.0, 3.0, 5.0],
    "v": [1.0, 2.0, 3.0, 4.0, 5.0],
    "u": [-2.5, -0.5, 0.4, 1.5, 2.5],
    "i": [3, 1, 3, 2, 1],
    "a": ["q", "p", "q", "r", "p"],
    "d": ["10", "2.5", "3", "4", "1e1"],
    "b": [True, False, True, True, False],
    "o": pd.Categorical(["lo", "hi", "mid", "hi", "lo"], ["lo", "mid", "hi"], ordered=True),
    "g": ["k", "k", "l", "l", "l"],
}
V, U = np.array(DATA["v"]), np.array(DATA["u"])
R10, R14 = math.sqrt(10), math.sqrt(14)

# The columns that a call makes; what R gives for the same call.
NUMERIC: dict[str, Any] = {
    "log(v)": np.log(V),
    "log(v, 2)": np.log2(V),
    "log(v, base = 10)": np.log10(V),
    "log(base = 2, x = v)": np.log2(V),
    "log(base = 2, v)": np.log2(V),
    "ifelse(yes = u, v > 2, 0)": [0, 0, 0.4, 1.5, 2.5],
    "log2(v)": np.log2(V),
    "log10(v)": np.log10(V),
    "log1p(v)": np.log1p(V),
    "exp(u)": np.exp(U),
    "expm1(u)": np.expm1(U),
    "sqrt(v)": np.sqrt(V),
    "abs(u)": np.abs(U),
    "sin(v)": np.sin(V),
    "cos(v)": np.cos(V),
    "tan(v)": np.tan(V),
    "atan(v)": np.arctan(V),
    "sign(u)": [-1, -1, 1, 1, 1],
    "floor(u)": [-3, -1, 0, 1, 2],
    "ceil(u)": [-2, 0, 1, 2, 3],
    "ceiling(u)": [-2, 0, 1, 2, 3],
    "round(u)": [-2, 0, 0, 2, 2],  # half to even, as in R
    "round(log(v), 1)": [0, 0.7, 1.1, 1.4, 1.6],
    "I(v^2 - 1)": V**2 - 1,
    "I(-v^2)": -(V**2),
    "I(2^-v)": 2.0**-V,
    "I(v %% 2)": [1, 0, 1, 0, 1],
    "I(v %/% 2)": [0, 1, 1, 2, 2],
    "I(cos(2 * pi * v / 5))": np.cos(2 * np.pi * V / 5),
    "I(v * (v - u) / 2)": V * (V - U) / 2,
    "identity(u)": U,
    "pmin(v, 3)": [1, 2, 3, 3, 3],
    "pmax(v, u + 3, 2.5)": [2.5, 2.5, 3.4, 4.5, 5.5],
    "scale(v)": (V - 3) / math.sqrt(2.5),
    "scale(v, scale = FALSE)": V - 3,
    "scale(v, center = FALSE)": V / math.sqrt(55 / 4),
    "scale(v, 1, 2)": (V - 1) / 2,
    "center(v)": V - 3,
    "I(v - mean(v))": V - 3,
    "I(v / sd(v))": V / math.sqrt(2.5),
    "I((v - min(v)) / (max(v) - min(v)))": (V - 1) / 4,
    "I(v - median(v))": V - 3,
    "as.numeric(o)": [1, 3, 2, 3, 1],
    "as.numeric(d)": [10, 2.5, 3, 4, 10],
    "as.numeric(b)": [1, 0, 1, 1, 0],
    "as.integer(u)": [-2, 0, 0, 1, 2],
    "ifelse(v > 2, u, 0)": [0, 0, 0.4, 1.5, 2.5],
    "ifelse(b, 1, -1)": [1, -1, 1, 1, -1],
    'ifelse(a == "q" | v > 4, 1, 0)': [1, 0, 1, 0, 1],
    "poly(v, 1)": np.array([-2, -1, 0, 1, 2]) / R10,
    "poly(v, 2)": np.c_[np.array([-2, -1, 0, 1, 2]) / R10, np.array([2, -1, -2, -1, 2]) / R14],
    "poly(v, degree = 2, raw = TRUE)": np.c_[V, V**2],
    "cbind(v, w = u)": np.c_[V, U],
    'dummy(a, "r")': [0, 0, 0, 1, 0],
    "dummy(a)": np.c_[[1, 0, 1, 0, 0], [0, 0, 0, 1, 0]],
}


@pytest.mark.parametrize("call", NUMERIC)
def test_numeric_function(call: str) -> None:
    made = design(f"y ~ 0 + {call}", DATA)
    np.testing.assert_allclose(made.X, np.reshape(NUMERIC[call], (5, -1)), rtol=1e-12, atol=1e-12)


# The levels of each row, and all levels in their order.
FACTORS: dict[str, tuple[str, str]] = {
    "factor(i)": ("3 1 3 2 1", "1 2 3"),
    "factor(i, levels = c(3, 2, 1))": ("3 1 3 2 1", "3 2 1"),
    'factor(i, labels = c("x", "y", "z"))': ("z x z y x", "x y z"),
    'factor(i, levels = 3:1, labels = c("x", "y", "z"))': ("x z x y z", "x y z"),
    "as.factor(i)": ("3 1 3 2 1", "1 2 3"),
    "ordered(i)": ("3 1 3 2 1", "1 2 3"),
    "as.ordered(a)": ("q p q r p", "p q r"),
    'relevel(a, ref = "r")': ("q p q r p", "r p q"),
    "relevel(factor(i), 3)": ("3 1 3 2 1", "3 1 2"),
    "C(a)": ("q p q r p", "p q r"),
    "interaction(a, b)": ("q.True p.False q.True r.True p.False", "p.False q.True r.True"),
    "cut(v, c(0, 2, 5))": ("(0,2] (0,2] (2,5] (2,5] (2,5]", "(0,2] (2,5]"),
    "cut(v, c(1, 2, 5), right = FALSE, include.lowest = TRUE)": (
        "[1,2) [2,5] [2,5] [2,5] [2,5]",
        "[1,2) [2,5]",
    ),
    "cut(v, c(-Inf, 2, Inf))": ("(-inf,2] (-inf,2] (2,inf] (2,inf] (2,inf]", "(-inf,2] (2,inf]"),
    "cut(v, 2)": ("(0.996,3] (0.996,3] (0.996,3] (3,5] (3,5]", "(0.996,3] (3,5]"),
    'cut(v, c(0, 2, 5), labels = c("low", "high"))': ("low low high high high", "low high"),
    "I(v > 2)": ("False False True True True", "False True"),
    "bool(v - 2)": ("True False True True True", "False True"),
    "as.logical(v - 2)": ("True False True True True", "False True"),
    "xor(b, v > 3)": ("True False True False True", "False True"),
    'I(a %in% c("q", "r"))': ("True False True True False", "False True"),
    'I(!(a == "q"))': ("False True False True True", "False True"),
    'ifelse(v > 2, "high", "low")': ("low low high high high", "high low"),
    "I(a)": ("q p q r p", "p q r"),
}


@pytest.mark.parametrize("call", FACTORS)
def test_factor_function(call: str) -> None:
    rows, levels = (text.split() for text in FACTORS[call])
    made = design(f"y ~ 0 + {call}", DATA)
    prefix = made.names[0].removesuffix(f"[{levels[0]}]")
    assert made.names == tuple(f"{prefix}[{level}]" for level in levels)
    assert [levels[i] for i in made.X.argmax(axis=1)] == rows
    assert (made.X.sum(axis=1) == 1).all()


def test_is_na_keeps_rows() -> None:
    data = {"y": [1.0, 2.0, 3.0, 5.0], "x": [1.0, float("nan"), 3.0, 4.0]}
    made = design("y ~ is.na(x) + ifelse(is.na(x), 0, x)", data)
    assert made.X.tolist() == [[1, 0, 1], [1, 1, 0], [1, 0, 3], [1, 0, 4]]


def test_lag_makes_the_first_rows_missing() -> None:
    made = design("y ~ 0 + lag(v, 2)", DATA)
    assert made.X.ravel().tolist() == [1, 2, 3]
    assert made.rows.tolist() == [2, 3, 4]


SPLINES = [
    "bs(x, df = 5)",
    "bs(x, degree = 2)",
    "bs(x, knots = c(-1, 0.5))",
    "ns(x, 4)",
    "cr(x, df = 3)",
]


@pytest.mark.parametrize("call", SPLINES)
def test_spline_holds_straight_lines(call: str, frame: pd.DataFrame) -> None:
    X = design(f"y ~ {call}", frame).X
    residual = frame["x"] - X @ np.linalg.lstsq(X, frame["x"], rcond=None)[0]
    assert np.abs(residual).max() < 1e-10


@pytest.mark.parametrize(
    ("call", "df"), [("bs(x, df = 5)", 5), ("bs(x, degree = 2)", 2), ("ns(x, 4)", 4)]
)
def test_spline_has_as_many_columns_as_asked(call: str, df: int, frame: pd.DataFrame) -> None:
    assert design(f"y ~ {call}", frame).X.shape[1] == df + 1


def test_b_splines_with_intercept_sum_to_one(frame: pd.DataFrame) -> None:
    X = design("y ~ 0 + bs(x, df = 6, intercept = TRUE)", frame).X
    np.testing.assert_allclose(X.sum(axis=1), 1.0)


def test_natural_spline_is_straight_beyond_its_knots_and_zero_at_the_first(
    frame: pd.DataFrame,
) -> None:
    made = design("y ~ 0 + ns(x, 4)", frame)
    low, high = frame["x"].min(), frame["x"].max()
    rows = made.rebuild({"x": [low, low - 1, low - 2, high, high + 1, high + 2]}).X
    np.testing.assert_allclose(rows[0], 0.0, atol=1e-12)
    np.testing.assert_allclose(rows[2] - rows[1], rows[1] - rows[0], atol=1e-10)
    np.testing.assert_allclose(rows[5] - rows[4], rows[4] - rows[3], atol=1e-10)


def test_missing_values_go_through_bases() -> None:
    values = [*np.linspace(0, 1, 20).tolist(), float("nan")]
    data = {"y": np.arange(21.0), "x": values}
    for call in ("bs(x, df = 4)", "ns(x, 3)", "scale(x)", "poly(x, 3, raw = TRUE)"):
        made = design(f"y ~ {call}", data)
        assert made.n == 20
        assert np.isfinite(made.X).all()


def test_orthogonal_polynomials_refuse_missing_values_as_in_r() -> None:
    data = {"y": [1.0, 2.0, 3.0, 4.0], "x": [1.0, 2.0, 3.0, float("nan")]}
    with pytest.raises(FormulaDataError, match=r"poly\(\) of a column that is missing in 1 row"):
        design("y ~ poly(x, 2)", data)
    complete = {name: values[:3] for name, values in data.items()}
    rows = design("y ~ poly(x, 2)", complete).rebuild({"x": [2.0, float("nan")]})
    assert rows.rows.tolist() == [0]


def test_new_missing_values_are_counted_in_a_warning(frame: pd.DataFrame) -> None:
    num_negative = int((frame["x"] < 0).sum())
    with pytest.warns(LmeFormulaWarning, match=rf"log\(\) is not a number in {num_negative} rows"):
        made = design("y ~ log(x)", frame)
    assert made.num_missing == num_negative
    with pytest.warns(LmeFormulaWarning, match=r"x\^0.5 is not a number in"):
        design("y ~ I(x^0.5)", frame)


def test_every_function_is_tried_here() -> None:
    text = " ".join([*NUMERIC, *FACTORS, *SPLINES])
    known = {"asin", "acos", "sinh", "cosh", "tanh", "is.na", "lag", "standardize", "as.double"}
    contrasts = {name for name in FUNCTIONS if name in CONSTANTS}
    untried = {name for name in FUNCTIONS if f"{name}(" not in text} - known - contrasts
    assert not untried


ERRORS: dict[str, str] = {
    "nosuch(x)": "there is no function 'nosuch' in formulas",
    "log(a)": "log() needs numbers, not text",
    "log(x, base = 2, 3)": "log() takes at most 2 arguments, not 3",
    "log(x, base = 2, base = 3)": "log() is given an argument twice",
    "scale(x, foo = 2)": "scale() has no argument 'foo' here",
    "scale(x, x = z)": "center must be TRUE, FALSE or a number, not numbers",
    "relevel(a)": "relevel() needs the argument 'ref'",
    "factor(a, exclude = NULL)": "factor() has no argument 'exclude' here",
    'relevel(a, "zz")': "'zz' is not a level of the factor",
    "relevel(x, 1)": "relevel() needs a factor, not numbers",
    "factor(t, labels = c(1, 2))": "factor() has 4 levels but 2 labels",
    "scale(h, scale = NULL)": "scale must be TRUE, FALSE or a number, not NULL",
    "scale(I(0 * x))": "scale() of a column that is constant",
    "poly(a, 2)": "poly() needs columns of numbers and one degree",
    "poly(x, 2, 3)": "poly() needs columns of numbers and one degree",
    "poly(t, 4)": "poly() of degree 4 needs more than 4 distinct values, and there are 4",
    "poly(x, 1.5)": "degree must be a whole number, not the constant 1.5",
    "bs(x, df = 2)": "bs() needs a df of at least 3, not 2",
    "ns(x, df = 3, knots = 0)": "ns() takes df or knots, not both",
    "bs(x, knots = 99)": "the inner knots of bs() must be distinct and inside the boundary knots",
    "cut(x, 1)": "cut() needs at least two intervals",
    "cut(x, z)": "cut() needs constant breaks",
    "C(a, contr.foo)": "the formula uses 'contr.foo', which is not a column of the data",
    'C(a, "foo")': "there are no contrasts called 'foo'",
    "C(a, x)": "C() needs contrasts, not numbers",
    "C(a, contr.treatment(9))": "the base level 9 is not a level of 'C(a, contr.treatment(9))'",
    "as.numeric(a)": "as.numeric() needs text that spells numbers",
    "lag(x, 0.5)": "lag(k=) must be a whole number, not the constant 0.5",
    'dummy(a, "zz")': "'zz' is not a level of the factor",
    "mean(x)": "'mean(x)' is the constant",
    "I(2)": "'I(2)' is the constant 2.0, not a value for each row",
    "c(1, 2)": "'c(1, 2)' is a list of constants, not a value for each row",
    "I(1 / (t - t))": "'I(1/(t - t))' is infinite in",
    "factor(I(0 * t))": "the factor 'factor(I(0 * t))' has only one level, '0' in the rows used",
}


@pytest.mark.parametrize("call", ERRORS)
@pytest.mark.filterwarnings("ignore::lmeformula.errors.LmeFormulaWarning")
def test_error_says_what_and_where(call: str, frame: pd.DataFrame) -> None:
    with pytest.raises(FormulaDataError) as caught:
        design(f"y ~ z + {call} + (1 | g)", frame)
    error = caught.value
    assert error.problem.startswith(ERRORS[call])
    assert error.code
    assert error.span is not None
    assert "^" in str(error)


def test_unknown_function_lists_the_table(frame: pd.DataFrame) -> None:
    with pytest.raises(FunctionNotFoundError) as caught:
        design("y ~ logg(x)", frame, functions={"mine": np.abs})
    assert "Did you mean log()?" in caught.value.hint
    assert "poly" in caught.value.hint
    assert "mine" in caught.value.hint


def test_callers_function_may_return_anything_with_a_value_for_each_row(
    frame: pd.DataFrame,
) -> None:
    functions = {
        "square": lambda v: v**2,
        "both": lambda v: np.c_[v, v**3],
        "upper": lambda v: [text.upper() for text in v],
        "is_big": lambda v: v > 4,
        "log": lambda v: v,  # hides the table's
    }
    made = design("y ~ square(x) + upper(a) + is_big(z) + log(x)", frame, functions=functions)
    assert made.names == (
        "Intercept",
        "square(x)",
        "upper(a)[T.A2]",
        "upper(a)[T.A3]",
        "is_big(z)[T.True]",
        "log(x)",
    )
    np.testing.assert_array_equal(made.X[:, 1], frame["x"] ** 2)
    assert design("y ~ 0 + both(x):a", frame, functions=functions).X.shape == (60, 6)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda v: 1 / 0, "your function 'f' raised ZeroDivisionError: division by zero"),
        (lambda v: v[:3], "your function 'f' returned an array of shape (3,)"),
        (lambda v: None, "your function 'f' returned an array of shape ()"),
    ],
)
def test_callers_function_that_fails(function: Any, problem: str, frame: pd.DataFrame) -> None:
    with pytest.raises(FormulaDataError) as caught:
        design("y ~ f(x)", frame, functions={"f": function})
    assert caught.value.problem.startswith(problem)


def test_callers_function_cannot_change_the_data(frame: pd.DataFrame) -> None:
    before = frame["x"].copy()

    def spoil(values: Any) -> Any:
        values[:] = 0
        return values + np.arange(values.size)

    design("y ~ spoil(x)", frame, functions={"spoil": spoil})
    pd.testing.assert_series_equal(frame["x"], before)


@pytest.mark.parametrize(
    ("learned", "call", "says"),
    [
        ((np.zeros(0), np.ones(())), "scale", "other columns"),
        ((np.zeros(()), np.ones(2)), "scale", "other columns"),
        ([{"alpha": {0: 0.0}, "norms2": {0: 1.0, 1: 1.0}}], "poly", "another degree"),
        ([{}], "poly", "another degree"),
        ([{}, {}], "poly", "other columns"),
    ],
)
def test_what_was_learned_of_other_columns_is_refused(learned, call, says):
    """As a saved fit may hold it that somebody has changed."""
    x = Numbers(np.arange(5.0))
    with pytest.raises(FormulaDataError, match=says):
        scale(learned, x) if call == "scale" else poly(learned, x, degree=2)
