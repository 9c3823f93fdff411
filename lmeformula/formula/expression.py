"""Is an expression one whose value is a column, as inside I(), log(), a response or an offset?"""

from __future__ import annotations

import math
from difflib import get_close_matches

from lmeformula.formula import ir
from lmeformula.formula.mistakes import Report
from lmeformula.formula.reserved import OF_MMRM, ONLY_STRUCTURES, STRUCTURES, VALUE_FUNCTIONS
from lmeformula.formula.tree import MAX_DEPTH

# A chain of operations is as high as it is long, and who evaluates an expression may do so recursively.
MAX_HEIGHT = 200
# Less than a tree may have: in canonical text other levels may stand around an expression.
MAX_NESTING = MAX_DEPTH - 10

ARITHMETIC = frozenset({"+", "-", "*", "/", "^", ":", "%%", "%/%"})
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
KNOWN_OPERATORS = ARITHMETIC | COMPARISONS | {"%in%", "&", "|", "||"}


def value(node: ir.Expression, report: Report, function: str = "") -> ir.Expression:
    """Check that an expression's value is a column.

    Args:
      node: the expression; its depth is limited, so that recursion is safe.
      report: collects mistakes.
      function: the innermost call around it, which decides what a bar means; "" at the top.
    Returns:
      The expression; meaningless where `report` got a mistake.
    """
    if node.depth > MAX_NESTING:
        report.error("too_deep", node.span, limit=str(MAX_NESTING))
    elif height(node) > MAX_HEIGHT:
        report.error("too_long", node.span, limit=str(MAX_HEIGHT))
    else:
        check(node, report, function)
    return node


def values(call: ir.Call, report: Report) -> ir.Call:
    """Check the arguments of a call, of which there may be none, and return it."""
    for argument in call.arguments:
        value(argument.value, report, call.function)
    return call


def height(node: ir.Expression) -> int:
    """Return how many operations and calls of an expression are nested, each step of a chain counted."""
    count, level = -1, [node]
    while level:
        count, level = count + 1, [each for above in level for each in ir.inside(above)]
    return count


def check(node: ir.Expression, report: Report, function: str) -> None:
    """Check an expression, or a part of it, whose size has been checked."""
    match node:
        case ir.Dot():
            report.error("dot_in_call", node.span)
        case ir.Constant(value=str(word)):
            report.error("missing_constant", node.span, word=word)
        case ir.Call():
            check_call(node, report)
            for argument in node.arguments:
                check(argument.value, report, node.function)
        case ir.Operation():
            check_operators(node, report, function)
            for operand in node.chained():
                check(operand, report, function)


def check_call(node: ir.Call, report: Report) -> None:
    """Note a call that is not of a function of columns: of a covariance structure, or an offset."""
    if node.function == "offset":
        report.error("offset_in_operator", node.span)
    elif not node.arguments:
        report.error("empty_call", node.span, function=node.function)
    elif node.function in ONLY_STRUCTURES and not any(map(has_bar, node.arguments)):
        report.error("structure_without_bar", node.span, function=node.function)


def has_bar(argument: ir.Argument) -> bool:
    """Whether an argument is a bar expression, in parentheses or not."""
    return ir.is_bar(ir.bare(argument.value))


def check_operators(node: ir.Operation, report: Report, function: str) -> None:
    """Note operators of a chain that have no meaning between columns."""
    for step in node.chain() if ir.is_binary(node) else ():
        operator, place = step.operator, step.place
        if ir.is_bar(step) and not is_logical_or(node, operator, function):
            if operator == "||" and function in VALUE_FUNCTIONS:
                report.error("double_bar_in_call", place, function=function)
            else:
                report.error("bar_in_call", place, function=function, cure=bar_cure(function))
            break
        if operator in COMPARISONS and ir.ends_in_negation(step.operands[0]):
            # In a == !b == c the negation has taken the first comparison; R refuses the second.
            report.error("chained_comparison", place)
        elif operator == "&&":
            report.error("scalar_and", place)
        elif operator not in KNOWN_OPERATORS:
            report.error("unknown_operator", place, operator=operator)


def is_logical_or(node: ir.Operation, operator: str, function: str) -> bool:
    """Whether a bar is the logical or of two columns: I(1 | g) is a misplaced random-effects term."""
    return (
        function in VALUE_FUNCTIONS
        and operator == "|"
        and not (function == "I" and any(map(is_numeric, node.chained())))
    )


def is_numeric(node: ir.Expression) -> bool:
    """Whether a node is a number or arithmetic, which no logical operand is."""
    node = ir.bare(node)
    if ir.is_binary(node):
        return node.chain()[0].operator in ARITHMETIC
    return is_number(node) or ir.is_sign(node)


def is_number(node: ir.Expression) -> bool:
    """Whether a node is a finite number."""
    return isinstance(node, ir.Number) and math.isfinite(node.value)


def bar_cure(function: str) -> str:
    """Say what to write instead of f(x | g)."""
    if function in OF_MMRM:
        return f"{OF_MMRM[function]}. One variance for all have homcs, ar1 and homtoep."
    similar = get_close_matches(function, STRUCTURES, n=1)
    if similar:
        return f"Did you mean {similar[0]}(x | g)?"
    if function in VALUE_FUNCTIONS:
        return "Write the random-effects term outside: + (x | g)"
    known = ", ".join(sorted(STRUCTURES))
    return f"Is a '+' missing before the '('? Structures are {known}."
