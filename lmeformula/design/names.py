"""Second stage, before anything is computed: is every name of the formula a column or a function?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lmeformula.design.evaluate import Scope, missing_function
from lmeformula.design.frame import missing_column
from lmeformula.design.functions import CONSTANTS, FUNCTIONS
from lmeformula.errors import FormulaDataError, NamesNotFoundError
from lmeformula.formula.ir import Call, Column, Expression, Operation, Span


def check_names(
    expressions: Iterable[Expression], groups: Iterable[tuple[str, Span | None]], scope: Scope
) -> None:
    """Look up every name at once, so that all unknown ones are reported together.

    Args:
      expressions: the variables of the formula.
      groups: the columns of grouping factors, and where the formula has them.
      scope: the data and the functions.
    Raises:
      ColumnNotFoundError, FunctionNotFoundError: if one name is unknown.
      NamesNotFoundError: if several are; in the order of the text.
    """
    errors: dict[str, FormulaDataError] = {}
    for expression in expressions:
        for node in _walk(expression):
            if isinstance(node, Column):
                # A constant has its meaning inside a call; as a term it is a column like any other.
                is_constant = node.name in CONSTANTS and node is not expression
                if node.name not in scope.frame.positions and not is_constant:
                    error = missing_column(scope.frame, node.name, node.span)
                    errors.setdefault(node.name, error)
            elif node.function not in FUNCTIONS and node.function not in scope.functions:
                errors.setdefault(f"{node.function}()", missing_function(node, scope))
    for name, span in groups:
        if name not in scope.frame.positions:
            errors.setdefault(name, missing_column(scope.frame, name, span))
    found = sorted(errors.values(), key=lambda error: error.span or (0, 0))
    if found:
        raise found[0] if len(found) == 1 else NamesNotFoundError(found)


def _walk(expression: Expression) -> Iterator[Column | Call]:
    """Go through the columns and calls of an expression; a long chain of operators does not nest."""
    left = [expression]
    while left:
        node = left.pop()
        if isinstance(node, Column | Call):
            yield node
        if isinstance(node, Call):
            left += [argument.value for argument in node.arguments]
        elif isinstance(node, Operation):
            left += node.operands
