"""The expressions that a formula is made of."""

from __future__ import annotations

from collections.abc import Iterator

from lmeformula.formula import ir
from lmeformula.formula.formula import Formula


def expressions(formula: Formula) -> Iterator[ir.Expression]:
    """All expressions of a formula: its response, its variables and its offsets."""
    if formula.response is not None:
        response = formula.response
        yield from (
            e for e in (response.expression, response.trials, response.weights) if e is not None
        )
    yield from predictors(formula)
    yield from formula.fixed.offsets


def predictors(formula: Formula) -> Iterator[ir.Expression]:
    """The variables of the fixed part and of the random-effects terms, and the weights of their members."""
    for terms in (formula.fixed.sum, *(term.columns for term in formula.random)):
        yield from dict.fromkeys(terms.variables)
    yield from dict.fromkeys(weight for term in formula.random for weight in term.group.weights)
