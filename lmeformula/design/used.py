"""Which columns of the data a formula mentions, before any of them is read."""

from __future__ import annotations

from collections.abc import Iterator

from lmeformula.design.evaluate import data_columns
from lmeformula.formula import expand_dot
from lmeformula.formula.dot import columns_of_response, grouping_columns
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import Expression
from lmeformula.formula.parts import expressions
from lmeformula.formula.several_formulas import formulas_of


def columns_used(formula: Formula, columns: tuple[str, ...]) -> tuple[str, ...]:
    """List the columns that a formula mentions, of all its predictors.

    Args:
      formula: with "." or without.
      columns: all that the data has, which "." stands for.
    Returns:
      Those of them that the formula mentions, each once.
    Example:
      >>> from lmeformula.formula import parse
      >>> columns_used(parse("log(y) ~ x * a + (1 + x | g/h)"), ("y", "x", "z", "a", "g", "h"))
      ('y', 'x', 'a', 'g', 'h')
    """
    known = frozenset(columns)
    expanded = expand_dot(formula, columns) if formula.fixed.template else formula
    named = [name for _, part in formulas_of(expanded) for name in _mentioned(part)]
    return tuple(dict.fromkeys(name for name in named if name in known))


def _mentioned(formula: Formula) -> Iterator[str]:
    yield from columns_of_response(formula.response)
    others: list[Expression] = list(expressions(formula))
    for term in formula.random:
        others += [] if term.group.reserved is None else [term.group.reserved]
        others += [option.value for option in term.covariance.options]
    yield from (column.name for expression in others for column in data_columns(expression))
    yield from grouping_columns(formula)
