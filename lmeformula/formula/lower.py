"""A formula as written to its meaning: an ordered tuple of small passes, then the pieces frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from lmeformula.formula import ir
from lmeformula.formula.checks import check_formula
from lmeformula.formula.expression import value
from lmeformula.formula.formula import Formula
from lmeformula.formula.groups import expand_groups
from lmeformula.formula.kinds import USUAL_RANK
from lmeformula.formula.links import check_labels
from lmeformula.formula.mistakes import Report
from lmeformula.formula.reserved import STRUCTURES
from lmeformula.formula.response import read_response
from lmeformula.formula.separate import addends_text, separate
from lmeformula.formula.show import expression_text
from lmeformula.formula.terms import evaluate
from lmeformula.formula.written import Bar, Separated, Sides, addends_of

Pass: TypeAlias = Callable[[Separated, Report], Separated]


def lower(tree: Sides, text: str, double_bar: str = "split", *, closed: bool = True) -> Formula:
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


def split_double_bars(model: Separated, report: Report) -> Separated:
    """Rewrite (x || g) as (1 | g) + (0 + x | g): one term for each TERM before the bar, as lme4 does."""
    bars: list[Bar] = []
    for bar in model.random:
        bars += split(bar, report) if bar.is_double else [bar]
    return replace(model, random=tuple(bars))


def split(bar: Bar, report: Report) -> list[Bar]:
    """Split one term; the levels of a factor stay together, and so stay correlated."""
    columns = columns_of(bar, report)
    if columns is None:
        return []
    lefts = [ir.TermSum(True, ())] if columns.intercept else []
    lefts += [ir.TermSum(False, (term,)) for term in columns.terms]
    return [replace(bar, left=left, is_double=False, was_split=True) for left in lefts]


def diagonal_double_bars(model: Separated, report: Report) -> Separated:
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


def freeze(model: Separated, report: Report) -> Formula:
    """Make the IR of a model whose bars are single and whose groups are single factors."""
    response = None if model.response is None else read_response(model.response, report)
    terms = evaluate(model.fixed, report)
    offsets: dict[ir.Expression, None] = {}
    for call in model.offsets:
        offset = value(call.arguments[0].value, report, "offset")
        if offset in offsets:
            report.warn("duplicate_term", call.span, name=expression_text(call))
        offsets[offset] = None
    template = addends_text(model.fixed) if terms.uses_dot else ""
    fixed = ir.FixedPart(terms.sum, tuple(offsets), template)
    random = tuple(term for bar in model.random for term in random_terms(bar, report))
    formula = Formula(response, fixed, random, report.text)
    if not report.errors:
        check_formula(formula, terms.variables, report)
    return replace(formula, diagnostics=tuple(report.warnings))


def random_terms(bar: Bar, report: Report) -> list[ir.RandomTerm]:
    """Freeze a random-effects term; an empty list after a mistake."""
    columns = columns_of(bar, report)
    covariance = covariance_of(bar)
    if columns is None or report.errors:
        return []
    assert isinstance(bar.group, ir.GroupingFactor)
    return [ir.RandomTerm(columns, bar.group, covariance, bar.label, bar.was_split, bar.span)]


def columns_of(bar: Bar, report: Report) -> ir.TermSum | None:
    """Return what a term has before the bar; None after a mistake, such as what ar1() cannot order in time."""
    if isinstance(bar.left, ir.TermSum):
        return bar.left
    num_errors = len(report.errors)
    columns = evaluate(addends_of(bar.left), report, is_random=True).sum
    if len(report.errors) > num_errors:
        return None
    if not columns.intercept and not columns.terms:
        report.error("no_coefficient", bar.span)
        return None
    structure = STRUCTURES[bar.structure]
    if (structure.is_over_time or structure.takes_matrix) and (
        columns.intercept or [len(term.variables) for term in columns.terms] != [1]
    ):
        mistake = "structure_columns" if structure.is_over_time else "structure_levels"
        report.error(mistake, bar.left.span, function=bar.structure)
        return None
    most = structure.most_coordinates or len(columns.terms)
    if structure.has_positions and (
        columns.intercept
        or any(len(term.variables) > 1 for term in columns.terms)
        or len(columns.terms) > most
    ):
        many = "one coordinate" if structure.most_coordinates == 1 else "coordinates"
        example = (
            f"{bar.structure}(0 + t | g)"
            if many.startswith("one")
            else f"{bar.structure}(0 + x + y | g)"
        )
        report.error(
            "structure_positions", bar.left.span, function=bar.structure, many=many, example=example
        )
        return None
    return columns


def covariance_of(bar: Bar) -> ir.Covariance:
    """Return a term's covariance."""
    structure = STRUCTURES[bar.structure]
    homogeneous = structure.homogeneous if bar.homogeneous is None else bar.homogeneous
    rank = (bar.rank or USUAL_RANK) if structure.takes_rank else 0
    return ir.Covariance(structure.kind, homogeneous, rank, bar.matrix)
