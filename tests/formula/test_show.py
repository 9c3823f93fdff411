"""Canonical text of IR that was made by hand: names are quoted, parentheses are added where needed."""

from __future__ import annotations

import pytest

from lmeformula.formula import parse
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import (
    Argument,
    Call,
    Column,
    Constant,
    Covariance,
    Dot,
    Expression,
    FixedPart,
    GroupingFactor,
    Number,
    Operation,
    RandomTerm,
    Response,
    Term,
    TermSum,
    Text,
)
from lmeformula.formula.show import expression_text, name_text, number_text, string_text

X, Z, W = Column("x"), Column("z"), Column("w")


def op(operator: str, *operands: Expression) -> Operation:
    return Operation(operator, operands)


EXPRESSIONS = [
    (op("*", op("+", X, Z), W), "(x + z) * w"),
    (op("+", op("*", X, Z), W), "x * z + w"),
    (op("-", X, op("-", Z, W)), "x - (z - w)"),
    (op("-", op("-", X, Z), W), "x - z - w"),
    (op("^", op("^", X, Z), W), "(x^z)^w"),
    (op("^", X, op("^", Z, W)), "x^z^w"),
    (op("^", op("-", X), Number(2)), "(-x)^2"),
    (op("-", op("^", X, Number(2))), "-x^2"),
    (op("^", Number(2), op("-", X)), "2^-x"),
    (op("^", X, op("+", Z, W)), "x^(z + w)"),
    (op(":", op("-", X), Z), "-x:z"),
    (op("-", op(":", X, Z)), "-(x:z)"),
    (op("<", op("<", X, Z), W), "(x < z) < w"),
    (op("<", X, op("<", Z, W)), "x < (z < w)"),
    (op("|", op("&", X, Z), W), "x & z | w"),
    (op("&", op("|", X, Z), W), "(x | z) & w"),
    (op("!", op("&", X, Z)), "!(x & z)"),
    (op("&", op("!", X), Z), "!x & z"),
    (op("+", op("!", X), Z), "(!x) + z"),
    (op("+", X, op("!", Z)), "x + !z"),
    (op("+", op("*", X, op("!", Z)), W), "(x * !z) + w"),
    (op("&", op("+", X, op("!", Z)), W), "x + !z & w"),
    (op(":", X, op("!", Z)), "x:(!z)"),
    (op("-", op("!", Z)), "-(!z)"),
    (op("%%", op("*", X, Z), W), "(x * z)%%w"),
    (op("*", X, op("%in%", Z, W)), "x * z %in% w"),
    (op("/", X, op("/", Z, W)), "x/(z/w)"),
    (op("(", X), "(x)"),
    (Call("f", (Argument(Text('a"b')), Argument(Constant(None), "n"))), 'f("a\\"b", n = NULL)'),
    (Call("my fun", (Argument(Column("a b"), "my arg"),)), "`my fun`(`my arg` = `a b`)"),
    (Dot(), "."),
    (Column("."), "`.`"),
]


@pytest.mark.parametrize(("expression", "text"), EXPRESSIONS, ids=[text for _, text in EXPRESSIONS])
def test_expressions_get_the_parentheses_they_need(expression: Expression, text: str) -> None:
    assert expression_text(expression) == text


def without_parentheses(expression: Expression) -> Expression:
    match expression:
        case Operation(operator="(", operands=(inner,)):
            return without_parentheses(inner)
        case Operation(operator=operator, operands=operands):
            return Operation(operator, tuple(map(without_parentheses, operands)))
    return expression


@pytest.mark.parametrize(
    "expression", [e for e, _ in EXPRESSIONS if isinstance(e, Operation)], ids=expression_text
)
def test_the_text_of_an_expression_means_the_expression(expression: Operation) -> None:
    (term,) = parse(
        f"y ~ f({expression_text(expression)})".replace("f(", "factor(")
    ).fixed.sum.terms
    (call,) = term.variables
    assert isinstance(call, Call)
    assert without_parentheses(call.arguments[0].value) == without_parentheses(expression)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"), (1.0, "1"), (0.5, "0.5"), (1e5, "1e+05"), (123456.0, "123456"), (1e15, "1e+15"),
        (0.0001, "1e-04"), (0.00012, "0.00012"), (1e-300, "1e-300"), (0.1 + 0.2, "0.30000000000000004"),
        (float("inf"), "Inf"), (1234567890123456.0, "1234567890123456"), (5e-324, "5e-324"),
    ],
)  # fmt: skip
def test_numbers(number: float, text: str) -> None:
    assert number_text(number) == text
    assert parse(f"y ~ f({text})") == parse(f"y ~ f({number!r})".replace("inf", "Inf"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x", "x"), ("x.1", "x.1"), (".x", ".x"), (".1", "`.1`"), ("1x", "`1x`"), ("_x", "`_x`"),
        ("a b", "`a b`"),
        ("if", "`if`"), ("TRUE", "`TRUE`"), ("a`b", "`a\\`b`"), ("a\\", "`a\\\\`"), ("größe", "größe"),
        ("x + z", "`x + z`"), ("\n", "`\n`"), ("x|g", "`x|g`"),
    ],
)  # fmt: skip
def test_names(name: str, text: str) -> None:
    assert name_text(name) == text
    assert parse(f"y ~ {text}") == Formula(
        Response(Column("y")), FixedPart(TermSum(True, (Term((Column(name),)),))), ()
    )


def test_strings_escape_what_does_not_print() -> None:
    assert string_text('a"b\\c\n\t\x07') == '"a\\"b\\\\c\\n\\t\\u{7}"'


def test_a_formula_made_by_hand_prints_as_one() -> None:
    terms = TermSum(False, (Term((Column("my var"), Call("log", (Argument(X),)))),))
    random = RandomTerm(
        TermSum(True, (Term((Z,)),)),
        GroupingFactor(("h", "my group")),
        Covariance("cs", True),
    )
    formula = Formula(
        Response(Column("y"), trials=Number(3)), FixedPart(terms, (op("+", X, Z),)), (random,)
    )
    text = (
        "y | trials(3) ~ 0 + `my var`:log(x) + offset(x + z) + cs(1 + z | h:`my group`, hom = TRUE)"
    )
    assert str(formula) == text
    assert parse(text) == formula
