"""The dot becomes the data's columns."""

from __future__ import annotations

import pytest

from lmeformula.errors import FormulaSyntaxError
from lmeformula.formula import expand_dot, parse

COLUMNS = ["g", "x", "y", "my var", "n"]

CASES = [
    ("y ~ .", "y ~ 1 + g + x + `my var` + n"),
    ("y ~ . - g - n + (1|g)", "y ~ 1 + x + `my var` + (1 | g)"),
    ("y ~ 0 + .:x - x", "y ~ 0 + g:x + x:`my var` + x:n"),
    ("y ~ (. - n - `my var`)^2", "y ~ 1 + g + x + g:x"),
    ("y | trials(n) ~ .", "y | trials(n) ~ 1 + g + x + `my var`"),
    ("y | trials(n) + weights(x) ~ .", "y | trials(n) + weights(x) ~ 1 + g + `my var`"),
    ("~ . - y", "~ 1 + g + x + `my var` + n"),
    ("y ~ x + . + (x||g)", "y ~ 1 + x + g + `my var` + n + (1 | g) + (0 + x | g)"),
    ("y ~ x + (1|g)", "y ~ 1 + x + (1 | g)"),
]


@pytest.mark.parametrize(("text", "expanded"), CASES)
def test_expands(text: str, expanded: str) -> None:
    formula = expand_dot(parse(text), COLUMNS)
    assert str(formula) == expanded
    assert formula == parse(expanded)
    assert expand_dot(formula, COLUMNS) is formula


def test_warns_of_grouping_factors_among_the_fixed_effects() -> None:
    formula = expand_dot(parse("y ~ . + (1|g) + (1|x:n)"), COLUMNS)
    assert [d.code for d in formula.diagnostics] == ["W_DOT"] * 3
    assert [d.message.split()[5] for d in formula.diagnostics] == ["g", "x", "n"]
    assert not expand_dot(parse("y ~ . - g + (1|g)"), COLUMNS).diagnostics


def test_too_many_columns_are_refused() -> None:
    with pytest.raises(FormulaSyntaxError) as caught:
        expand_dot(parse("y ~ .^3"), [f"x{i}" for i in range(300)])
    assert caught.value.code == "E_TOO_MANY_TERMS"


def test_ten_thousand_columns_are_read() -> None:
    names = [f"x{i}" for i in range(10_000)]
    formula = expand_dot(parse("y ~ . - x5 + (1|x7)"), ["y", *names])
    assert len(formula.fixed.sum.terms) == 9_999
