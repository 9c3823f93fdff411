"""Any text ends in a Formula or in our error; formulas survive round trips; size costs time, not stack."""

from __future__ import annotations

import json
import pickle
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmeformula.errors import FormulaSyntaxError
from lmeformula.formula import Formula, expand_dot, parse
from tests.examples import examples

WORDS = """
    y x z a b g h `v` 0 1 2 .5 1e5 5L 'txt' TRUE NULL Inf NA . ~ + - * / : ^ ** %in% %% == < > & | ||
    ! ( ) , = ; :: log( I( offset( poly( us( diag( cs( ar1( hom cbind( trials( weights( gr( mm( (1|g)
    (x||g/h) (x|p|g) [ ] { } $ @ ? # \\ _x 2x if \u2212 \u201c \u200b
"""
TOKENS = st.sampled_from(WORDS.split())
NAMES = st.sampled_from(["x", "z", "log(e)", "`my var`", "I(x^2)", "a", "poly(x, 2)"])
GROUPS = st.recursive(
    st.sampled_from(["g", "h", "k", "`my group`"]),
    lambda inner: st.tuples(inner, st.sampled_from([":", "/", "*", " + "]), inner).map(
        lambda parts: f"({''.join(parts)})"
    ),
    max_leaves=4,
)
TERMS = st.recursive(
    NAMES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" + ", " - ", "*", ":", "/", " %in% "]), inner).map(
            lambda parts: f"({''.join(parts)})"
        ),
        inner.map(lambda text: f"({text})^2"),
    ),
    max_leaves=6,
)
LEFT = st.tuples(st.sampled_from(["", "0 + ", "1 + "]), TERMS).map("".join)
RANDOM = st.one_of(
    st.tuples(st.just("("), LEFT, st.sampled_from([" | ", " || "]), GROUPS, st.just(")")).map(
        "".join
    ),
    st.tuples(st.sampled_from(["us", "diag", "cs"]), LEFT, GROUPS).map(
        lambda parts: f"{parts[0]}({parts[1]} | {parts[2]})"
    ),
)
FORMULAS = st.tuples(
    st.sampled_from(["y", "log(y)", "", "cbind(s, n - s)", "s | trials(n)"]),
    st.lists(st.one_of(LEFT, st.just("offset(w)")), min_size=1, max_size=4),
    st.lists(RANDOM, max_size=3),
).map(lambda parts: f"{parts[0]} ~ {' + '.join(parts[1] + parts[2])}")


def read(text: str) -> Formula | FormulaSyntaxError:
    """Parse a text: the formula, or our error; anything else is raised."""
    try:
        return parse(text)
    except FormulaSyntaxError as error:
        return error


def check_any_text(text: str) -> None:
    found = read(text)
    if isinstance(found, Formula):
        check_round_trip(found)
        return
    assert found.code.startswith("E_")
    assert found.span is not None
    assert 0 <= found.span[0] <= found.span[1] <= len(found.formula)
    assert "^" in str(found) or not text


def check_round_trip(formula: Formula) -> None:
    again = parse(str(formula))
    assert again == formula
    assert hash(again) == hash(formula)
    assert str(again) == str(formula)
    assert Formula.from_dict(json.loads(json.dumps(formula.to_dict()))) == formula
    assert pickle.loads(pickle.dumps(formula)) == formula


@settings(max_examples=examples(300))
@given(st.text(max_size=60))
@example("y ~ x\ud800")
def test_any_text_ends_in_a_formula_or_our_error(text: str) -> None:
    check_any_text("y ~ " + text)
    check_any_text(text)


@settings(max_examples=examples(700))
@given(st.lists(TOKENS, max_size=14))
def test_any_sequence_of_tokens_ends_in_a_formula_or_our_error(tokens: list[str]) -> None:
    check_any_text("y ~ " + " ".join(tokens))
    check_any_text("".join(tokens))


@settings(max_examples=examples(400))
@given(FORMULAS)
def test_formulas_survive_the_round_trip(text: str) -> None:
    formula = read(text)
    if isinstance(formula, FormulaSyntaxError):  # what the generator can write that means nothing
        assert formula.code in ("E_NO_COEF", "E_ID_UNUSED")
        return
    check_round_trip(formula)
    assert expand_dot(formula, ["a", "b"]) is formula


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_any_column_name_and_string_can_be_written(name: str, text: str) -> None:
    from lmeformula.formula.show import name_text, string_text

    written = (
        f"~ f({name_text(name)}, {string_text(text)}) + ({name_text(name)} | {name_text(name)})"
    )
    formula = parse(written)
    assert str(parse(str(formula))) == str(formula)


LARGE = {
    "terms": ("y ~ " + " + ".join(f"x{i}" for i in range(10_000)), ""),
    "calls": ("y ~ " + " + ".join(f"log(x{i})" for i in range(10_000)), ""),
    "random terms": ("y ~ " + " + ".join(f"(x{i} || g{i})" for i in range(5_000)), ""),
    "removals": ("y ~ x" + 10_000 * " - x + x", ""),
    "a dot without many columns": ("y ~ ." + "".join(f" - x{i}" for i in range(10_000)), ""),
    "parentheses": ("y ~ " + "(" * 10_000 + "x" + ")" * 10_000, "E_TOO_DEEP"),
    "parentheses around a bar": ("y ~ " + "(" * 10_000 + "1 | g" + ")" * 10_000, "E_TOO_DEEP"),
    "open parentheses": ("y ~ " + "(" * 10_000, "E_UNBALANCED"),
    "calls in calls": ("y ~ " + "log(" * 10_000 + "x" + ")" * 10_000, "E_TOO_DEEP"),
    "signs": ("y ~ " + "-" * 10_000 + "x", "E_TOO_DEEP"),
    "negations": ("y ~ I(" + "!" * 10_000 + "x)", "E_TOO_DEEP"),
    "powers": ("y ~ " + "x^" * 10_000 + "2", "E_TOO_DEEP"),
    "a long expression": ("y ~ I(" + " + ".join(["x"] * 10_000) + ")", "E_TOO_DEEP"),
    "crossing": ("y ~ " + "*".join(f"x{i}" for i in range(40)), "E_TOO_MANY_TERMS"),
    "a high power": ("y ~ (" + " + ".join(f"x{i}" for i in range(500)) + ")^3", "E_TOO_MANY_TERMS"),
    "nesting": ("y ~ " + "/".join(f"x{i}" for i in range(5_000)), "E_TOO_MANY_TERMS"),
    "a long interaction": ("y ~ " + ":".join(f"x{i}" for i in range(20_000)), "E_TOO_MANY_TERMS"),
    "nested groups": (
        "y ~ (1|" + "/".join(f"g{i}" for i in range(5_000)) + ")",
        "E_TOO_MANY_TERMS",
    ),
    "crossed groups": ("y ~ (1|" + "*".join(f"g{i}" for i in range(40)) + ")", "E_TOO_MANY_TERMS"),
    "bars": ("y ~ (" + "|".join(["x"] * 10_000) + ")", "E_NESTED_BAR"),
    "mistakes": ("y ~ " + " + ".join(["2*x"] * 10_000), "E_NUMBER_TERM"),
    "look-alikes": ("y ~ " + "\u2212" * 10_000, "E_LOOKALIKE"),
}


@pytest.mark.parametrize("title", LARGE)
def test_large_formulas_end_in_seconds(title: str) -> None:
    text, code = LARGE[title]
    started = time.process_time()
    found = read(text)
    if isinstance(found, Formula):
        assert not code
        assert parse(str(found)) == found
    else:
        assert found.code == code
        assert len(str(found)) < 10_000
    # Seconds are the promise; the bound leaves room for a slow machine.
    assert time.process_time() - started < 30


CONTEXTS = [
    "~ {}", "y ~ (a + {} || g)", "{} ~ x", "y | trials({}) ~ x", "y ~ offset({})", "y ~ rr(a:{} | g, {})",
    "y ~ x - {} + .", "y ~ (1 | gr(g, by = {}))", "y ~ x + (a * {} + (1 | g))", "y ~ (a + {})^2 %in% b",
]  # fmt: skip


@pytest.mark.parametrize("context", CONTEXTS)
def test_what_is_read_at_the_limits_is_read_again(context: str) -> None:
    outcomes = set()
    for depth in range(80, 104):
        for inner in ("(" * depth + "x" + ")" * depth, "log(" * depth + "x" + ")" * depth):
            found = read(context.format(*[f"f({inner})"] * context.count("{}")))
            if isinstance(found, Formula):
                check_round_trip(found)
            outcomes.add(getattr(found, "code", "read"))
    for length in (2, 190, 205):
        chain = " + ".join(["x"] * length)
        nested = f"f((({chain}) + {chain}) + {chain})"
        found = read(context.format(*[nested] * context.count("{}")))
        if isinstance(found, Formula):
            check_round_trip(found)
    assert "E_TOO_DEEP" in outcomes


def test_a_term_that_crossing_makes_can_be_written_out() -> None:
    check_round_trip(parse("y ~ " + "*".join(f"x{i}" for i in range(13))))
    check_round_trip(parse("y ~ " + "/".join(f"x{i}" for i in range(150))))
    check_round_trip(parse("y ~ (1 | " + "/".join(f"g{i}" for i in range(200)) + ")"))
    assert isinstance(read("y ~ " + ":".join(f"x{i}" for i in range(5_000))), Formula)


def test_one_hundred_nested_parentheses_are_read() -> None:
    assert parse("y ~ " + "(" * 98 + "1 | g" + ")" * 98) == parse("y ~ (1 | g)")


def test_two_hundred_operations_in_one_expression_are_read() -> None:
    text = "y ~ I(" + " + ".join(["x"] * 190) + ")"
    check_round_trip(parse(text))
