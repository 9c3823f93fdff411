"""The public parse(): what it takes, what it imports, how its errors and records behave."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest

from lmeformula.errors import FormulaErrors, FormulaSyntaxError, LmeFormulaError
from lmeformula.formula import Formula, ir, parse

ISOLATED = """
import sys, time
started = time.perf_counter()
import lmeformula
formula = lmeformula.parse("y ~ x + (1 | g)")
elapsed = time.perf_counter() - started
heavy = {"tensorflow", "pandas", "numpy", "formulaic", "scipy"} & set(sys.modules)
assert not heavy, heavy
print(elapsed)
"""


def test_a_formula_is_returned_as_it_is() -> None:
    formula = parse("y ~ x")
    assert parse(formula) is formula


@pytest.mark.parametrize("value", [None, 3, b"y ~ x", {"y ~ x"}])
def test_other_values_are_refused(value: object) -> None:
    with pytest.raises(FormulaSyntaxError, match="a formula is a text") as caught:
        parse(value)
    assert caught.value.code == "E_CODE"


def test_a_subclass_of_str_is_a_text() -> None:
    class Text(str):
        pass

    assert parse(Text("y ~ x")) == parse("y ~ x")
    assert type(parse(Text("y ~ x")).fixed.sum.terms[0].variables[0].name) is str  # type: ignore[union-attr]


def test_double_bar_can_mean_independent_columns() -> None:
    assert parse("y ~ (a || g)", double_bar="diag") == parse("y ~ diag(a | g)")
    assert parse("y ~ (a || g/h)", double_bar="diag") == parse("y ~ diag(a | g/h)")
    with pytest.raises(ValueError, match="split"):
        parse("y ~ (a || g)", double_bar="cor")


def test_parsing_loads_lark_alone_and_takes_well_under_a_second() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ISOLATED], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 2  # 0.15 s on an idle machine


def test_equality_is_of_meaning() -> None:
    one, other = parse("y ~ x*a + (x || g)"), parse("y~a+x + a : x+(1|g) + (0+x|g)#!")
    assert one.fixed.sum != other.fixed.sum  # the order of terms is part of the meaning of names
    assert parse("y ~ x + a + x:a + (1|g) + (0 + x|g)") == one
    assert len({one, parse("y ~ x*a + (x||g)")}) == 1
    assert one.text != parse("y ~ x*a + (x||g)").text


def test_formulas_are_immutable_and_copy() -> None:
    formula = parse("y ~ log(x) + (1 | g)")
    with pytest.raises(AttributeError):
        formula.text = "y ~ 1"  # type: ignore[misc]
    assert copy.deepcopy(formula) == formula
    assert pickle.loads(pickle.dumps(formula)) == formula


def test_spans_point_into_the_text() -> None:
    text = "log(y) ~ x + a:b + (1 + z | g/h) + offset(w)"
    formula = parse(text)

    def part(node: object) -> str:
        span: tuple[int, int] = node.span  # type: ignore[attr-defined]
        return text[slice(*span)]

    assert formula.response is not None
    assert part(formula.response) == part(formula.response.expression) == "log(y)"
    assert [part(term) for term in formula.fixed.sum.terms] == ["x", "a:b"]
    assert [part(v) for v in formula.fixed.sum.terms[1].variables] == ["a", "b"]
    assert part(formula.fixed.offsets[0]) == "w"
    assert [part(term) for term in formula.random] == ["(1 + z | g/h)"] * 2
    assert [part(term.group) for term in formula.random] == ["g", "g/h"]


@pytest.mark.parametrize("text", ["y ~ (1|)", "y ~ 2*x + (1|f(g)) + 'a'"])
def test_errors_pickle_and_keep_their_fields(text: str) -> None:
    with pytest.raises(FormulaSyntaxError) as caught:
        parse(text)
    error = caught.value
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert (again.code, again.span, again.formula) == (error.code, error.span, error.formula)
    assert isinstance(error, LmeFormulaError)
    assert isinstance(error, ValueError)


def test_several_errors_come_in_the_order_of_the_text() -> None:
    with pytest.raises(FormulaErrors) as caught:
        parse("1 ~ 2*x + (1|f(g)) + 'a'")
    errors = caught.value.errors
    assert [error.code for error in errors] == [
        "E_RESPONSE",
        "E_NUMBER_TERM",
        "E_GROUP_EXPR",
        "E_STRING_TERM",
    ]
    spans = [error.span for error in errors if error.span is not None]
    assert spans == sorted(spans)


def test_the_repr_is_the_call_that_makes_it() -> None:
    formula = parse("y ~ a * b + (1|g)")
    assert repr(formula) == "parse('y ~ 1 + a + b + a:b + (1 | g)')"
    assert eval(repr(formula), {"parse": parse}) == formula


def test_the_tree_keeps_arguments_apart() -> None:
    (term,) = parse("y ~ splines::bs(x, df = 4)").fixed.sum.terms
    assert term.variables == (
        ir.Call("bs", (ir.Argument(ir.Column("x")), ir.Argument(ir.Number(4.0), "df"))),
    )
    assert isinstance(parse("y ~ x"), Formula)
