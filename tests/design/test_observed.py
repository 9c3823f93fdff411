"""The summary of the fixed part's columns that a design keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmeformula.design import design

DATA = {
    "y": [1.0, 2.0, 4.0, 3.0, 2.5, 1.5, 9.0],
    "a": ["u", "v", "u", "v", "u", "u", None],
    "k": [1, 2, 3, 1, 2, 3, 1],
    "x": [0.0, 1.0, 2.0, 3.0, 4.0, 8.0, 50.0],
    "b": [True, False, True, True, False, False, True],
    "t": [2.0, 2.0, 4.0, 4.0, 3.0, 3.0, 1.0],
    "two": [0, 5, 0, 5, 5, 5, 0],
    "g": [1, 1, 2, 2, 3, 3, 1],
}


def observed(formula: str):
    return design(formula, DATA).recipe.observed


def test_columns_are_summarised_on_the_rows_used():
    found = observed("y ~ a + log(x + 1) + b + two + offset(log(t)) + (1 | g)")
    by_name = {column.name: column for column in found.columns}
    assert list(by_name) == ["a", "x", "b", "two", "t"]
    assert by_name["a"].levels == ("u", "v")
    assert by_name["x"][1:] == ((), 3.0, 0.0, 8.0)
    assert by_name["b"].levels == (False, True)
    assert by_name["two"].levels == (0.0, 5.0)
    assert by_name["t"].mean == 3.0
    assert found.offset == pytest.approx(np.log(DATA["t"][:6]).mean())
    assert math.isnan(by_name["a"].mean)


def test_a_number_that_the_formula_makes_a_factor_of_has_levels():
    (column,) = observed("y ~ factor(k) + (1 | g)").columns
    assert column.levels == (1.0, 2.0, 3.0)
    (column,) = observed("y ~ k + (1 | g)").columns
    assert column.levels == ()


def test_cells_count_the_combinations_that_occur():
    found = observed("y ~ a + factor(k) + (1 | g)")
    assert [column.name for column in found.factors] == ["a", "k"]
    table = {
        tuple(cell): count for cell, count in zip(found.cells.tolist(), found.counts, strict=True)
    }
    # u1, v2, u3, v1, u2, u3; the row without a is left out.
    assert table == {(0, 0): 1, (0, 1): 1, (0, 2): 2, (1, 0): 1, (1, 1): 1}


def test_aliases_say_what_dropped_columns_were():
    with pytest.warns(UserWarning, match="rank"):
        made = design("y ~ x + k + I(2 * x - k) + (1 | g)", DATA)
    aliases = made.recipe.observed.aliases
    assert (aliases.kept, aliases.dropped) == ((0, 1, 2), (3,))
    np.testing.assert_allclose(aliases.relation[:, 0], [0.0, 2.0, -1.0], atol=1e-10)
    assert observed("y ~ x + k + (1 | g)").aliases is None


def test_constants_and_contrasts_are_no_columns():
    found = observed("y ~ C(a, contr.sum) + I(x * pi) + (1 | g)")
    assert [column.name for column in found.columns] == ["a", "x"]


def test_without_columns_there_is_one_cell():
    found = observed("y ~ 1 + (1 | g)")
    assert found.columns == ()
    assert (found.cells.shape, found.counts.tolist()) == ((1, 0), [7])
