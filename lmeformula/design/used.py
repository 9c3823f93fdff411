"""Which columns of the data a formula mentions, before any of them is read."""

from __future__ import annotations

from collections.abc import Iterator

from lmeformula.design.evaluate import data_columns
from lmeformula.formula import expand_dot
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import Expression
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
    for expression in _expressions(formula):
        yield from (column.name for column in data_columns(expression))
    for term in formula.random:
        yield from term.group.names


def _expressions(formula: Formula) -> Iterator[Expression]:
    if (response := formula.response) is not None:
        yield response.expression
        yield from (each for each in (response.trials, response.weights) if each is not None)
        yield from response.reserved
    for terms in (formula.fixed.sum, *(term.columns for term in formula.random)):
        for each in terms.terms:
            yield from each.variables
    yield from formula.fixed.offsets
    for term in formula.random:
        if term.group.reserved is not None:
            yield term.group.reserved
        yield from (option.value for option in term.covariance.options)
