"""Formulas of several predictors: how they are given, what they mean together, and what is refused."""

from __future__ import annotations

import json

import pytest

from lmeformula.errors import FormulaErrors, FormulaSyntaxError
from lmeformula.formula import Formula, parse
from lmeformula.formula.several_formulas import formulas_of

MU, SIGMA = "y ~ x + (1 | p | g)", "~ z + (1 | p | g)"
GIVEN = [
    {"mu": MU, "sigma": SIGMA},
    {"sigma": SIGMA, "mu": MU},
    (MU, "sigma " + SIGMA),
    [MU, "sigma " + SIGMA],
    {"mu": MU, "sigma": parse("~ z + (1 | g)")},
]


@pytest.mark.parametrize("given", GIVEN[:4])
def test_a_mapping_a_tuple_and_a_list_mean_the_same(given):
    formula = parse(given)
    assert formula == parse(GIVEN[0])
    assert [name for name, _ in formulas_of(formula)] == ["mu", "sigma"]
    assert str(formula) == "y ~ 1 + x + (1 | p | g); sigma ~ 1 + z + (1 | p | g)"
    assert repr(formula) == "parse(('y ~ 1 + x + (1 | p | g)', 'sigma ~ 1 + z + (1 | p | g)'))"
    assert formula.written == f"{MU}; sigma {SIGMA}"


def test_goes_through_json():
    formula = parse(GIVEN[0])
    again = Formula.from_dict(json.loads(json.dumps(formula.to_dict())))
    assert again == formula
    assert again.written == formula.written


def test_one_formula_by_name_is_that_formula():
    assert parse({"mu": "y ~ x + (1 | g)"}) == parse("y ~ x + (1 | g)")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mu": "~ x", "sigma": "~ x"}, "here none has one"),
        ({"sigma": "~ x"}, "here none has one"),
        ({"eta": "y ~ x"}, "here 'eta' has one"),
        ({"mu": "y ~ x", "sigma": "z ~ x"}, "'mu', 'sigma' has one"),
        ({"sigma": "y ~ x", "mu": "~ x"}, "here 'sigma' has one"),
        (("y ~ x", "~ x"), "does not begin with the name of a predictor"),
        (("y ~ x", "sigma ~ x", "sigma ~ z"), "a predictor has several formulas"),
        ({"mu": "y ~ .", "sigma": "~ x"}, "has a dot"),
        ({"mu": parse(GIVEN[0]), "nu": "~ x"}, "has several predictors"),
        ({"mu": "y ~ x", "sigma": "~ (1 | p | g)"}, "links nothing"),
        ({"mu": MU, "sigma": "~ (1 | p | h)"}, "one and the same grouping factor"),
        ({"mu": "y ~ x + (1 |", "sigma": "~ x"}, "after|closed|closing"),
        ({}, "a formula is a text"),
        ({"mu": 3}, "a formula is a text"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(FormulaSyntaxError, match=message):
        parse(given)


def test_several_labels_that_link_nothing_are_named_together():
    with pytest.raises(FormulaErrors, match=r"'p' links nothing(.|\n)*'q' links nothing"):
        parse({"mu": "y ~ x + (1 | p | g)", "sigma": "~ (1 | q | g)"})


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["formulas"].pop(),
        lambda record: record["formulas"].__setitem__(0, "mu"),
        lambda record: record["formulas"][1].__setitem__(1, dict(record)),
        lambda record: record["formulas"][1][1].__setitem__("formula", "~ w"),
    ],
)
def test_records_that_do_not_fit_are_refused(change):
    record = json.loads(json.dumps(parse(GIVEN[0]).to_dict()))
    change(record)
    with pytest.raises(FormulaSyntaxError, match="formula record"):
        Formula.from_dict(record)
