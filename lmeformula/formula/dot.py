"""The "." of a fixed part, once the columns of the data are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lmeformula.formula import ir
from lmeformula.formula.formula import Formula
from lmeformula.formula.grammar import read_tree
from lmeformula.formula.mistakes import Report
from lmeformula.formula.show import name_text
from lmeformula.formula.terms import evaluate
from lmeformula.formula.written import addends_of


def expand_dot(formula: Formula, columns: Sequence[str]) -> Formula:
    """Replace "." by the columns of the data that are not part of the response.

    As in lme4 the grouping factors are among them, which a diagnostic points out.

    Args:
      formula: any formula.
      columns: the names of the data's columns, in order.
    Returns:
      formula: the same without "."; unchanged where it has none.
    Raises:
      FormulaSyntaxError: when the powers or products of so many columns make too many terms.
    Example:
      >>> from lmeformula.formula import parse
      >>> str(expand_dot(parse("y ~ . - g + (1 | g)"), ["g", "x", "y", "z"]))
      'y ~ 1 + x + z + (1 | g)'
    """
    if not formula.fixed.template:
        return formula
    in_response = set(columns_of_response(formula.response))
    names = tuple(name for name in columns if name not in in_response)
    text = "~ " + formula.fixed.template
    tree = read_tree(text)
    report = Report(text)
    terms = evaluate(addends_of(tree.right), report, columns=names).sum
    report.raise_errors()
    # Places in the template are not places in the user's text.
    plain = tuple(ir.Term(tuple(map(without_place, term.variables))) for term in terms.terms)
    fixed = ir.FixedPart(ir.TermSum(terms.intercept, plain), formula.fixed.offsets)
    for name in grouping_columns(formula):
        if ir.Term((ir.Column(name),)) in plain:
            report.warn("dot_includes_group", None, name=name_text(name))
    diagnostics = formula.diagnostics + tuple(report.warnings)
    return replace(formula, fixed=fixed, diagnostics=diagnostics)


def without_place(variable: ir.Expression) -> ir.Expression:
    """Return a variable without its place; beside "." every variable is a column."""
    return ir.Column(variable.name) if isinstance(variable, ir.Column) else variable


def grouping_columns(formula: Formula) -> Iterator[str]:
    """Yield the columns that grouping factors are made of, each once."""
    groups = [term.group for term in formula.random]
    names = [name for group in groups for name in (*group.names, group.by) if name]
    yield from dict.fromkeys(names)


def columns_of_response(response: ir.Response | None) -> Iterator[str]:
    """Yield the columns that a response uses, trials and weights included."""
    if response is None:
        return
    further = (response.trials, response.weights, *response.reserved)
    for expression in (response.expression, *(each for each in further if each is not None)):
        yield from (node.name for node in ir.walk(expression) if isinstance(node, ir.Column))
