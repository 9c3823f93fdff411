"""Changes of formulas, read by the language itself."""

from __future__ import annotations

import pytest

from lmeformula.errors import FormulaSyntaxError
from lmeformula.formula import parse
from lmeformula.formula.update import update_formula

CASES = [
    ("y ~ x * z + (1 | g)", "log(.) ~ . - x:z", "log(y) ~ 1 + x + z + (1 | g)"),
    ("y ~ x + (x | g) + (1 | h)", "~ . - (1 | h)", "y ~ 1 + x + (1 + x | g)"),
    ("y ~ x + (x | g) + (1 | h)", "~ . - (x | g) + (1 | g)", "y ~ 1 + x + (1 | g) + (1 | h)"),
    (
        "y ~ x + offset(log(t)) + (1 | a/b)",
        ". ~ . + poly(w, 2) - 1",
        "y ~ 0 + x + poly(w, 2) + offset(log(t)) + (1 | a) + (1 | b:a)",
    ),
    ("cbind(a, b - a) ~ p + (1 | h)", "~ . - p", "cbind(a, b - a) ~ 1 + (1 | h)"),
    ("y ~ x + (1 | g)", "~ z + (1 | g)", "y ~ 1 + z + (1 | g)"),
    ("y ~ x + (x || g)", "~ . - x", "y ~ 1 + (1 | g) + (0 + x | g)"),
    ("y ~ `a b` + x.1 + (1 | g)", "~ . - x.1", "y ~ 1 + `a b` + (1 | g)"),
    ("y ~ a + b + c + (1 | g)", "~ .^2 - b:c", "y ~ 1 + a + b + c + a:b + a:c + (1 | g)"),
    ("y ~ x + (1 | g)", ". - x", "y ~ 1 + (1 | g)"),
    ("y ~ x + (1 | g)", "z ~ .", "z ~ 1 + x + (1 | g)"),
]


@pytest.mark.parametrize(("formula", "change", "expected"), CASES)
def test_changes(formula, change, expected):
    changed = update_formula(parse(formula), change)
    assert str(changed) == expected
    assert changed.written == expected


@pytest.mark.parametrize(("formula", "_change", "_expected"), CASES)
def test_a_change_to_the_same_is_none(formula, _change, _expected):
    assert update_formula(parse(formula), ". ~ .") == parse(formula)


LINKED = {"mu": "y ~ x + (1 | p | g) + (1 | h)", "sigma": "~ x + (1 | p | g)"}
SEVERAL = [
    (LINKED, "~ . - x", "y ~ 1 + (1 | p | g) + (1 | h); sigma ~ 1 + x + (1 | p | g)"),
    (
        LINKED,
        {"sigma": "~ . + z"},
        "y ~ 1 + x + (1 | p | g) + (1 | h); sigma ~ 1 + x + z + (1 | p | g)",
    ),
    (
        LINKED,
        {"mu": "log(.) ~ .", "sigma": "~ . + (0 + x | p | g)"},
        "log(y) ~ 1 + x + (1 | p | g) + (1 | h); sigma ~ 1 + x + (0 + x | p | g) + (1 | p | g)",
    ),
    # A label that links nothing any more goes with the other terms that had it.
    (LINKED, {"sigma": None}, "y ~ 1 + x + (1 | g) + (1 | h)"),
    (LINKED, "~ . - (1 | p | g)", "y ~ 1 + x + (1 | h); sigma ~ 1 + x + (1 | g)"),
    ("y ~ (1 | p | g) + (0 + x | p | g)", "~ . - (0 + x | p | g)", "y ~ 1 + (1 | g)"),
    # A parameter without a formula is a constant, which a dot then stands for.
    ("y ~ x + (1 | g)", {"sigma": "~ . + x"}, "y ~ 1 + x + (1 | g); sigma ~ 1 + x"),
    ("y ~ x + (1 | g)", {"sigma": "~ 0 + x"}, "y ~ 1 + x + (1 | g); sigma ~ 0 + x"),
    (
        ("y ~ x + (1 | g)", "sigma ~ x", "nu ~ 1"),
        {"sigma": None, "nu": "~ z"},
        "y ~ 1 + x + (1 | g); nu ~ 1 + z",
    ),
]


@pytest.mark.parametrize(("formulas", "change", "expected"), SEVERAL)
def test_changes_of_several_formulas(formulas, change, expected):
    old = parse(formulas)
    changed = update_formula(old, change)
    assert str(changed) == expected
    assert update_formula(old, {}) == old
    # Its text is its own: where a mistake is shown, it is there.
    for part in (changed, *(part for _, part in changed.further)):
        assert all(part.text[slice(*term.span)].endswith(")") for term in part.random)


def test_labels_may_link_the_categories_of_a_response():
    old = parse({"mu": "y ~ x + (1 | p | g)"})
    assert str(update_formula(old, "~ . - x", closed=False)) == "y ~ 1 + (1 | p | g)"
    with pytest.raises(FormulaSyntaxError, match="'q' links nothing"):
        update_formula(old, "~ x + (1 | q | g)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mu": None}, "'mu' has the response"),
        ({"nu": None}, r"no formula of 'nu'(.|\n)*mu, sigma"),
        ({"sigma": "z ~ x"}, "has the response, and it alone"),
        ({"sigma": "~ . - (1 | h)"}, r"\(1 \| h\) is taken out of a formula that does not have it"),
        ({"sigma": "~ . + (1 | q | g)"}, "'q' links nothing"),
    ],
)
def test_changes_of_several_formulas_that_make_none(change, message):
    with pytest.raises(FormulaSyntaxError, match=message):
        update_formula(parse(LINKED), change)


def test_what_is_not_there_cannot_be_taken_out():
    with pytest.raises(FormulaSyntaxError, match=r"\(1 \| k\) is taken out") as caught:
        update_formula(parse("y ~ x + (1 | g)"), "~ . - (1 | k)")
    assert "(1 | g)" in str(caught.value)
    with pytest.raises(FormulaSyntaxError, match="never closed"):
        update_formula(parse("y ~ x + (1 | g)"), "~ . - (x")
