"""Every golden case gives exactly its text; every accepted one also survives the round trip."""

from __future__ import annotations

import json

import pytest

from lmeformula.errors import FormulaErrors, FormulaSyntaxError
from lmeformula.formula import Formula, expand_dot, parse
from lmeformula.formula.mistakes import mistakes
from tests.formula.cases import GOLDEN, Case, outcome, read_cases, rewrite

FILES = sorted(GOLDEN.glob("*.txt"))
CASES = [case for path in FILES for case in read_cases(path)[1]]
ACCEPTED = [case for case in CASES if not case.is_error]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gives_exactly_the_text(case: Case, update_golden: bool) -> None:
    if update_golden:
        if case.line == min(other.line for other in CASES if other.file == case.file):
            rewrite(GOLDEN / f"{case.file}.txt")
        return
    assert outcome(case.formula) == (case.is_error, case.expected)


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_canonical_text_parses_back_and_is_stable(case: Case) -> None:
    formula = parse(case.formula)
    again = parse(str(formula))
    assert again == formula
    assert hash(again) == hash(formula)
    assert str(again) == str(formula)
    assert Formula.from_dict(json.loads(json.dumps(formula.to_dict()))) == formula


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_explains_and_typesets(case: Case) -> None:
    formula = parse(case.formula)
    explanation = formula.explain()
    assert explanation.startswith(str(formula))
    # Linked terms are counted together, once for each label.
    alone = sum(not term.block for term in formula.random)
    blocks = {term.block for term in formula.random if term.block}
    counted = explanation.count("variance parameter") + explanation.count("not available")
    assert counted >= alone + len(blocks)
    latex = formula._repr_latex_()
    assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")


DOTTED = [
    case for case in ACCEPTED if "." in case.expected.split("fixed")[-1].split("\n")[0].split()
]


@pytest.mark.parametrize("case", DOTTED, ids=str)
def test_dot_expands_to_a_formula_of_the_language(case: Case) -> None:
    expanded = expand_dot(parse(case.formula), ["y", "x", "z", "a", "g", "h", "my var"])
    assert not expanded.fixed.template
    assert parse(str(expanded)) == expanded


def test_every_mistake_and_warning_has_an_exact_text() -> None:
    shown = "\n".join(case.expected for case in CASES)
    for mistake in mistakes().values():
        if mistake.examples:
            start = mistake.message.split("{")[0]
            assert start in shown, mistake.label


EXAMPLES = [
    (label, example) for label, mistake in mistakes().items() for example in mistake.examples
]


@pytest.mark.parametrize(("label", "example"), EXAMPLES)
def test_examples_of_mistakes_are_recognised(label: str, example: str) -> None:
    mistake = mistakes()[label]
    pattern = mistake.message.split("{")[0]
    if mistake.code.startswith("W_"):
        found = [(d.code, d.message.startswith(pattern)) for d in parse(example).diagnostics]
        assert (mistake.code, True) in found
        return
    with pytest.raises(FormulaSyntaxError) as caught:
        parse(example)
    error = caught.value
    several = error.errors if isinstance(error, FormulaErrors) else (error,)
    assert {one.code for one in several} == {mistake.code}
    assert all(one.problem.startswith(pattern) for one in several)
    assert all(one.span is not None for one in several)
