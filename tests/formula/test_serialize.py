"""Formula records: JSON both ways, and nothing that the language could not say comes back."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from lmeformula.errors import FormulaSyntaxError
from lmeformula.formula import Formula, parse

TEXT = (
    "s | trials(n) ~ a*log(x) + offset(w) + (1 | p | g) + (0 + x | p | g)"
    " + cs(a | h, hom = TRUE) + (1|mm(g, h))"
)


def record() -> dict[str, Any]:
    return json.loads(json.dumps(parse(TEXT).to_dict()))  # type: ignore[no-any-return]


def test_goes_through_json() -> None:
    again = Formula.from_dict(record())
    assert again == parse(TEXT)
    assert again.text == TEXT
    assert again.random[0].span == parse(TEXT).random[0].span


def test_is_readable_elsewhere() -> None:
    written = record()
    assert written["response"] == {
        "expression": "s", "trials": "n", "weights": None, "reserved": [],
    }  # fmt: skip
    assert written["fixed"] == {
        "intercept": True,
        "terms": [["a"], ["log(x)"], ["a", "log(x)"]],
        "offsets": ["w"],
        "template": "",
    }
    assert written["random"][2] == {
        "intercept": True,
        "terms": [["a"]],
        "group": ["h"],
        "covariance": "cs",
        "homogeneous": True,
        "options": [],
        "block": "",
    }


def test_diagnostics_come_back() -> None:
    formula = parse("y ~ x^2")
    assert Formula.from_dict(formula.to_dict()).diagnostics == formula.diagnostics


def test_a_text_that_says_something_else_is_not_believed() -> None:
    again = Formula.from_dict(changed(["text"], "y ~ 1"))
    assert again == parse(TEXT)
    assert again.text == str(parse(TEXT))


def test_the_meaning_of_the_double_bar_is_kept() -> None:
    formula = parse("y ~ (a || g)", double_bar="diag")
    assert Formula.from_dict(formula.to_dict()) == formula


def changed(path: list[Any], value: Any) -> Any:
    result = copy.deepcopy(record())
    place = result
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return result


HOSTILE = {
    "not a record": [],
    "no version": {},
    "another version": changed(["version"], 2),
    "a part is missing": {key: value for key, value in record().items() if key != "fixed"},
    "a part too many": changed(["evil"], 1),
    "a text that is none": changed(["formula"], ["y ~ x"]),
    "another formula": {**changed(["formula"], "y ~ x"), "text": "y ~ x"},
    "a formula that is none": {**changed(["formula"], "y ~ "), "text": ""},
    "another term": changed(["fixed", "terms", 0], ["__import__('os')"]),
    "another group": changed(["random", 0, "group"], ["h"]),
    "another covariance": changed(["random", 2, "covariance"], "us"),
    "another intercept": changed(["fixed", "intercept"], False),
    "another template": changed(["fixed", "template"], "."),
}


@pytest.mark.parametrize("title", HOSTILE)
def test_a_record_whose_parts_do_not_fit_is_refused(title: str) -> None:
    with pytest.raises(FormulaSyntaxError) as caught:
        Formula.from_dict(HOSTILE[title])
    assert caught.value.code == "E_RECORD"
