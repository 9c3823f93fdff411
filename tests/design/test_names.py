"""Unknown names of a formula are reported together, before anything is computed."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.errors import LmeFormulaError

DATA = {
    "y": [1.0, 2.0, 4.0, 3.0],
    "x": [0.5, -1.0, 2.0, 1.5],
    "a": ["u", "v", "u", "v"],
    "g": [1, 1, 2, 2],
}

# formula, then the name that each error is about, in the order of the text
CASES = [
    ("y ~ x + (1 | gg)", ["gg"]),
    ("y ~ xx + Log(x) + (1 | gg)", ["xx", "Log", "gg"]),
    ("Y ~ log(xx + lo(a)) + (z | g)", ["Y", "xx", "lo", "z"]),
    ("y ~ xx + I(xx^2) + offset(w) + (xx | g:h)", ["xx", "w", "h"]),
    ("y ~ s(q) + (1 | h)", ["q", "h"]),
    ("y ~ pi*x + T + (1 | g)", ["pi", "T"]),
]


@pytest.mark.parametrize(("formula", "names"), CASES, ids=[case[0] for case in CASES])
def test_unknown_names_are_reported_together(formula: str, names: list[str]) -> None:
    with pytest.raises(lf.FormulaDataError) as caught:
        lf.design(formula, DATA)
    errors = getattr(caught.value, "errors", (caught.value,))
    assert [next(n for n in names if f"'{n}'" in error.problem) for error in errors] == names
    assert isinstance(caught.value, lf.NamesNotFoundError) == (len(names) > 1)
    for error in errors:
        assert error.span is not None
        assert error.code in ("E_UNKNOWN_COLUMN", "E_UNKNOWN_FUNCTION")


def test_several_are_also_what_each_is() -> None:
    with pytest.raises(lf.ColumnNotFoundError):
        lf.design("y ~ xx + zz + (1 | g)", DATA)
    with pytest.raises(KeyError):
        lf.design("y ~ lo(x) + zz + (1 | g)", DATA)


def test_users_functions_are_known() -> None:
    made = lf.design("y ~ Log(x + 3) + (1 | g)", DATA, functions={"Log": np.log})
    assert made.names == ("Intercept", "Log(x + 3)")


def test_case_is_forgiven_in_suggestions() -> None:
    with pytest.raises(lf.FunctionNotFoundError, match=r"Did you mean log\(\)"):
        lf.design("y ~ Log(x) + (1 | g)", DATA)


def test_new_rows_lack_several_columns() -> None:
    made = lf.design("y ~ x*a + (1 | g)", DATA)
    with pytest.raises(lf.NamesNotFoundError) as caught:
        made.rebuild({"y": [1.0], "z": [2.0]})
    assert len(caught.value.errors) == 3
    assert all(isinstance(error, LmeFormulaError) for error in caught.value.errors)
