"""The algebra of fixed terms agrees with formulaic's, an independent implementation, where both follow R.

Left out: %in% and numbers inside parentheses, which formulaic reads otherwise, and removals there, which may
leave nothing and then make it fail.
"""

from __future__ import annotations

from formulaic.parser import DefaultFormulaParser
from hypothesis import given, settings
from hypothesis import strategies as st

from lmeformula.formula import parse
from lmeformula.formula.ir import Column
from tests.examples import examples

NAMES = st.sampled_from(["a", "b", "c", "d"])
OPERATORS = st.sampled_from([" + ", "*", "/", ":"])
TERMS = st.recursive(
    NAMES,
    lambda inner: st.one_of(
        st.tuples(inner, OPERATORS, inner).map(lambda parts: f"({''.join(parts)})"),
        st.tuples(inner, OPERATORS, inner, OPERATORS, inner).map(lambda p: f"({''.join(p)})"),
        st.tuples(inner, st.sampled_from([2, 3])).map(lambda parts: f"({parts[0]})^{parts[1]}"),
    ),
    max_leaves=8,
)
SUMS = st.tuples(
    st.sampled_from(["", "0 + ", "1 + "]),
    TERMS,
    st.lists(st.tuples(st.sampled_from([" + ", " - "]), TERMS).map("".join), max_size=3).map(
        "".join
    ),
    st.sampled_from(["", " - 1", " + 0", " + 1", " - a", " - a:b"]),
).map("".join)


@settings(max_examples=examples(500))
@given(SUMS)
def test_gives_the_same_terms(text: str) -> None:
    ours = parse(f"~ {text}").fixed.sum
    mine = {frozenset(v.name for v in t.variables if isinstance(v, Column)) for t in ours.terms}
    if ours.intercept:
        mine.add(frozenset())
    theirs = {
        frozenset(str(factor) for factor in term.factors if str(factor) != "1")
        for term in DefaultFormulaParser().get_terms(text)
    }
    assert mine == theirs
