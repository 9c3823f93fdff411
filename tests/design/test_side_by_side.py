"""Designs of several linear predictors: columns side by side, linked terms as one, and their new rows."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.design.side_by_side import written_terms
from lmeformula.errors import FormulaDataError

DATA = {
    "y": [1.0, 2.0, 4.0, 3.0, 5.0, 4.5],
    "x": [0.0, 1.0, 2.0, 0.5, 1.5, 2.5],
    "z": [1.0, np.nan, 2.0, 1.0, 0.0, 3.0],
    "a": ["u", "v", "u", "v", "u", "v"],
    "g": [1, 1, 2, 2, 3, 3],
    "w": [1.0, 2.0, 1.0, 2.0, 1.0, 1.0],
    "o": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
}
FORMULAS = {
    "mu": "y ~ x + offset(o) + (1 + x | p | g)",
    "sigma": "~ a + offset(z) + (1 | a) + (1 | p | g)",
}


def test_columns_stand_side_by_side():
    design = lf.design(FORMULAS, DATA, weights="w")
    assert design.names == ("Intercept", "x", "sigma_Intercept", "sigma_a[T.v]")
    assert design.column_predictors == (0, 0, 1, 1)
    # The row that misses z is in neither predictor.
    assert design.rows.tolist() == [0, 2, 3, 4, 5]
    assert design.num_missing == 1
    np.testing.assert_array_equal(design.X[:, 1], [0.0, 2.0, 0.5, 1.5, 2.5])
    np.testing.assert_array_equal(design.X[:, 3], [0.0, 0.0, 1.0, 0.0, 1.0])
    np.testing.assert_array_equal(design.offset, [0.1, 0.3, 0.4, 0.5, 0.6])
    np.testing.assert_array_equal(design.offsets[1], [1.0, 2.0, 1.0, 0.0, 3.0])
    assert design.num_predictors == 2
    assert design.first.names == ("Intercept", "x")
    np.testing.assert_array_equal(design.first.weights, design.weights)


def test_terms_with_one_label_are_one_term():
    design = lf.design(FORMULAS, DATA)
    linked, alone = design.terms
    assert linked.columns == ("Intercept", "x", "sigma_Intercept")
    assert linked.predictors == (0, 0, 1)
    assert (alone.name, alone.columns, alone.predictors) == ("a", ("sigma_Intercept",), (1,))
    written = [[str(term.group.label) for _, term in terms] for terms in written_terms(design)]
    assert written == [["g", "g"], ["a"]]


def test_terms_without_a_label_stay_apart():
    design = lf.design({"mu": "y ~ x + (1 | g)", "sigma": "~ 1 + (1 | g)"}, DATA)
    assert [term.name for term in design.terms] == ["g", "g.1"]
    assert [term.predictors for term in design.terms] == [(0,), (1,)]


def test_new_rows_are_complete_in_all_predictors():
    design = lf.design(FORMULAS, DATA)
    new = {
        "x": [1.0, 2.0, np.nan],
        "a": ["v", "u", "u"],
        "g": [3, 9, 1],
        "o": [0.0, 0.0, 0.0],
        "z": [2.0, 1.0, 1.0],
    }
    rows = design.rebuild(new)
    assert rows.rows.tolist() == [0, 1]
    np.testing.assert_array_equal(rows.X, [[1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 1.0, 0.0]])
    np.testing.assert_array_equal(rows.offsets[1], [2.0, 1.0])
    assert rows.terms[0].index.tolist() == [2, -1]
    np.testing.assert_array_equal(rows.terms[0].values, [[1.0, 1.0, 1.0], [1.0, 2.0, 1.0]])
    assert dict(rows.unseen) == {"g": ("9",)}
    assert design.rebuild(new, groups=False).terms == ()


@pytest.mark.parametrize(
    ("formulas", "message"),
    [
        ({"mu": "y ~ x + (1 | g)", "sigma": "~ nope"}, "'nope', which is not a column"),
        ({"mu": "y ~ sigma_x + (1 | g)", "sigma": "~ x"}, "both called 'sigma_x'"),
    ],
)
def test_what_is_refused(formulas, message):
    data = {**DATA, "sigma_x": DATA["x"]}
    with pytest.raises(FormulaDataError, match=message):
        lf.design(formulas, data)
