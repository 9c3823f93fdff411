"""The terms are those of R: terms() of the fixed part, and lme4's random-effects terms, for each formula."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lmeformula.formula import expand_dot, parse
from lmeformula.formula.show import expression_text

REFERENCE = json.loads(Path(__file__).with_name("lme4_terms.json").read_text(encoding="utf-8"))
CASES: list[dict[str, Any]] = REFERENCE["cases"]

# A package prefix is dropped here, and digits are kept that R does not print.
SPELLED_OTHERWISE = {
    "splines::ns(x, df = 3)": "ns(x, df = 3)",
    "splines::bs(x, df = 4)": "bs(x, df = 4)",
}
NUM_19 = ["I(0.30000000000000004 * x)"]
MERGED = {"nest-52"}  # (1 | g/g): an accepted difference


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_terms_are_those_of_r(case: dict[str, Any]) -> None:
    formula = expand_dot(parse(case["formula"]), case.get("columns", []))
    labels = NUM_19 if case["id"] == "num-19" else case["terms"]
    fixed = formula.fixed.sum
    assert fixed.intercept == case["intercept"]
    # In R's order; the variables of one term may be in another (see grammar/README.md).
    assert [{expression_text(v) for v in term.variables} for term in fixed.terms] == [
        set(SPELLED_OTHERWISE.get(label, label).split(":")) for label in labels
    ]
    assert [f"offset({expression_text(o)})" for o in formula.fixed.offsets] == case["offsets"]


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case["id"] not in MERGED],
    ids=[case["id"] for case in CASES if case["id"] not in MERGED],
)
def test_random_terms_are_those_of_lme4(case: dict[str, Any]) -> None:
    ours = Counter(
        (
            term.columns.intercept,
            frozenset(frozenset(map(expression_text, t.variables)) for t in term.columns.terms),
            frozenset(term.group.names),
        )
        for term in parse(case["formula"]).random
    )
    theirs = Counter(
        (
            term["intercept"],
            frozenset(frozenset(label.split(":")) for label in term["terms"]),
            frozenset(term["group"]),
        )
        for term in case["random"]
    )
    assert ours == theirs
