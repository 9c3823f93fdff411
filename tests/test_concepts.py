"""A concept is asked what it is, not what it is called: held by reading the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.test_imports import sources

# Where names of families are told apart: their own folder, and the command line, which takes them as words.
FAMILIES_OWN = ("lmeformula.family", "lmeformula.cli", "lmeformula.demo")


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


# Where one linear predictor and several may be told apart: where they are made.
PREDICTORS_OWN = ("lmeformula.formula", "lmeformula.design", "lmeformula.family")
# And these, for a reason that is theirs.
TOLD_APART = {
    "lmeformula.model.compile": "effects by t are of one predictor",
    "lmeformula.model.stack": "one predictor is its own stack: no copy of X, no eigenvalues of each row",
    "lmeformula.model.joint": "what is compiled for one predictor has no matrix of them",
    "lmeformula.model.notation": "one predictor is written as the response's mean, without a symbol",
    "lmeformula.model.graph": "beside several predictors the own parameters left are shown one by one",
    "lmeformula.likelihood.laplace.automatic": "densities and third derivatives of one have no axis of them",
    "lmeformula.sampling.rows": "and so are slopes that a family has; what is compiled for several is another",
    "lmeformula.sampling.laplace": "the cubic variate is of third derivatives in one predictor",
    "lmeformula.sampling.nuts.target": "what is compiled for one predictor has no axis of them",
    "lmeformula.sampling.nuts.expansion": "what draws expand to is a predictor without an axis, or with one",
    "lmeformula.model.prior_joint": "is of models with one predictor, and says so",
    "lmeformula.likelihood.laplace.rows": "derivatives that are written out are of one predictor",
    "lmeformula.likelihood.laplace.asked_rows": "rows with workers are of one predictor, and others refused",
    "lmeformula.estimation.solver": "chains of several predictors are whitened by a factor",
    "lmeformula.store.save": "a saved family of one predictor has none besides",
    "lmeformula.store.designs": "a saved design of one predictor stands as it is, of several in a list",
    "lmeformula.prediction.normal_points": "a rule for one predictor; a grid, or draws, for several",
    "lmeformula.prediction.averaged": "likewise",
    "lmeformula.as_in_r": "lme4's parts of a model are of one predictor",
    "lmeformula.prediction.predictor": "users get a column without a name, or one for each predictor by name",
}
COUNTED = {"predictors", "offsets", "predictor_names", "readers", "eta", "side_by_side"}


def is_list(node: ast.expr) -> bool:
    """Whether it is a tuple with an element for each linear predictor."""
    text = ast.unparse(node)
    return text.endswith((".predictors", ".predictor_names")) or "'predictors'" in text


def is_count(node: ast.expr, known: set[str]) -> bool:
    """Whether it is the number of linear predictors, or that of what is listed, under a name in `known`."""
    if isinstance(node, ast.Name):
        return node.id == "num_predictors" or node.id in known
    if isinstance(node, ast.Attribute):
        return node.attr == "num_predictors" or (
            node.attr == "ndim" and ast.unparse(node.value).endswith("eta")
        )
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func) == "len"
        and not (COUNTED | known).isdisjoint(re.findall(r"\w+", ast.unparse(node.args[0])))
    )


def is_further(node: ast.expr) -> bool:
    """Whether it is what there is of the predictors but the first: empty where there is one."""
    text = ast.unparse(node)
    return text.endswith(("predictors[1:]", ".further", ".side_by_side"))


def named_counts(function: ast.AST) -> set[str]:
    """Names that a function gives to the predictors, or to their number."""
    found: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = (
                    zip(target.elts, node.value.elts, strict=False)
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                    else [(target, node.value)]
                )
                is_of = {ast.unparse(n) for n, v in pairs if is_count(v, set()) or is_list(v)}
                found |= is_of
    return found


def told_apart(source: str) -> Iterator[int]:
    """Lines that ask whether there is one linear predictor, or there are several."""
    tree = ast.parse(source)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)] or [tree]
    lines: set[int] = set()
    for function in functions:
        known = named_counts(function)
        for node in ast.walk(function):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                numbers = [s for s in sides if isinstance(s, ast.Constant) and s.value in (0, 1, 2)]
                if numbers and any(is_count(side, known) for side in sides):
                    lines.add(node.lineno)
                is_none = any(isinstance(s, ast.Constant) and s.value is None for s in sides)
                if is_none and ast.unparse(node.left).endswith((".mixture", ".grown_from")):
                    lines.add(node.lineno)
            tests = [node.test] if isinstance(node, ast.If | ast.IfExp) else []
            tests += node.values if isinstance(node, ast.BoolOp) else []
            tests += [node.operand] if isinstance(node, ast.UnaryOp) else []
            lines |= {test.lineno for test in tests if is_further(test)}
    yield from sorted(lines)


def test_nobody_asks_whether_there_is_one_linear_predictor() -> None:
    found = {
        module: list(told_apart(source))
        for module, source in sources().items()
        if not module.startswith(PREDICTORS_OWN)
    }
    asking = {module for module, lines in found.items() if lines}
    assert asking - set(TOLD_APART) == set(), {module: found[module] for module in asking}
    assert set(TOLD_APART) - asking == set(), "these ask no longer: take them out of the table"


@pytest.mark.parametrize(
    "line",
    [
        "x = eta[0] if design.num_predictors == 1 else eta",
        "if len(family.predictors) > 1: pass",
        "if not design.side_by_side: pass",
        "columns = names if family.predictors[1:] else ()",
        "if stack.mixture is None: pass",
        "if eta.ndim == 1: pass",
        "k = rows.num_predictors\nif 1 < k: pass",
        "names = family.predictors\nis_several = len(names) > 1",
    ],
)
def test_a_planted_number_of_predictors_is_caught(line: str) -> None:
    assert list(told_apart(line))


@pytest.mark.parametrize(
    "line", ["for k in range(design.num_predictors): pass", "if len(names) > 1: pass"]
)
def test_the_number_of_predictors_may_be_counted_to(line: str) -> None:
    assert list(told_apart(line)) == []
