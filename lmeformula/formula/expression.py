"""Syntax tree to value expressions: what stands inside I(), log(), a response or an offset."""

from __future__ import annotations

import math
from difflib import get_close_matches

from lmeformula.formula import ast, ir
from lmeformula.formula.mistakes import Report
from lmeformula.formula.reserved import ONLY_STRUCTURES, STRUCTURES, VALUE_FUNCTIONS
from lmeformula.formula.tree import MAX_DEPTH

# A chain of operations is as high as it is long, and who evaluates an expression may do so recursively.
MAX_HEIGHT = 200
# Less than a tree may have: in canonical text other levels may stand around an expression.
MAX_NESTING = MAX_DEPTH - 10

CONSTANTS = {"TRUE": True, "FALSE": False, "NULL": None}
ARITHMETIC = frozenset({"+", "-", "*", "/", "^", ":", "%%", "%/%"})
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
KNOWN_OPERATORS = ARITHMETIC | COMPARISONS | {"%in%", "&", "|"}


def value(node: ast.Node, report: Report, function: str = "") -> ir.Expression:
    """Read a tree as an expression whose value is a column.

    Args:
      node: the tree; its depth is limited, so that recursion is safe.
      report: collects mistakes.
      function: the innermost call around it, which decides what a bar means; "" at the top.
    Returns:
      The expression; meaningless where `report` got a mistake.
    """
    if node.depth > MAX_NESTING:
        report.error("too_deep", node.span, limit=str(MAX_NESTING))
        return ir.Constant(None, node.span)
    if height(node) > MAX_HEIGHT:
        report.error("too_long", node.span, limit=str(MAX_HEIGHT))
        return ir.Constant(None, node.span)
    return read(node, report, function)


def height(node: ast.Node) -> int:
    """Return how many operations and calls of an expression are nested, each step of a chain counted."""
    match node:
        case ast.Parentheses():
            return height(node.inner) + 1
        case ast.Unary():
            return height(node.operand) + 1
        case ast.Call():
            return 1 + max((height(argument.value) for argument in node.arguments), default=0)
        case ast.Chain():
            total = height(node.operands[0])
            for operand in node.operands[1:]:
                total = 1 + max(total, height(operand))
            return total
    return 0


def read(node: ast.Node, report: Report, function: str) -> ir.Expression:
    """Read a tree, or a part of it, whose size has been checked."""
    match node:
        case ast.Name(text=".", is_quoted=False):
            report.error("dot_in_call", node.span)
            return ir.Column(".", node.span)
        case ast.Name():
            return ir.Column(node.text, node.span)
        case ast.Number():
            return ir.Number(node.value, node.span)
        case ast.String():
            return ir.Text(node.value, node.span)
        case ast.Constant():
            return constant(node, report)
        case ast.Parentheses():
            return ir.Operation("(", (read(node.inner, report, function),), node.span)
        case ast.Unary():
            return ir.Operation(node.operator, (read(node.operand, report, function),), node.span)
        case ast.Call():
            return call(node, report)
        case ast.Chain():
            return chain(node, report, function)


def constant(node: ast.Constant, report: Report) -> ir.Expression:
    """Read TRUE, FALSE, NULL or Inf; NA and NaN are refused."""
    if node.word == "Inf":
        return ir.Number(math.inf, node.span)
    if node.word not in CONSTANTS:
        report.error("missing_constant", node.span, word=node.word)
        return ir.Constant(None, node.span)
    return ir.Constant(CONSTANTS[node.word], node.span)


def call(node: ast.Call, report: Report) -> ir.Call:
    """Read a call: of a function of columns, not of a covariance structure or an offset."""
    if node.function == "offset":
        report.error("offset_in_operator", node.span)
    elif not node.arguments:
        report.error("empty_call", node.span, function=node.function)
    elif node.function in ONLY_STRUCTURES and not any(map(has_bar, node.arguments)):
        report.error("structure_without_bar", node.span, function=node.function)
    arguments = tuple(
        ir.Argument(read(argument.value, report, node.function), argument.name)
        for argument in node.arguments
    )
    return ir.Call(node.function, arguments, node.span)


def has_bar(argument: ast.Argument) -> bool:
    """Whether an argument is a bar expression, in parentheses or not."""
    return is_bar(bare(argument.value))


def is_bar(node: ast.Node) -> bool:
    """Whether a node is `left | right` or `left || right`."""
    return isinstance(node, ast.Chain) and node.operators[0] in ("|", "||")


def bare(node: ast.Node) -> ast.Node:
    """Take parentheses off."""
    while isinstance(node, ast.Parentheses):
        node = node.inner
    return node


def chain(node: ast.Chain, report: Report, function: str) -> ir.Expression:
    """Read operands joined by operators, from the left."""
    for operator, span in zip(node.operators, node.operator_spans, strict=True):
        if operator in ("|", "||") and not is_logical_or(node, operator, function):
            if operator == "||" and function in VALUE_FUNCTIONS:
                report.error("double_bar_in_call", span, function=function)
            else:
                report.error("bar_in_call", span, function=function, cure=bar_cure(function))
            break
        if operator in COMPARISONS and ends_in_negation(node.operands[0]):
            # In a == !b == c the negation has taken the first comparison; R refuses the second.
            report.error("chained_comparison", span)
        elif operator == "&&":
            report.error("scalar_and", span)
        elif operator not in KNOWN_OPERATORS and operator not in ("|", "||"):
            report.error("unknown_operator", span, operator=operator)
    start = node.span[0]
    result = read(node.operands[0], report, function)
    for operator, operand in zip(node.operators, node.operands[1:], strict=True):
        right = read(operand, report, function)
        result = ir.Operation(operator, (result, right), (start, operand.span[1]))
    return result


def ends_in_negation(node: ast.Node) -> bool:
    """Whether an operand ends in a negation that is not in parentheses."""
    while isinstance(node, ast.Unary | ast.Chain):
        if isinstance(node, ast.Unary) and node.operator == "!":
            return True
        node = node.operand if isinstance(node, ast.Unary) else node.operands[-1]
    return False


def is_logical_or(node: ast.Chain, operator: str, function: str) -> bool:
    """Whether a bar is the logical or of two columns: I(1 | g) is a misplaced random-effects term."""
    return (
        function in VALUE_FUNCTIONS
        and operator == "|"
        and not (function == "I" and any(map(is_numeric, node.operands)))
    )


def is_numeric(node: ast.Node) -> bool:
    """Whether a node is a number or arithmetic, which no logical operand is."""
    node = bare(node)
    if isinstance(node, ast.Chain):
        return node.operators[0] in ARITHMETIC
    return isinstance(node, ast.Number) or (isinstance(node, ast.Unary) and node.operator != "!")


def bar_cure(function: str) -> str:
    """Say what to write instead of f(x | g)."""
    similar = get_close_matches(function, STRUCTURES, n=1)
    if similar:
        return f"Did you mean {similar[0]}(x | g)?"
    if function in VALUE_FUNCTIONS:
        return "Write the random-effects term outside: + (x | g)"
    known = ", ".join(sorted(name for name in STRUCTURES if STRUCTURES[name].is_fitted))
    return f"Is a '+' missing before the '('? Structures are {known}."
