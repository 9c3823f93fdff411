from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmeformula.design import design
from lmeformula.errors import FormulaDataError, LmeFormulaWarning
from tests.examples import examples

# Every combination of the factors occurs several times with different numbers: no accidental dependence.
CELLS = list(itertools.product(["a1", "a2", "a3"], ["b1", "b2"], ["c1", "c2"])) * 8
RNG = np.random.default_rng(5)
CROSSED = pd.DataFrame(CELLS, columns=["a", "b", "c"]).assign(
    x=RNG.normal(size=len(CELLS)), z=RNG.normal(size=len(CELLS)), y=RNG.normal(size=len(CELLS))
)
DUMMIES = {
    name: np.stack([CROSSED[name] == level for level in sorted(set(CROSSED[name]))], axis=1) * 1.0
    for name in "abc"
} | {name: CROSSED[[name]].to_numpy() for name in "xz"}

sums_of_terms = st.lists(
    st.frozensets(st.sampled_from("abcxz"), min_size=1, max_size=3),
    min_size=1,
    max_size=5,
    unique=True,
)


def all_products(terms: list[frozenset[str]], intercept: bool) -> Any:
    """The whole space of the terms: all dummies of every factor, multiplied out."""
    blocks = [np.ones((len(CROSSED), 1))] if intercept else []
    for term in terms:
        block = np.ones((len(CROSSED), 1))
        for name in sorted(term):
            block = (block[:, :, None] * DUMMIES[name][:, None, :]).reshape(len(CROSSED), -1)
        blocks.append(block)
    return np.concatenate(blocks, axis=1)


@settings(max_examples=examples(300))
@given(terms=sums_of_terms, intercept=st.booleans())
def test_columns_span_the_terms_and_none_is_redundant(
    terms: list[frozenset[str]], intercept: bool
) -> None:
    text = " + ".join(["1" if intercept else "0", *(":".join(sorted(term)) for term in terms)])
    made = design(f"y ~ {text}", CROSSED)  # a dropped column would warn, and warnings are errors
    whole = all_products(terms, intercept)
    rank = np.linalg.matrix_rank(whole)
    assert made.X.shape[1] == np.linalg.matrix_rank(made.X) == rank
    residual = whole - made.X @ np.linalg.lstsq(made.X, whole, rcond=None)[0]
    assert np.abs(residual).max() < 1e-8
    assert len(set(made.names)) == len(made.names)


NAMES = {
    "a": "Intercept a[T.a2] a[T.a3]",
    "0 + a": "a[a1] a[a2] a[a3]",
    "x*a": "Intercept x a[T.a2] a[T.a3] x:a[T.a2] x:a[T.a3]",
    "a:x": "Intercept a[a1]:x a[a2]:x a[a3]:x",
    "0 + x + a:x": "x x:a[T.a2] x:a[T.a3]",
    "a:b": "Intercept b[T.b2] a[T.a2]:b[b1] a[T.a3]:b[b1] a[T.a2]:b[b2] a[T.a3]:b[b2]",
    "b + a:b": "Intercept b[T.b2] b[b1]:a[T.a2] b[b2]:a[T.a2] b[b1]:a[T.a3] b[b2]:a[T.a3]",
    "poly(x, 2):b": "Intercept poly(x, 2)[1]:b[b1] poly(x, 2)[2]:b[b1] poly(x, 2)[1]:b[b2] poly(x, 2)[2]:b[b2]",
    "C(a, contr.sum)": "Intercept C(a, contr.sum)[S.a1] C(a, contr.sum)[S.a2]",
    "C(a, contr.helmert)": "Intercept C(a, contr.helmert)[H.a2] C(a, contr.helmert)[H.a3]",
    "C(a, contr.poly)": "Intercept C(a, contr.poly)[.L] C(a, contr.poly)[.Q]",
    "C(a, contr.SAS)": "Intercept C(a, contr.SAS)[T.a1] C(a, contr.SAS)[T.a2]",
    "C(a, contr.treatment(2))": "Intercept C(a, contr.treatment(2))[T.a1] C(a, contr.treatment(2))[T.a3]",
    'C(a, base = "a3")': 'Intercept C(a, base = "a3")[T.a1] C(a, base = "a3")[T.a2]',
    "C(a, Sum):x": "Intercept C(a, Sum)[a1]:x C(a, Sum)[a2]:x C(a, Sum)[a3]:x",
}


@pytest.mark.parametrize("fixed", NAMES)
def test_names(fixed: str) -> None:
    names = design(f"y ~ {fixed}", CROSSED).names
    assert " ".join(names) == NAMES[fixed]


# One row for each level; contr.sum, contr.helmert and contr.poly of R.
CONTRASTS = {
    "treatment": [[0, 0], [1, 0], [0, 1]],
    "sum": [[1, 0], [0, 1], [-1, -1]],
    "helmert": [[-1, -1], [1, -1], [0, 2]],
    "poly": [[-(0.5**0.5), 6**-0.5], [0, -2 * 6**-0.5], [0.5**0.5, 6**-0.5]],
    "sas": [[1, 0], [0, 1], [0, 0]],
}


@pytest.mark.parametrize("kind", CONTRASTS)
def test_contrasts(kind: str) -> None:
    given_by_argument = design("y ~ a + (a | b)", CROSSED, contrasts={"a": kind})
    expected = np.array(CONTRASTS[kind])[np.searchsorted(["a1", "a2", "a3"], CROSSED["a"])]
    np.testing.assert_allclose(given_by_argument.X[:, 1:], expected, atol=1e-12)
    np.testing.assert_allclose(given_by_argument.terms[0].values[:, 1:], expected, atol=1e-12)
    spelled = {"sas": "contr.SAS"}.get(kind, f"contr.{kind}")
    np.testing.assert_allclose(
        design(f"y ~ C(a, {spelled})", CROSSED).X[:, 1:], expected, atol=1e-12
    )


def test_contrasts_as_a_matrix_and_as_a_base_level() -> None:
    matrix = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    made = design("y ~ a", CROSSED, contrasts={"a": matrix})
    assert made.names == ("Intercept", "a[1]", "a[2]")
    np.testing.assert_array_equal(made.X, design("y ~ a", CROSSED, contrasts={"a": "sum"}).X)
    # Where the margin is missing, all levels are coded.
    assert design("y ~ a:x", CROSSED, contrasts={"a": matrix}).names[1:] == (
        "a[a1]:x",
        "a[a2]:x",
        "a[a3]:x",
    )
    based = design("y ~ a", CROSSED, contrasts={"a": ("treatment", "a2")})
    assert based.names == ("Intercept", "a[T.a1]", "a[T.a3]")


def test_what_is_remembered_of_a_matrix_is_neither_level_nor_number_nor_contrast() -> None:
    """One structure after the other: levels of other names, in another order, with other numbers."""
    design("y ~ a * x", CROSSED)
    renamed = CROSSED.assign(
        a=CROSSED["a"].map({"a1": "w", "a2": "u", "a3": "v"}), x=2.0 * CROSSED["x"]
    )
    made = design("y ~ a * x", renamed)
    assert made.names == ("Intercept", "a[T.v]", "a[T.w]", "x", "a[T.v]:x", "a[T.w]:x")
    is_v, is_w = ((renamed["a"] == level).to_numpy() * 1.0 for level in "vw")
    x = renamed["x"].to_numpy()
    expected = [np.ones_like(x), is_v, is_w, x, is_v * x, is_w * x]
    np.testing.assert_array_equal(made.X, np.column_stack(expected))
    for scale in (1.0, 3.0):
        matrix = scale * np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
        coded = design("y ~ a", CROSSED, contrasts={"a": matrix}).X[:, 1:]
        places = np.searchsorted(["a1", "a2", "a3"], CROSSED["a"])
        np.testing.assert_array_equal(coded, matrix[places])


def test_contrasts_of_a_call_go_by_its_name() -> None:
    made = design("y ~ factor(b)", CROSSED, contrasts={"factor(b)": "sum"})
    assert made.names == ("Intercept", "factor(b)[S.b1]")


@pytest.mark.parametrize(
    ("contrasts", "problem"),
    [
        ({"a": "foo"}, "there are no contrasts called 'foo'"),
        ({"a": 3}, "the contrasts of 'a' must be a name"),
        ({"a": ("treatment", "a9")}, "the base level 'a9' is not a level of 'a' in the rows used"),
        ({"a": np.eye(2)}, "the contrasts of 'a' have 2 rows, but 'a' has 3 levels"),
        ({"x": "sum"}, "contrasts are given for 'x', which is not a factor"),
        ({"nosuch": "sum"}, "contrasts are given for 'nosuch', which is not a factor"),
    ],
)
def test_contrasts_that_do_not_fit(contrasts: Any, problem: str) -> None:
    with pytest.raises(FormulaDataError) as caught:
        design("y ~ a + x", CROSSED, contrasts=contrasts)
    assert caught.value.problem.startswith(problem)


DROPPED = {
    "x + I(2 * x) + z": ("Intercept x z", "I(2 * x)"),
    "I(2 * x) + x + z": ("Intercept I(2 * x) z", "x"),
    "x + z + I(x + z) + I(x - z)": ("Intercept x z", "I(x + z) I(x - z)"),
    "I(0 * x + 7) + x": ("Intercept x", "I(0 * x + 7)"),
    "0 + I(0 * x) + x": ("x", "I(0 * x)"),
    "I(1e12 * x) + I(1e-12 * z) + x": ("Intercept I(1e+12 * x) I(1e-12 * z)", "x"),
    "a + I(as.numeric(factor(a)))": ("Intercept a[T.a2] a[T.a3]", "I(as.numeric(factor(a)))"),
}


@pytest.mark.parametrize("fixed", DROPPED)
def test_redundant_columns_are_dropped_from_left_to_right_and_named(fixed: str) -> None:
    names, dropped = DROPPED[fixed]
    with pytest.warns(LmeFormulaWarning, match="the fixed-effects matrix has rank") as caught:
        made = design(f"y ~ {fixed}", CROSSED)
    assert " ".join(made.names) == names
    assert " ".join(made.dropped).replace(" ", "") == dropped.replace(" ", "")
    assert all(name in str(caught[0].message) for name in made.dropped)


def test_almost_redundant_column_is_kept() -> None:
    data = CROSSED.assign(near=CROSSED["x"] + 1e-5 * CROSSED["z"])
    assert design("y ~ x + near", data).dropped == ()


def test_empty_cells_are_dropped() -> None:
    data = CROSSED[~((CROSSED["a"] == "a3") & (CROSSED["b"] == "b2"))]
    with pytest.warns(LmeFormulaWarning, match=r"left out a\[T.a3\]:b\[T.b2\]"):
        assert design("y ~ a*b", data).X.shape[1] == 5


def test_identifier_as_a_fixed_effect_is_refused_before_it_fills_the_memory() -> None:
    num_rows = 60_000
    data = {"y": np.arange(num_rows), "id": np.arange(num_rows).astype(str)}
    with pytest.raises(FormulaDataError) as caught:
        design("y ~ id", data)
    assert caught.value.problem == "the model matrix would have about 60000 columns and 60000 rows"
    assert "(1 | id)" in caught.value.hint


# R's own coding, for covariances of single columns: model.matrix(~ ...) of R.
BY_MARGINS = {
    "diag(a | g)": "Intercept a[T.a2] a[T.a3]",
    "diag(0 + a + b | g)": "a[a1] a[a2] a[a3] b[T.b2]",
    "diag(a:b | g)": "Intercept a[a1]:b[b1] a[a2]:b[b1] a[a3]:b[b1] a[a1]:b[b2] a[a2]:b[b2] a[a3]:b[b2]",
    "diag(0 + x + a:x | g)": "x x:a[a1] x:a[a2] x:a[a3]",
    "cs(1 + a*x | g)": "Intercept a[T.a2] a[T.a3] x a[T.a2]:x a[T.a3]:x",
    "ar1(0 + a | g)": "a[a1] a[a2] a[a3]",
}


@pytest.mark.parametrize("term", BY_MARGINS)
def test_structured_terms_have_rs_columns(term: str) -> None:
    data = CROSSED.assign(g=np.arange(len(CROSSED)) % 7)
    block = design(f"y ~ 1 + {term}", data).terms[0]
    assert " ".join(block.columns) == BY_MARGINS[term]
    values = dict(zip(block.columns, block.values.T, strict=True))
    if "a[a2]:b[b1]" in values:
        expected = (data["a"] == "a2") & (data["b"] == "b1")
        np.testing.assert_array_equal(values["a[a2]:b[b1]"], expected)
