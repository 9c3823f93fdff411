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


# Where methods and solvers are told apart: the record that says what a fit is, what makes fits, what takes
# their names as words or writes them down.
METHODS_OWN = (
    "lmeformula.fit",
    "lmeformula.estimation",
    "lmeformula.api",
    "lmeformula.cli",
    "lmeformula.store",
)
NAMES = {"exact", "laplace", "mcem", "direct", "iterative"}


def methods_by_name(source: str) -> Iterator[int]:
    """Lines that compare with the name of a method or a solver, or look something up by one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            words = {
                each.value
                for side in (node.left, *node.comparators)
                for each in ast.walk(side)
                if isinstance(each, ast.Constant)
            }
            # What an information is worked out by is another question, with words of its own.
            if words & NAMES and not ast.unparse(node.left).endswith(".information"):
                yield node.lineno


def test_no_module_asks_for_a_method_or_a_solver_by_name() -> None:
    found = [
        f"{module}:{line}"
        for module, source in sources().items()
        if not module.startswith(METHODS_OWN)
        for line in methods_by_name(source)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line", ['fit.method == "mcem"', 'how in ("exact", "laplace")', '"direct" != fit.solver']
)
def test_a_planted_method_is_caught(line: str) -> None:
    assert list(methods_by_name(line)) == [1]
