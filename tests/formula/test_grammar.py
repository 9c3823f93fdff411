"""The grammar: precedence as the README's table says, mistakes.toml in order, files found everywhere."""

from __future__ import annotations

import inspect
import itertools
import re
from pathlib import Path

import pytest

from lmeformula.errors import FormulaSyntaxError
from lmeformula.formula import parse
from lmeformula.formula.grammar import LOOKALIKES, parser, read_tree
from lmeformula.formula.ir import Expression, Operation
from lmeformula.formula.mistakes import mistakes, read_grammar_file
from lmeformula.formula.reserved import (
    RESERVED_ADDITIONS,
    RESERVED_FUNCTIONS,
    STRUCTURES,
)
from lmeformula.formula.smooths import BASES
from lmeformula.formula.smooths import FUNCTIONS as SMOOTHS

README = (Path(__file__).parents[2] / "grammar" / "README.md").read_text(encoding="utf-8")
TIGHTER = ["|", "&", "==", "+", "*", "%in%", ":", "^"]


def tree(text: str) -> Expression:
    return read_tree(f"~ {text}").right


@pytest.mark.parametrize(("loose", "tight"), list(itertools.pairwise(TIGHTER)))
def test_precedence(loose: str, tight: str) -> None:
    for text in (f"a {loose} b {tight} c", f"a {tight} b {loose} c"):
        top = tree(text)
        assert isinstance(top, Operation)
        assert [step.operator for step in top.chain()] == [loose]


@pytest.mark.parametrize(
    ("text", "grouped"),
    [
        ("-x:z", "(-x):z"),
        ("-x^2", "-(x^2)"),
        ("2^-x^y", "2^(-(x^y))"),
        ("a^b^c", "a^(b^c)"),
        ("!x & y", "(!x) & y"),
        ("!x == y", "!(x == y)"),
        ("!x + y", "!(x + y)"),
        ("a + !x + y", "a + (!(x + y))"),
        ("a * !x & y", "(a * (!x)) & y"),
        ("a == !x + y", "a == (!(x + y))"),
        ("a/b*c", "(a/b)*c"),
        ("a - b + c", "(a - b) + c"),
        ("a %in% b %% c", "(a %in% b) %% c"),
        ("a ** b", "a^b"),
    ],
)
def test_groups_as_r_does(text: str, grouped: str) -> None:
    assert bare(tree(text)) == bare(tree(grouped))


def bare(node: Expression) -> object:
    """Reduce a tree to nested tuples, without parentheses."""
    if isinstance(node, Operation) and node.operator == "(":
        return bare(node.operands[0])
    return (node.operator, *map(bare, node.operands)) if isinstance(node, Operation) else node


def test_a_chain_of_one_level_is_no_nesting() -> None:
    top = tree(" + ".join(f"x{i}" for i in range(1000)))
    assert isinstance(top, Operation)
    assert len(top.chain()) == 999
    assert len(top.chained()) == 1000
    assert top.depth == 2


def test_every_shift_reduce_conflict_is_a_negation_on_the_right() -> None:
    # lark resolves them by shifting; another conflict would be an ambiguity that nobody looked at.
    import logging

    from lark import Lark, logger

    records: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    handler, level = Keep(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        Lark(
            read_grammar_file("lmeformula.lark"),
            start=["formula", "never"],
            parser="lalr",
            debug=True,
        )
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    conflicts = {m[1] for text in records if (m := re.search(r"conflict for terminal (\w+)", text))}
    assert conflicts <= {"COMPARE", "SIGN", "STAR", "PERCENT"}


def test_every_lookalike_has_a_name_or_is_invisible() -> None:
    (pattern,) = [t.pattern.to_regexp() for t in parser().terminals if t.name == "LOOKALIKE"]
    for character in map(chr, range(0x80, 0x10000)):
        if re.fullmatch(pattern, character) and character.isprintable():
            assert character in LOOKALIKES, hex(ord(character))
    for character in LOOKALIKES:
        with pytest.raises(FormulaSyntaxError) as caught:
            parse(f"y ~ x {character} z")
        assert caught.value.code == "E_LOOKALIKE"


def test_mistakes_are_complete() -> None:
    for label, mistake in mistakes().items():
        assert re.fullmatch(r"[EW]_[A-Z_]+", mistake.code), label
        assert mistake.message
        assert mistake.hint or mistake.code.startswith("W_"), label


def test_every_label_in_the_code_is_in_the_file_and_the_other_way_round() -> None:
    folder = Path(inspect.unwrap(parse).__code__.co_filename).parent
    code = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    used = set(re.findall(r'(?:error|warn|stop|TreeError)\(\s*"(\w+)"', code))
    used |= set(re.findall(r'return "(\w+)"', code)) & set(mistakes())
    assert used <= set(mistakes())
    by_example = {label for label, mistake in mistakes().items() if mistake.examples}
    assert set(mistakes()) - by_example <= used


def test_the_readme_names_every_operator_structure_and_reserved_word() -> None:
    words = set(re.findall(r"[\w.]+", README))
    assert set(STRUCTURES) <= words
    assert {word for word in RESERVED_ADDITIONS if word not in ("p", "proportion")} - words <= {
        "censored",
        "truncated",
        "constrained",
    }
    assert {"mo", "me", "te", "gp", "hsgp", "fulldummy"} <= words & set(RESERVED_FUNCTIONS)
    assert set(SMOOTHS) | set(BASES) <= words
    for operator in ("~", "&&", "%in%", "%/%", "**", "=="):
        assert operator in README


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (row[0], code)
        for row in re.findall(r"^\| (`.*`) \| .* \| (`E_\w+`.*) \|$", README, re.MULTILINE)
        for code in [re.findall(r"E_[A-Z_]+[A-Z]", row[1])]
    ],
)
def test_the_readmes_errors_are_errors(text: str, code: list[str]) -> None:
    for written in re.findall(r"`([^`]+)`", text.replace("\\|", "|")):
        formula = written if "~" in written else f"y ~ {written}"
        with pytest.raises(FormulaSyntaxError) as caught:
            parse(formula)
        assert any(caught.value.code.startswith(expected) for expected in code), formula
