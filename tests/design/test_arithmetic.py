from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lmeformula.design.arithmetic import operate
from lmeformula.design.values import Categories, Logicals, Numbers, Value
from lmeformula.errors import FormulaDataError

NA = float("nan")
X = Numbers(np.array([1, -2, 3]))
Y = Numbers(np.array([2.0, 0.0, NA]))
L = Logicals(np.array([1.0, 0.0, NA]))
TRUE = Logicals(np.ones(3))
FALSE = Logicals(np.zeros(3))
A = Categories(np.array([0, 1, -1]), ("u", "v"))
T = Categories(np.array([1, 0, 0]), ("u", "v"), is_text=True)
O = Categories(np.array([2, 0, 1]), ("lo", "mid", "hi"), ordered=True)  # noqa: E741

# What R answers for the same vectors.
CASES: list[tuple[str, tuple[Value, ...], list[float]]] = [
    ("+", (X, Y), [3, -2, NA]),
    ("-", (X,), [-1, 2, -3]),
    ("-", (X, 1.0), [0, -3, 2]),
    ("*", (X, L), [1, 0, NA]),
    ("/", (X, Y), [0.5, -np.inf, NA]),
    ("^", (X, 2.0), [1, 4, 9]),
    ("^", (X, 0.5), [1, NA, 3**0.5]),
    ("^", (Y, 0.0), [1, 1, 1]),
    ("%%", (X, 2.0), [1, 0, 1]),
    ("%%", (X, -2.0), [-1, 0, -1]),
    ("%/%", (X, 2.0), [0, -1, 1]),
    ("==", (X, 3.0), [0, 0, 1]),
    ("<", (Y, 1.0), [0, 1, NA]),
    ("!=", (Y, Y), [0, 0, NA]),
    ("&", (L, TRUE), [1, 0, NA]),
    ("&", (L, FALSE), [0, 0, 0]),
    ("|", (L, TRUE), [1, 1, 1]),
    ("|", (L, FALSE), [1, 0, NA]),
    ("|", (Y, FALSE), [1, 0, NA]),
    ("!", (L,), [0, 1, NA]),
    ("==", (A, "u"), [1, 0, NA]),
    ("!=", (A, "w"), [1, 1, NA]),
    ("==", (A, T), [0, 0, NA]),
    ("<", (T, "v"), [0, 1, 1]),
    (">=", (O, "mid"), [1, 0, 1]),
    ("%in%", (A, ("v", "w")), [0, 1, 0]),
    ("%in%", (X, (1.0, 3.0)), [1, 0, 1]),
    ("%in%", (Y, (0.0,)), [0, 1, 0]),
]


@pytest.mark.parametrize(("operator", "operands", "expected"), CASES)
def test_operator(operator: str, operands: tuple[Value, ...], expected: list[float]) -> None:
    result: Any = operate(operator, operands)
    np.testing.assert_array_equal(result.values, expected)


@pytest.mark.parametrize(
    ("operator", "operands", "expected"),
    [
        ("^", (2.0, 10.0), 1024.0),
        ("-", (3.0,), -3.0),
        ("==", (1.0, 1.0), True),
        (":", (1.0, 3.0), (1.0, 2.0, 3.0)),
        (":", (2.0, 0.0), (2.0, 1.0, 0.0)),
    ],
)
def test_operator_on_constants(operator: str, operands: tuple[Value, ...], expected: Value) -> None:
    assert operate(operator, operands) == expected


def test_integers_do_not_overflow() -> None:
    result: Any = operate("^", (Numbers(np.array([10**6])), 4.0))
    assert result.values.tolist() == [1e24]


def test_matrix_and_column_combine_by_row() -> None:
    matrix = Numbers(np.array([[1.0, 2.0], [3.0, 4.0]]), ("p", "q"))
    result: Any = operate("*", (matrix, Numbers(np.array([1.0, 10.0]))))
    assert result.values.tolist() == [[1, 2], [30, 40]]
    assert result.columns == ("p", "q")


@pytest.mark.parametrize(
    ("operator", "operands", "problem"),
    [
        ("+", (X, A), "'+' needs numbers, not a factor"),
        ("/", (T, X), "'/' needs numbers, not text"),
        ("<", (A, "v"), "'<' needs ordered factors with the same levels"),
        ("<", (O, "huge"), "'huge' is not a level of the ordered factor"),
        ("==", (A, X), "'==' cannot compare numbers with text or a factor"),
        ("%in%", (A, X), "the right side of %in% must be constants"),
        (":", (X, X), "':' inside a call needs two constants"),
    ],
)
def test_operator_without_a_meaning(
    operator: str, operands: tuple[Value, ...], problem: str
) -> None:
    with pytest.raises(FormulaDataError) as caught:
        operate(operator, operands)
    assert caught.value.problem == problem
