"""The caret stands under what is wrong, whatever the line holds; errors keep their fields."""

from __future__ import annotations

import pickle

import pytest

import lmeformula as lf
from lmeformula import errors
from lmeformula.errors import (
    ColumnNotFoundError,
    FormulaErrors,
    FormulaSyntaxError,
    LmeFormulaError,
    NamesNotFoundError,
    underline,
)

CASES = [
    ("one place", "y ~ (1|)", (7, 8), "    y ~ (1|)\n           ^"),
    ("several characters", "y ~ log(x)", (4, 10), "    y ~ log(x)\n        ^^^^^^"),
    ("the end", "y ~", (3, 3), "    y ~\n       ^"),
    ("an empty text", "", (0, 0), "    \n    ^"),
    ("beyond the end", "y", (9, 12), "    y\n     ^"),
    ("the second line", "y ~ x +\n  z", (10, 11), "      z\n      ^"),
    ("carriage returns", "y ~ x\r\n + z", (4, 5), "    y ~ x\n        ^"),
    ("over the end of a line", "y ~ (x\n+ z)", (4, 11), "    y ~ (x\n        ^^"),
    ("tabs", "y\t~\tx", (4, 5), "    y\t~\tx\n     \t \t^"),
    ("wide characters", "数学 ~ x", (0, 2), "    数学 ~ x\n    ^^^^"),
    ("after wide characters", "数学 ~ x", (5, 6), "    数学 ~ x\n           ^"),
    ("combining characters", "x\u0301\u0302 ~ z", (6, 7), "    x\u0301\u0302 ~ z\n        ^"),
    ("control characters", "y ~ x\0z", (5, 6), "    y ~ x z\n         ^"),
    (
        "a long line",
        "y ~ " + "a + " * 100 + "b",
        (204, 205),
        "    ..." + ("y ~ " + "a + " * 100 + "b")[154:254] + "...\n" + " " * 57 + "^",
    ),
]


@pytest.mark.parametrize(
    ("formula", "span", "text"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_underlines(formula: str, span: tuple[int, int], text: str) -> None:
    assert underline(formula, span) == text


ERRORS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type)
    and issubclass(value, LmeFormulaError)
    and not issubclass(value, errors._Several)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_pickles_with_its_fields(kind: type[LmeFormulaError]) -> None:
    error = kind("what is wrong", "E_CODE", "y ~ x", (4, 5), "what to do")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert vars(again) == vars(error)
    assert str(again) == str(error) == "what is wrong\n    y ~ x\n        ^\nwhat to do"


@pytest.mark.parametrize(
    ("several", "kind"),
    [(FormulaErrors, FormulaSyntaxError), (NamesNotFoundError, ColumnNotFoundError)],
)
def test_several_errors_pickle(several: type[Exception], kind: type[LmeFormulaError]) -> None:
    one = kind("first", "E_A", "y ~ x", (0, 1))
    two = kind("second", "E_B", "y ~ x", (4, 5))
    again = pickle.loads(pickle.dumps(several((one, two))))
    assert isinstance(again, kind)
    assert [error.code for error in again.errors] == ["E_A", "E_B"]
    assert again.code == "E_A"
    assert str(again) == f"{one}\n\n{two}"


def test_notebooks_show_the_reader_s_lines_and_the_message() -> None:
    with pytest.raises(lf.ModelError) as caught:
        lf.fit("y ~ x + (1 | g)", {"y": [1.0]}, family="gausian")
    shown = "\n".join(caught.value._render_traceback_())
    assert "gausian" in shown
    assert 'lf.fit("y ~ x + (1 | g)"' in shown
    assert "lmeformula/api.py" not in shown
