"""Second stage: the displayed name of a variable, in R's spelling."""

from __future__ import annotations

from lmeformula.formula.ir import (
    Call,
    Column,
    Constant,
    Expression,
    Number,
    Operation,
    Text,
)

_SPACED = frozenset(("+", "-", "*", "==", "!=", "<", "<=", ">", ">=", "&", "|", "%in%"))


def label(expression: Expression) -> str:
    """Spell an expression as a column name does: bare column names, calls as R would print them.

    Example:
      >>> label(Call("log", (Argument(Column("my var")),)))
      'log(my var)'
    """
    match expression:
        case Column():
            return expression.name
        case Number():
            value = expression.value
            return str(int(value)) if value.is_integer() and abs(value) < 1e5 else repr(value)
        case Text():
            return f'"{expression.value}"'
        case Constant():
            return "NULL" if expression.value is None else str(expression.value).upper()
        case Call():
            arguments = ", ".join(
                f"{a.name} = {label(a.value)}" if a.name else label(a.value)
                for a in expression.arguments
            )
            return f"{expression.function}({arguments})"
        case Operation("(", (inner,)):
            return f"({label(inner)})"
        case Operation(operator, (operand,)):
            return f"{operator}{label(operand)}"
        case Operation(operator, (left, right)):
            gap = " " if operator in _SPACED else ""
            return f"{label(left)}{gap}{operator}{gap}{label(right)}"
    return "."
