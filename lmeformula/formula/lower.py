"""Syntax tree to IR: an ordered tuple of small passes, then the pieces frozen into a Formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from lmeformula.formula import ast, ir
from lmeformula.formula.checks import check_formula
from lmeformula.formula.expression import value
from lmeformula.formula.formula import Formula
from lmeformula.formula.groups import expand_groups
from lmeformula.formula.links import check_labels
from lmeformula.formula.mistakes import Report
from lmeformula.formula.parts import addends_of, joined, separate
from lmeformula.formula.reserved import STRUCTURES
from lmeformula.formula.response import arguments_of, read_response
from lmeformula.formula.show import call_text
from lmeformula.formula.terms import Sum, evaluate

Pass: TypeAlias = Callable[[ast.Model, Report], ast.Model]


def lower(
    tree: ast.Formula, text: str, double_bar: str = "split", *, closed: bool = True
) -> Formula:
    """Apply the passes in order, then freeze.

    Args:
      tree: the formula as written.
      text: its text, for messages.
      double_bar: "split" or "diag", what (x || g) means.
      closed: whether labels (x |ID| g) link terms of this formula alone, and not of others beside it.
    Returns:
      The formula's meaning.
    Raises:
      FormulaSyntaxError: for a mistake; FormulaErrors: for several.
    """
    report = Report(text)
    model = separate(tree, report)
    for rewrite in DIAGONAL_PASSES if double_bar == "diag" else PASSES:
        if closed or rewrite is not check_labels:
            model = rewrite(model, report)
    formula = freeze(model, report)
    report.raise_errors()
    return formula


def split_double_bars(model: ast.Model, report: Report) -> ast.Model:
    """Rewrite (x || g) as (1 | g) + (0 + x | g): one term for each TERM before the bar, as lme4 does."""
    bars: list[ast.Bar] = []
    for bar in model.random:
        bars += split(bar, report) if bar.is_double else [bar]
    return replace(model, random=tuple(bars))


def split(bar: ast.Bar, report: Report) -> list[ast.Bar]:
    """Split one term; the levels of a factor stay together, and so stay correlated."""
    num_errors = len(report.errors)
    terms = evaluate(addends_of(bar.left), report, is_random=True)
    if len(report.errors) > num_errors:
        return []
    lefts: list[ast.Node] = [ast.Number(1, bar.left.span)] if terms.intercept else []
    for product in terms.products:
        variables = tuple(terms.nodes[number] for number in product)
        spans = (bar.left.span,) * len(product)
        node = (
            variables[0]
            if len(product) == 1
            else ast.Chain((":",) * (len(product) - 1), variables, spans)
        )
        lefts.append(ast.Chain(("+",), (ast.Number(0, bar.left.span), node), spans[:1]))
    if not lefts:
        report.error("no_coefficient", bar.span)
    return [replace(bar, left=left, is_double=False, was_split=True) for left in lefts]


def diagonal_double_bars(model: ast.Model, report: Report) -> ast.Model:
    """Rewrite (x || g) as diag(x | g): independent columns, as glmmTMB, brms and lme4 2 can do."""
    del report
    bars = (
        replace(bar, is_double=False, structure="diag") if bar.is_double else bar
        for bar in model.random
    )
    return replace(model, random=tuple(bars))


PASSES: tuple[Pass, ...] = (
    check_labels,       # (e |ID| g): linked to another term with the same group
    split_double_bars,  # (x || g)   -> (1 | g) + (0 + x | g)
    expand_groups,      # (1 | a/b)  -> (1 | a) + (1 | b:a)
)  # fmt: skip
DIAGONAL_PASSES: tuple[Pass, ...] = (check_labels, diagonal_double_bars, expand_groups)


# ---- freezing -------------------------------------------------------------------------------------------


def freeze(model: ast.Model, report: Report) -> Formula:
    """Make the IR of a model whose bars are single and whose groups are single factors."""
    response = None if model.response is None else read_response(model.response, report)
    terms = evaluate(model.fixed, report)
    offsets: dict[ir.Expression, None] = {}
    for call in model.offsets:
        offset = value(call.arguments[0].value, report, "offset")
        if offset in offsets:
            report.warn(
                "duplicate_term",
                call.span,
                name=call_text(ir.Call("offset", (ir.Argument(offset),))),
            )
        offsets[offset] = None
    template = joined(model.fixed) if terms.uses_dot else ""
    fixed = ir.FixedPart(terms.to_ir(), tuple(offsets), template)
    random = tuple(term for bar in model.random for term in random_terms(bar, report))
    formula = Formula(response, fixed, random, report.text)
    if not report.errors:
        check_formula(formula, terms.variables, report)
    return replace(formula, diagnostics=tuple(report.warnings))


def random_terms(bar: ast.Bar, report: Report) -> list[ir.RandomTerm]:
    """Freeze a random-effects term; an empty list after a mistake."""
    num_errors = len(report.errors)
    terms = evaluate(addends_of(bar.left), report, is_random=True)
    if len(report.errors) == num_errors:
        check_columns(bar, terms, report)
    covariance = covariance_of(bar, report)
    group = group_of(bar.group, report)
    if len(report.errors) > num_errors:
        return []
    columns = terms.to_ir()
    return [ir.RandomTerm(columns, group, covariance, bar.label, bar.was_split, bar.span)]


def check_columns(bar: ast.Bar, terms: Sum, report: Report) -> None:
    """Note a term without a coefficient, and what ar1() cannot order in time."""
    if not terms.intercept and not terms.products:
        report.error("no_coefficient", bar.span)
    elif STRUCTURES[bar.structure].is_over_time and (
        terms.intercept or [len(product) for product in terms.products] != [1]
    ):
        report.error("structure_columns", bar.left.span)


def covariance_of(bar: ast.Bar, report: Report) -> ir.Covariance:
    """Return a term's covariance."""
    structure = STRUCTURES[bar.structure]
    options = tuple(
        ir.Argument(value(option.value, report, bar.structure), option.name)
        for option in bar.options
    )
    homogeneous = structure.homogeneous if bar.homogeneous is None else bar.homogeneous
    return ir.Covariance(structure.kind, homogeneous, options)


def group_of(node: ast.Node, report: Report) -> ir.GroupingFactor:
    """Return a grouping factor; a reserved call is named by its text after an "@".

    Of brms's arguments of gr() the distribution of the effects is ours as well.
    """
    if isinstance(node, ast.Call):
        call = ir.Call(node.function, arguments_of(node, report), node.span)
        match call.arguments:
            case (
                ir.Argument(ir.Column(name), ""),
                ir.Argument(ir.Text("gaussian" | "student" as distribution), "dist"),
            ) if node.function == "gr":
                return ir.GroupingFactor((name,), None, distribution, node.span)
        return ir.GroupingFactor(("@" + call_text(call),), call, span=node.span)
    names = node.operands if isinstance(node, ast.Chain) else (node,)
    texts = tuple(name.text for name in names if isinstance(name, ast.Name))
    return ir.GroupingFactor(texts, span=node.span)
