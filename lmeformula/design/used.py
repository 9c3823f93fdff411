"""Which columns of the data a formula mentions, before any of them is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lmeformula.design.design import Design
from lmeformula.design.evaluate import data_columns
from lmeformula.design.functions import FUNCTIONS
from lmeformula.formula import expand_dot
from lmeformula.formula.dot import columns_of_response, grouping_columns
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import Call, Expression, walk
from lmeformula.formula.parts import expressions
from lmeformula.formula.several_formulas import formulas_of
from lmeformula.rows import RowBytes


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


def columns_mentioned(formula: Formula) -> frozenset[str]:
    """All names of columns in a formula without "."."""
    return frozenset(name for _, part in formulas_of(formula) for name in _mentioned(part))


def row_bytes(formula: Formula) -> RowBytes:
    """What a fit takes for each row of the data, beside their columns: measured, and rounded up.

    Args:
      formula: as it was written; a factor in the fixed part counts as one column, and so does ".".
    Example:
      >>> from lmeformula.formula import parse
      >>> row_bytes(parse("y ~ x + (1 | g) + (1 | h)"))
      RowBytes(in_memory=136.0, with_files=56.0)
    """
    in_memory = with_files = 0.0
    for _, part in formulas_of(formula):
        fixed = len(part.fixed.sum.terms) + part.fixed.sum.intercept
        effects = [len(term.columns.terms) + term.columns.intercept for term in part.random]
        # The design's columns and orthogonal ones; effects' columns, levels, and where they meet.
        in_memory += 16.0 * fixed + 16.0 + sum(8.0 * k + 12.0 for k in effects)
        with_files += sum(8.0 * k for k in effects) / max(len(effects), 1)
        with_files += 8.0 * sum(isinstance(each, Call) for each in expressions(part))
    meetings = 48.0 if sum(len(part.random) for _, part in formulas_of(formula)) > 1 else 0.0
    return RowBytes(in_memory + meetings, with_files + meetings)


def _mentioned(formula: Formula) -> Iterator[str]:
    yield from columns_of_response(formula.response)
    others: list[Expression] = list(expressions(formula))
    for term in formula.random:
        others += [] if term.group.reserved is None else [term.group.reserved]
    yield from (column.name for expression in others for column in data_columns(expression))
    yield from grouping_columns(formula)


def columns_of_new_rows(
    design: Design, columns: tuple[str, ...], given: Sequence[object]
) -> tuple[str, ...]:
    """List the columns that `rebuild` reads of new rows.

    Args:
      design: of the fit's data.
      columns: all that the new data has.
      given: offset, weights and the like, as `rebuild` takes them; those that are names of columns are read.
    """
    recipes = [each.design.recipe for each in design.predictors if each.design.recipe is not None]
    remembered = [name for recipe in recipes for name in (recipe.offset, recipe.weights)]
    named = {each for each in (*given, *remembered) if isinstance(each, str)}
    used = set(columns_used(design.formula, columns)) | named
    return tuple(name for name in columns if name in used)


def looks_at_other_rows(design: Design) -> bool:
    """Whether the formula calls what may give a row another value where other rows stand beside it.

    That is `lag`, and functions of the caller's own, of which nobody knows.
    """
    own = {
        name
        for each in design.predictors
        if each.design.recipe is not None
        for name in each.design.recipe.functions
    }
    beyond = own | {name for name, each in FUNCTIONS.items() if each.is_of_other_rows}
    return any(
        isinstance(node, Call) and node.function in beyond
        for _, part in formulas_of(design.formula)
        for expression in expressions(part)
        for node in walk(expression)
    )
