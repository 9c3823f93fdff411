"""Whatever a formula calls, it ends in a design whose rows can be rebuilt, or in an error of ours."""

from __future__ import annotations

import warnings

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lmeformula.design import design
from lmeformula.design.functions import FUNCTIONS
from lmeformula.errors import LmeFormulaError
from tests.design.conftest import make_frame
from tests.examples import examples

FRAME = make_frame(40).assign(
    hole=lambda d: d["x"].where(d["x"] > -1), text=lambda d: d["t"].astype(str), zero=0, always=True
)
COLUMNS = st.sampled_from(sorted(FRAME.columns))
CONSTANTS = st.sampled_from(
    ["0", "1", "2", "-1", "2.5", "TRUE", "FALSE", '"a1"', '"mid"', "c(0, 2)", 'c("a1", "a2")', "1:3",
     "pi", "contr.sum", "contr.treatment(2)"]
)  # fmt: skip
OPERATORS = ["+", "-", "*", "/", "^", "%%", "%/%", "==", "!=", "<", ">=", "&", "|", "%in%", ":"]
NAMES = st.sampled_from(
    ["", "", "", "", "df = ", "degree = ", "levels = ", "labels = ", "base = ", "raw = ", "x = "]
)


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.tuples(inner, st.sampled_from(OPERATORS), inner).map(lambda t: f"({' '.join(t)})")
    argument = st.tuples(NAMES, inner).map("".join)
    call = st.tuples(st.sampled_from(sorted(FUNCTIONS)), st.lists(argument, min_size=1, max_size=3))
    return binary | call.map(lambda t: f"{t[0]}({', '.join(t[1])})")


EXPRESSIONS = st.recursive(COLUMNS | CONSTANTS, combined, max_leaves=5)
VARIABLES = COLUMNS | combined(EXPRESSIONS).map(lambda text: f"I({text})")
TERMS = st.lists(VARIABLES, min_size=1, max_size=2).map(":".join)


@settings(max_examples=examples(400))
@given(
    response=st.just("y") | VARIABLES,
    fixed=st.lists(TERMS, max_size=3),
    slope=TERMS,
    bar=st.sampled_from(["|", "||"]),
    group=st.sampled_from(["g", "h", "g:h", "a/b", "text", "zero", "x"]),
)
def test_design_or_error(response: str, fixed: list[str], slope: str, bar: str, group: str) -> None:
    formula = f"{response} ~ {' + '.join(['1', *fixed])} + ({slope} {bar} {group})"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = design(formula, FRAME)
        except LmeFormulaError:
            return
        assert np.isfinite(made.X).all()
        assert all(np.isfinite(term.values).all() for term in made.terms)
        assert np.linalg.matrix_rank(made.X / np.linalg.norm(made.X, axis=0)) == made.X.shape[1]
        if "lag" in formula:  # looks at other rows
            return
        again = made.rebuild(FRAME.iloc[made.rows])
    np.testing.assert_allclose(again.X, made.X, rtol=1e-9, atol=1e-9)
    for old, new in zip(made.terms, again.terms, strict=True):
        np.testing.assert_allclose(new.values, old.values, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(new.index, old.index)
