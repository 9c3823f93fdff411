"""A concept is asked what it is, not what it is called: held by reading the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.test_imports import sources

# Where names of families are told apart: their own folder, and the command line, which takes them as words.
FAMILIES_OWN = ("lmeformula.model.family", "lmeformula.cli", "lmeformula.demo")


def is_name(node: ast.expr) -> bool:
    """Whether it is the name of a family."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "name"
        and ast.unparse(node.value).rpartition(".")[2] in ("family", "base")
    )


def is_text(node: ast.expr) -> bool:
    return any(
        isinstance(each, ast.Constant) and isinstance(each.value, str) for each in ast.walk(node)
    )


def asked_by_name(source: str) -> Iterator[int]:
    """Lines that compare a family's name with a text, or look it up in a table."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(map(is_name, sides)) and any(map(is_text, sides)):
                yield node.lineno
        if isinstance(node, ast.Subscript) and is_name(node.slice):
            yield node.lineno
        is_look = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".get")
        if is_look and node.args and is_name(node.args[0]):
            yield node.lineno


def test_no_module_asks_for_a_family_by_name() -> None:
    found = [
        f"{module}:{line}"
        for module, source in sources().items()
        if not module.startswith(FAMILIES_OWN)
        for line in asked_by_name(source)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        'fit.model.family.name == "gaussian"',
        'family.name in ("bernoulli", "binomial")',
        "TABLE[fit.model.family.name]",
        "TABLE.get(family.name)",
    ],
)
def test_a_planted_question_is_caught(line: str) -> None:
    assert list(asked_by_name(line)) == [1]


@pytest.mark.parametrize("line", ["one.family.name != other.family.name", 'term.name == "g"'])
def test_other_names_may_be_compared(line: str) -> None:
    assert list(asked_by_name(line)) == []


# Where kinds of covariance are told apart: their own folder.
COVARIANCES_OWN = ("lmeformula.covariance", "lmeformula.formula.kinds")


def is_kind(node: ast.expr) -> bool:
    """Whether it is the kind of a covariance: of a term's, or of a structure's."""
    if not isinstance(node, ast.Attribute):
        return False
    whose = ast.unparse(node.value).rpartition(".")[2]
    return node.attr == "covariance" or (
        node.attr == "kind" and whose in ("covariance", "structure")
    )


def covariances_by_kind(source: str) -> Iterator[int]:
    """Lines that compare the kind of a covariance with a text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(map(is_kind, sides)) and any(map(is_text, sides)):
                yield node.lineno


def test_no_module_asks_for_a_covariance_by_kind() -> None:
    found = [
        f"{module}:{line}"
        for module, source in sources().items()
        if not module.startswith(COVARIANCES_OWN)
        for line in covariances_by_kind(source)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        'term.covariance.kind == "us"',
        'term.structure.kind in ("cs", "ar1")',
        'block.covariance != "diag"',
    ],
)
def test_a_planted_kind_is_caught(line: str) -> None:
    assert list(covariances_by_kind(line)) == [1]
