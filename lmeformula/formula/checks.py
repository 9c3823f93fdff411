"""Last pass: what only shows when the whole formula is known, as errors and as warnings."""

from __future__ import annotations

from lmeformula.formula import ir
from lmeformula.formula.kinds import KINDS
from lmeformula.formula.mistakes import Report
from lmeformula.formula.show import expression_text, group_text, name_text, term_text
from lmeformula.formula.smooths import is_smooth, read_smooth


def check_formula(
    formula: ir.FormulaRecord, fixed_variables: tuple[ir.Expression, ...], report: Report
) -> None:
    """Check a formula as a whole.

    Args:
      formula: the frozen formula.
      fixed_variables: the variables of the fixed part, those that were taken away again included.
      report: collects mistakes and warnings.
    """
    check_response_on_right(formula, report)
    check_smooths(formula, report)
    if formula.fixed.template:
        check_dot(formula, fixed_variables, report)
    check_random_terms(formula, report)


def check_response_on_right(formula: ir.FormulaRecord, report: Report) -> None:
    """Note the response where it is also an explanatory variable."""
    if formula.response is None:
        return
    response = formula.response.expression
    name = expression_text(response)
    weights = [term.group.weights for term in formula.random]
    sums = [formula.fixed.sum, *(term.columns for term in formula.random)]
    for variables in (*(columns.variables for columns in sums), *weights):
        for variable in variables:
            if variable == response:
                report.error("response_on_right", variable.span, name=name)
    for random in formula.random:
        named = (*random.group.names, random.group.by)
        if isinstance(response, ir.Column) and response.name in named:
            report.error("response_on_right", random.group.span, name=name)


def check_smooths(formula: ir.FormulaRecord, report: Report) -> None:
    """Read the smooths, and note those that are no term of their own."""
    alone = set()
    for term in formula.fixed.sum.terms:
        found = [variable for variable in term.variables if is_smooth(variable)]
        if len(term.variables) > 1 and found:
            text = expression_text(found[0])
            report.error("smooth_in_product", found[0].span, text=text)
            return
        for call in found:
            alone.add(id(call))
            assert isinstance(call, ir.Call)
            read_smooth(call, report)
    response = formula.response
    parts = () if response is None else (response.expression, response.trials, response.weights)
    groups = [term.columns.variables for term in formula.random]
    for expressions in (parts, formula.fixed.sum.variables, formula.fixed.offsets, *groups):
        for expression in expressions:
            for node in () if expression is None else ir.walk(expression):
                if is_smooth(node) and id(node) not in alone:
                    report.error("smooth_inside", node.span, text=expression_text(node))


def check_dot(
    formula: ir.FormulaRecord, fixed_variables: tuple[ir.Expression, ...], report: Report
) -> None:
    """Note computed variables beside "."."""
    variables = [*fixed_variables, *(v for term in formula.random for v in term.columns.variables)]
    computed = [variable for variable in variables if isinstance(variable, ir.Call)]
    response = () if formula.response is None else (formula.response.expression,)
    computed_response = (each for each in response if not isinstance(each, ir.Column))
    for expression in (*computed, *computed_response, *formula.fixed.offsets):
        report.error("dot_with_transform", expression.span)


def check_random_terms(formula: ir.FormulaRecord, report: Report) -> None:
    """Warn of variance components that cannot be told apart."""
    seen: set[tuple[frozenset[str], str, str]] = set()
    spelling: dict[frozenset[str], str] = {}
    for random in formula.random:
        factor, group = frozenset(random.group.key), group_text(random.group)
        known = spelling.setdefault(factor, group)
        if known != group and not random.block:
            report.warn("aliased_group", random.span, first=known, second=group)
        # Beside a few factors, or what is known, there may be variances of each column's own.
        kind = KINDS[random.covariance.kind]
        beside = kind.name if kind.takes_rank or kind.takes_matrix else ""
        columns = ["the intercept"] if random.columns.intercept else []
        columns += map(term_text, random.columns.terms)
        for column in columns:
            if (factor, column, beside) in seen:
                report.warn("duplicate_random", random.span, name=column, group=known)
            seen.add((factor, column, beside))
        for variable in random.columns.variables:
            if isinstance(variable, ir.Column) and variable.name in factor:
                report.warn("same_on_both_sides", random.span, name=name_text(variable.name))
