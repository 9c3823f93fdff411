from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmeformula.design import check_design, design
from lmeformula.errors import FormulaDataError, ModelError
from tests.design.conftest import make_frame

ROWS = {
    "row": np.arange(60),
    "one": "k",
    "same": 3.0,
    "neg": -1.0,
    "zero": 0.0,
}

# What cannot be fitted, and the whole message.
REFUSED = {
    "same ~ x + (1 | g)": (
        "the response 'same' is constant: every one of its 60 values is 3\n"
        "    same ~ x + (1 | g)\n"
        "    ^^^^\n"
        "There is nothing to explain. Is this the right column, and are the right rows left?"
    ),
    "one ~ x + (1 | g)": (
        "the response 'one' is constant: every one of its 60 values is k\n"
        "    one ~ x + (1 | g)\n"
        "    ^^^\n"
        "There is nothing to explain. Is this the right column, and are the right rows left?"
    ),
    "~ x + (1 | g)": (
        "the formula has no response\n"
        "    ~ x + (1 | g)\n"
        "    ^\n"
        "Write the response before the tilde: y ~ ..."
    ),
    "y ~ x + (1 | one)": (
        "the grouping factor 'one' has only one level, 'k'\n"
        "    y ~ x + (1 | one)\n"
        "            ^^^^^^^^^\n"
        "A variance over levels needs several of them: leave the term out."
    ),
    "y ~ factor(row) + (1 | g)": (
        "the fixed part has 60 coefficients for 60 rows\n"
        "A model needs more rows than coefficients: use fewer variables, or make a factor of many levels "
        "a grouping factor, (1 | g)."
    ),
    "y | weights(neg) ~ x + (1 | g)": (
        "the prior weights are zero or negative in 60 rows\n"
        "    y | weights(neg) ~ x + (1 | g)\n"
        "                ^^^\n"
        "A weight says how precise a row is: leave out rows that say nothing. How many identical rows "
        "one stands for is its frequency."
    ),
    "y | weights(zero) ~ x + (1 | g)": (
        "the prior weights are zero or negative in 60 rows\n"
        "    y | weights(zero) ~ x + (1 | g)\n"
        "                ^^^^\n"
        "A weight says how precise a row is: leave out rows that say nothing. How many identical rows "
        "one stands for is its frequency."
    ),
}  # fmt: skip


@pytest.mark.parametrize("formula", REFUSED)
def test_design_that_cannot_be_fitted(formula: str, frame: pd.DataFrame) -> None:
    made = design(formula, frame.assign(**ROWS))
    with pytest.raises(FormulaDataError) as caught:
        check_design(made)
    assert str(caught.value) == REFUSED[formula]


UNSUPPORTED = {
    "y ~ x + mo(o) + (1 | g)": "mo(o) is another package's syntax, which cannot be fitted here",
    "y ~ x + (1 | mm(g, h, by = a))": (
        "mm(g, h, by = a) is another package's syntax, which cannot be fitted here"
    ),
    "y ~ x + (1 | gr(g, dist = 'cauchy'))": (
        'gr(g, dist = "cauchy") is another package\'s syntax, which cannot be fitted here'
    ),
}


@pytest.mark.parametrize("formula", UNSUPPORTED)
def test_syntax_of_others_is_refused_by_name(formula: str, frame: pd.DataFrame) -> None:
    with pytest.raises(ModelError) as caught:
        check_design(design(formula, frame))
    assert caught.value.problem == UNSUPPORTED[formula]
    assert caught.value.code == "E_UNSUPPORTED_EXTENSION"
    assert caught.value.span is not None
    assert caught.value.hint != "Leave it out."


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + (1 | g)",
        "y ~ a*x + (x | g) + (1 | h)",
        "s | trials(n) ~ 1 + (1 | g)",
        "o ~ x + (1 | g)",
        "y ~ x",
    ],
)
def test_design_that_can_be_fitted(formula: str, frame: pd.DataFrame) -> None:
    check_design(design(formula, frame))


def test_fewer_rows_than_columns_counts_the_dropped_ones() -> None:
    frame = make_frame(4)
    with pytest.warns(match="left out"):
        made = design("y ~ x + z + w + s", {name: frame[name] for name in "yxzws"})
    with pytest.raises(FormulaDataError, match="the fixed part has 5 coefficients for 4 rows"):
        check_design(made)


def test_errors_pickle(frame: pd.DataFrame) -> None:
    import pickle

    made: Any = design("y ~ x + (1 | one)", frame.assign(**ROWS))
    with pytest.raises(FormulaDataError) as caught:
        check_design(made)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
