"""Second stage: the displayed name of a variable."""

from __future__ import annotations

from lmeformula.formula.ir import Column, Expression
from lmeformula.formula.show import expression_text


def label(expression: Expression) -> str:
    """Name a variable: a column by its bare name, anything else by its canonical text.

    Example:
      >>> label(Column("my var"))
      'my var'
    """
    return expression.name if isinstance(expression, Column) else expression_text(expression)
