from __future__ import annotations

import builtins
import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmeformula as lf
from lmeformula.design import Design, design
from lmeformula.errors import FormulaDataError, LmeFormulaWarning
from lmeformula.formula import parse

NA = float("nan")


def assert_same(a: Design, b: Design) -> None:
    np.testing.assert_allclose(a.X, b.X, rtol=0, atol=1e-12)
    assert a.names == b.names
    assert a.response is not None
    assert b.response is not None
    np.testing.assert_array_equal(a.response.values, b.response.values)
    np.testing.assert_array_equal(a.offset, b.offset)
    for p, q in zip(a.terms, b.terms, strict=True):
        np.testing.assert_allclose(p.values, q.values, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(p.index, q.index)
        assert (p.name, p.columns, p.levels) == (q.name, q.columns, q.levels)


# ---- frames, rows, missing values -----------------------------------------------------------------------

EVERYTHING = "y ~ x*a + b + lg + poly(z, 2) + offset(log(w)) + (x | g) + (0 + a | g:h) + (1 | t)"


def test_every_kind_of_table_gives_the_same_design(frame: pd.DataFrame) -> None:
    plain = frame.drop(columns="o")
    first = design(EVERYTHING, plain)
    tables: list[Any] = [
        plain.set_index(np.arange(60)[::-1]),
        plain.convert_dtypes(dtype_backend="numpy_nullable"),
        plain.convert_dtypes(dtype_backend="pyarrow"),
        plain.astype(dict.fromkeys(("a", "b", "g"), "category")),
        plain.astype(dict.fromkeys(("a", "g", "lg"), object)),
        pl.DataFrame(plain.to_dict("list")),
        pa.table(plain.to_dict("list")),
        plain.to_dict("list"),
        {name: plain[name].to_numpy() for name in plain},
    ]
    for table in tables:
        assert_same(first, design(EVERYTHING, table))


@pytest.mark.parametrize("dtype", ["int64", "float64", "category"])
def test_numeric_groups_are_in_numeric_order(dtype: str, frame: pd.DataFrame) -> None:
    made = design("y ~ 1 + (1 | h)", frame.astype({"h": dtype}))
    assert made.terms[0].levels == tuple(str(i) for i in range(1, 12))


def test_text_groups_are_in_code_point_order(frame: pd.DataFrame) -> None:
    made = design("y ~ 1 + (1 | h)", frame.astype({"h": str}))
    assert made.terms[0].levels[:4] == ("1", "10", "11", "2")


@settings(max_examples=25)
@given(order=st.permutations(range(30)))
def test_permuted_rows_give_a_permuted_design(order: list[int]) -> None:
    from tests.design.conftest import make_frame

    frame = make_frame(30)
    first, second = design(EVERYTHING, frame), design(EVERYTHING, frame.iloc[order])
    np.testing.assert_allclose(second.X, first.X[order], atol=1e-9)
    for p, q in zip(first.terms, second.terms, strict=True):
        assert p.levels == q.levels
        np.testing.assert_array_equal(q.index, p.index[order])


def test_rows_are_complete_cases_over_the_used_variables_and_then_levels_go() -> None:
    data = pd.DataFrame(
        {
            "y": [1.0, 2, NA, 4, 5, 6, 7],
            "x": [1.0, NA, 3, 4, 6, 5, 9],
            "a": pd.Categorical(list("uuvvwww"), list("zwvu")),
            "g": ["p", "p", "q", "r", None, "r", "p"],
            "unused": [NA] * 7,
        }
    )
    made = design("y ~ x + a + (1 | g)", data)
    assert made.rows.tolist() == [0, 3, 5, 6]
    assert made.num_missing == 3
    assert made.names == ("Intercept", "x", "a[T.v]", "a[T.u]")
    assert made.terms[0].levels == ("p", "r")


def test_transforms_see_the_rows_that_go_later() -> None:
    data = {"y": [1.0, 2.0, 3.0, NA], "x": [1.0, 2.0, 4.0, 9.0]}
    made = design("y ~ center(x)", data)
    assert made.X[:, 1].tolist() == [-3.0, -2.0, 0.0]  # the mean of all four, as in R


def test_no_complete_row_is_an_error_that_says_why() -> None:
    with pytest.raises(FormulaDataError) as caught:
        design("y ~ x", {"y": [1.0, NA, 3.0], "x": [NA, NA, NA]})
    assert caught.value.problem == "no row is complete: x has no values at all"
    with pytest.raises(FormulaDataError) as caught:
        design("y ~ x + (1 | g)", {"y": [1.0, NA], "x": [NA, 2.0], "g": ["a", "b"]})
    assert caught.value.problem == "no row is complete: every row misses some variable"
    assert caught.value.hint.startswith("Missing values: y (1), x (1). Leave the emptiest")


@pytest.mark.parametrize(
    ("formula", "problem"),
    [
        ("y ~ x", "'x' is infinite in 2 rows"),
        ("x ~ y", "'x' is infinite in 2 rows"),
        ("y ~ 1 + (x | g)", "'x' is infinite in 2 rows"),
        ("y ~ offset(x)", "'x' is infinite in 2 rows"),
        ("y ~ log(z)", "'log(z)' is infinite in 1 row"),
        ("y | weights(x) ~ 1", "'x' is infinite in 2 rows"),
    ],
)
def test_infinite_values_are_counted(formula: str, problem: str) -> None:
    inf = float("inf")
    data = {"y": [1.0, 2, 3, 4], "x": [inf, -inf, 1, 2], "z": [0.0, 1, 2, 3], "g": list("aabb")}
    with pytest.raises(FormulaDataError) as caught:
        design(formula, data)
    assert caught.value.problem == problem
    assert caught.value.span is not None


# ---- response -------------------------------------------------------------------------------------------

RESPONSES: dict[str, tuple[str, tuple[str, ...], list[float]]] = {
    "y": ("numeric", (), [0.5, 1.5, 2.5]),
    "i": ("numeric", (), [0, 1, 2]),
    "log(i + 1)": ("numeric", (), np.log([1, 2, 3]).tolist()),
    "-y": ("numeric", (), [-0.5, -1.5, -2.5]),
    "l": ("logical", (), [1, 0, 1]),
    "y > 1": ("logical", (), [0, 1, 1]),
    "s": ("categorical", ("no", "yes"), [1, 0, 1]),
    "factor(i)": ("categorical", ("0", "1", "2"), [0, 1, 2]),
    "o": ("ordered", ("lo", "hi"), [1, 0, 1]),
    "cbind(i, 3 - i)": ("matrix", (), [[0, 3], [1, 2], [2, 1]]),  # type: ignore[list-item]
    "i | trials(n)": ("numeric", (), [0, 1, 2]),
    "p(i, n)": ("numeric", (), [0, 1, 2]),
    "prop(i, n)": ("numeric", (), [0, 1, 2]),
}


@pytest.mark.parametrize("response", RESPONSES)
def test_response(response: str) -> None:
    data = {
        "y": [0.5, 1.5, 2.5],
        "i": [0, 1, 2],
        "n": [3, 3, 4],
        "l": [True, False, True],
        "s": ["yes", "no", "yes"],
        "o": pd.Categorical(["hi", "lo", "hi"], ["lo", "hi"], ordered=True),
    }
    block = design(f"{response} ~ 1", data).response
    assert block is not None
    kind, levels, values = RESPONSES[response]
    assert (block.kind, block.levels, block.values.tolist()) == (kind, levels, values)
    assert block.values.dtype == np.float64
    assert (None if block.trials is None else block.trials.tolist()) == (
        [3, 3, 4] if "n)" in response else None
    )


def test_more_successes_than_trials_are_an_error() -> None:
    with pytest.raises(FormulaDataError, match="outside 0 to its number of trials in 1 rows"):
        design("i | trials(n) ~ 1", {"i": [1, 5], "n": [3, 3]})


def test_one_sided_formula_has_no_response(frame: pd.DataFrame) -> None:
    made = design("~ x + (1 | g)", frame)
    assert made.response is None
    assert made.y is None


# ---- offset, weights ------------------------------------------------------------------------------------


def test_offsets_add_up(frame: pd.DataFrame) -> None:
    made = design("y ~ x + offset(z) + offset(2 * w)", frame, offset="n")
    np.testing.assert_allclose(made.offset, frame["z"] + 2 * frame["w"] + frame["n"])
    np.testing.assert_allclose(
        made.offset, design("y ~ offset(z) + offset(2 * w)", frame, offset=frame["n"]).offset
    )


def test_weights_by_name_array_and_formula_are_the_same(frame: pd.DataFrame) -> None:
    for made in (
        design("y ~ x", frame, weights="w"),
        design("y ~ x", frame, weights=frame["w"].to_numpy()),
        design("y | weights(w) ~ x", frame),
    ):
        np.testing.assert_array_equal(made.weights, frame["w"])
    assert design("y ~ x", frame).weights is None


def test_missing_weight_or_offset_takes_its_row_along(frame: pd.DataFrame) -> None:
    holes = frame["w"].to_numpy().copy()
    holes[[3, 7]] = NA
    assert design("y ~ x", frame, weights=holes).n == 58
    assert design("y ~ x", frame, offset=holes).num_missing == 2


ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"weights": [1.0, 2.0]}, "the argument weights has 2 values for 60 rows of data"),
    ({"weights": "a"}, "the weights must be numbers"),
    ({"offset": "nosuch"}, "offset is 'nosuch', which is not a column of the data"),
    (
        {"offset": [float("inf")] * 60},
        "the argument offset is infinite in 60 rows, the first at place 0",
    ),
]


@pytest.mark.parametrize(("arguments", "problem"), ARGUMENTS)
def test_arguments_that_do_not_fit(
    arguments: dict[str, Any], problem: str, frame: pd.DataFrame
) -> None:
    with pytest.raises(FormulaDataError) as caught:
        design("y ~ x", frame, **arguments)
    assert caught.value.problem == problem


def test_weights_twice_are_an_error(frame: pd.DataFrame) -> None:
    with pytest.raises(FormulaDataError, match="given twice"):
        design("y | weights(w) ~ x", frame, weights="w")


@pytest.mark.parametrize("column", ["a", "lg"])
def test_offset_must_be_numeric(column: str, frame: pd.DataFrame) -> None:
    with pytest.raises(FormulaDataError) as caught:
        design(f"y ~ x + offset({column})", frame)
    assert caught.value.code == "E_OFFSET_TYPE"


# ---- terms ----------------------------------------------------------------------------------------------


def test_terms_on_one_group_get_distinct_names(frame: pd.DataFrame) -> None:
    data = frame.assign(**{"g.1": frame["t"]})
    made = design("y ~ x + (1 | g) + (0 + x | g) + (1 | g.1) + (0 + z | g) + (1 | g:h)", data)
    assert [term.name for term in made.terms] == ["g", "g.2", "g.1", "g.3", "g:h"]


def test_term_block(frame: pd.DataFrame) -> None:
    term = design("y ~ x + cs(1 + x | g/h, hom = TRUE)", frame).terms[1]
    assert (term.group, term.factors, term.covariance, term.homogeneous) == (
        "h:g", ("h", "g"), "cs", True,
    )  # fmt: skip
    assert term.index.dtype == np.int32
    joined = frame["h"].astype(str) + ":" + frame["g"]
    assert [term.levels[i] for i in term.index.tolist()] == joined.tolist()
    np.testing.assert_array_equal(term.values, np.column_stack([np.ones(60), frame["x"]]))


@pytest.mark.parametrize(
    ("linked", "columns"),
    [
        ("(1 | p | g) + (0 + x | p | g)", ["Intercept", "x"]),
        ("(0 + x | p | g) + (1 | p | g)", ["x", "Intercept"]),
        ("(1 | p | g) + (1 | h) + (0 + z | q | h) + (0 + x + z | p | g) + (0 + x | q | h)", None),
    ],
)
def test_linked_terms_are_one_block(linked: str, columns: list[str], frame: pd.DataFrame) -> None:
    made = design(f"y ~ x + {linked}", frame)
    if columns is None:
        found = [(term.name, term.columns, term.block) for term in made.terms]
        assert found == [
            ("g", ("Intercept", "x", "z"), "p"),
            ("h", ("Intercept",), ""),
            ("h.1", ("z", "x"), "q"),
        ]
        return
    (term,) = made.terms
    assert (list(term.columns), term.group, term.covariance, term.block) == (
        columns,
        "g",
        "us",
        "p",
    )
    whole = design("y ~ x + (1 + x | g)", frame).terms[0]
    order = [whole.columns.index(column) for column in columns]
    np.testing.assert_array_equal(term.values, whole.values[:, order])
    np.testing.assert_array_equal(term.index, whole.index)
    assert term.levels == whole.levels


def test_linked_terms_may_name_their_group_in_another_order(frame: pd.DataFrame) -> None:
    (term,) = design("y ~ x + (1 | p | g:h) + (0 + x | p | h:g)", frame).terms
    (whole,) = design("y ~ x + (1 + x | g:h)", frame).terms
    assert (term.levels, term.group, term.columns) == (whole.levels, "g:h", whole.columns)
    np.testing.assert_array_equal(term.index, whole.index)


def test_linked_terms_of_new_rows_are_one_block(frame: pd.DataFrame) -> None:
    made = design("y ~ x + (0 + a | p | g) + (1 | h) + (0 + x | p | g)", frame)
    rows = made.rebuild(frame.iloc[[3, 7]])
    assert [term.columns for term in rows.terms] == [term.columns for term in made.terms]
    np.testing.assert_array_equal(rows.terms[0].values, made.terms[0].values[[3, 7]])
    np.testing.assert_array_equal(rows.terms[0].index, made.terms[0].index[[3, 7]])


LINKED_TWICE = {
    "y ~ x + (1 | p | g) + (x | p | g)": """\
the terms linked by the label 'p' both have the column 'Intercept'
    y ~ x + (1 | p | g) + (x | p | g)
                          ^^^^^^^^^^^
They are one block of coefficients, and each column stands in it once: \
write (0 + ... | p | g) in one of them.""",
    "y ~ x + (x | p | g) + (0 + x + z | p | g)": """\
the terms linked by the label 'p' both have the column 'x'
    y ~ x + (x | p | g) + (0 + x + z | p | g)
                          ^^^^^^^^^^^^^^^^^^^
They are one block of coefficients, and each column stands in it once: leave it out of one.""",
}


@pytest.mark.filterwarnings("ignore:W_DUPLICATE_RANDOM")
@pytest.mark.parametrize("formula", LINKED_TWICE)
def test_a_column_stands_once_in_a_block(formula: str, frame: pd.DataFrame) -> None:
    with pytest.raises(FormulaDataError) as caught:
        design(formula, frame)
    assert str(caught.value) == LINKED_TWICE[formula]


WARNINGS = {
    "y ~ x + (a || g)": "W_DBLBAR_FACTOR: the levels of 'a' in (... || g) stay correlated",
    "y ~ x + (x + I(2 * x) | g)": (
        "W_RE_RANK: the 3 columns of the term on 'g' (Intercept, x, I(2 * x)) have rank 2"
    ),
    "y ~ 1 + (1 | z)": "W_NUMERIC_GROUP: the grouping factor 'z' holds numbers that are not whole",
    "y ~ 1 + (1 | g) + (1 | twin)": (
        "W_ALIASED_GROUP: the grouping factors 'g' and 'twin' divide the rows alike"
    ),
    "y ~ x^2": "W_POWER_SINGLE",
}


@pytest.mark.parametrize("formula", WARNINGS)
def test_warning(formula: str, frame: pd.DataFrame) -> None:
    with pytest.warns(LmeFormulaWarning) as caught:
        design(formula, frame.assign(twin=frame["g"].map(dict(zip("pqrst", "vwxyz", strict=True)))))
    assert len(caught) == 1
    assert str(caught[0].message).startswith(WARNINGS[formula])
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + (x || g)",
        "y ~ a + (a | g)",
        "y ~ 1 + (1 | h)",
        "y ~ x + (1 | g) + (1 | g:h)",
        "y ~ diag(a | g)",
    ],
)
def test_no_warning(formula: str, frame: pd.DataFrame) -> None:
    design(formula, frame)  # a warning would be an error


def test_dates_group_rows_but_are_no_numbers(frame: pd.DataFrame) -> None:
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(frame["t"], unit="D")
    data = frame.assign(day=days)
    assert design("y ~ 1 + (1 | day)", data).terms[0].levels[0] == "2020-01-01"
    assert len(design("y ~ factor(day)", data).names) == 4
    with pytest.raises(FormulaDataError, match="column 'day' holds dates or times"):
        design("y ~ day", data)


def test_reserved_syntax_is_listed_and_left_out(frame: pd.DataFrame) -> None:
    made = design("y | cens(lg) ~ x + mo(o) + (1 | gr(g, id = a)) + (1 | mm(g, h, id = a))", frame)
    assert made.reserved == ("mo(o)", "cens(lg)", "gr(g, id = a)", "mm(g, h, id = a)")
    assert made.names == ("Intercept", "x")
    assert [term.factors for term in made.terms] == [("@gr(g, id = a)",), ("@mm(g, h, id = a)",)]


def test_dot_is_every_column_but_the_response(frame: pd.DataFrame) -> None:
    made = design("y ~ .", frame[["x", "y", "a"]])
    assert made.names == ("Intercept", "x", "a[T.a2]", "a[T.a3]")
    assert str(made.formula.fixed.sum.terms[0].variables[0].name) == "x"  # type: ignore[union-attr]


def test_formula_may_be_parsed_before(frame: pd.DataFrame) -> None:
    assert_same(design(EVERYTHING, frame), design(parse(EVERYTHING), frame))


def test_repr_is_a_summary(frame: pd.DataFrame) -> None:
    made = design("y ~ x*a + (1 + x | g) + diag(a | h)", frame)
    assert repr(made) == (
        "Design of y ~ 1 + x + a + x:a + (1 + x | g) + diag(1 + a | h)\n"
        "  rows      60\n"
        "  response  y (numeric)\n"
        "  fixed     Intercept, x, a[T.a2], a[T.a3], x:a[T.a2], x:a[T.a3]\n"
        "  random    g: 5 levels of Intercept, x\n"
        "  random    h: 11 levels of Intercept, a[T.a2], a[T.a3], diag"
    )


def test_design_pickles(frame: pd.DataFrame) -> None:
    made = design(EVERYTHING, frame)
    again = pickle.loads(pickle.dumps(made))
    assert_same(made, again)
    np.testing.assert_array_equal(again.rebuild(frame.iloc[:5]).X, made.X[:5])


def test_data_is_not_changed(frame: pd.DataFrame) -> None:
    before = frame.copy(deep=True)
    design(EVERYTHING, frame)
    pd.testing.assert_frame_equal(frame, before)


# ---- a formula is data ----------------------------------------------------------------------------------

HOSTILE = [
    "__import__('os').system('touch /tmp/owned')",
    "x); import os; (",
    "c0",
    "C(c0)",
    "1",
    "x:a",
    "a[T.a2]",
    "{0}",
    "%s",
    "lambda: 0",
    "\U0001d605",
    "np.array",
    "`",
    "\\",
    " ",
    "log",
    "pi",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_any_column_name_is_just_a_name(
    name: str, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise AssertionError(f"something was evaluated: {arguments[0]!r}")

    text = name.replace("\\", "\\\\").replace("`", "\\`")
    data = frame.assign(**{name: frame["x"] ** 3, f"{name}2": frame["a"]})
    formula = f"y ~ x*`{text}2` + `{text}` + I(`{text}`^2) + (`{text}` | g:`{text}2`)"
    monkeypatch.setattr(builtins, "eval", refuse)
    monkeypatch.setattr(builtins, "exec", refuse)
    made = design(formula, data)
    np.testing.assert_array_equal(made.X[:, made.names.index(name)], frame["x"] ** 3)
    assert f"{name}2[T.a2]" in made.names
    assert made.terms[0].columns == ("Intercept", name)
    assert made.terms[0].factors == ("g", f"{name}2")


def test_any_level_name_is_just_a_name(frame: pd.DataFrame) -> None:
    names = dict(zip(["a1", "a2", "a3"], ["T.x]", "c0[T.1]:c1", "x\n'\"{}%s"], strict=True))
    made = design("y ~ x:a + (a | g)", frame.assign(a=frame["a"].map(names)))
    levels = sorted(names.values())
    assert made.names == (
        "Intercept",
        *(f"x:a[{level}]" for level in levels),
    )
    assert made.terms[0].columns == ("Intercept", *(f"a[T.{level}]" for level in levels[1:]))


def test_columns_called_alike_get_distinct_names(frame: pd.DataFrame) -> None:
    data = frame.assign(**{"Intercept": frame["z"] ** 2, "x:z": frame["w"]})
    made = design("y ~ x*z + Intercept + `x:z`", data)
    assert made.names == ("Intercept", "x", "z", "Intercept.1", "x:z", "x:z.1")


def test_a_thousand_terms_are_no_matter() -> None:
    data = {f"v{i}": np.random.default_rng(i).normal(size=1200) for i in range(1000)}
    data["y"] = np.arange(1200.0)
    made = design("y ~ " + " + ".join(f"v{i}" for i in range(1000)), data)
    assert made.X.shape == (1200, 1001)


def test_a_number_of_trials_may_be_one_for_all_rows() -> None:
    rows = {"k": [3, 5, 20], "n": [20, 20, 20], "x": [1.0, 2.0, 3.0], "g": ["a", "b", "a"]}
    one = lf.design("k | trials(20) ~ x + (1 | g)", rows)
    assert one.response.trials.tolist() == [20.0, 20.0, 20.0]
    assert one.response.values.tolist() == [3.0, 5.0, 20.0]
    with pytest.raises(lf.FormulaDataError, match="not a value for each row"):
        lf.design("k ~ I(20) + x + (1 | g)", rows)


def test_levels_of_several_factors_have_names_of_their_own() -> None:
    rows = {"y": [1.0, 2.0, 3.0], "g": ["a:b", "a", "a"], "h": ["c", "b:c", "d"]}
    (term,) = lf.design("y ~ 1 + (1 | g:h)", rows).terms
    assert sorted(term.levels) == sorted(["`a:b`:c", "a:`b:c`", "a:d"])
    # Where none collide names are as they were.
    (term,) = lf.design("y ~ 1 + (1 | g:h)", rows | {"h": ["c", "c", "d"]}).terms
    assert sorted(term.levels) == sorted(["a:b:c", "a:c", "a:d"])
