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
    assert str(update_formula(parse(formula), change)) == expected


@pytest.mark.parametrize(("formula", "_change", "_expected"), CASES)
def test_a_change_to_the_same_is_none(formula, _change, _expected):
    assert update_formula(parse(formula), ". ~ .") == parse(formula)


def test_what_is_not_there_cannot_be_taken_out():
    with pytest.raises(FormulaSyntaxError, match=r"\(1 \| k\) is taken out") as caught:
        update_formula(parse("y ~ x + (1 | g)"), "~ . - (1 | k)")
    assert "(1 | g)" in str(caught.value)
    with pytest.raises(FormulaSyntaxError, match="never closed"):
        update_formula(parse("y ~ x + (1 | g)"), "~ . - (x")
