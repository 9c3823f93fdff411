"""Second stage: evaluate everything the formula uses, and decide which rows are complete."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np

from lmeformula.arrays import Ints
from lmeformula.design.evaluate import Scope, data_columns, evaluate_column
from lmeformula.design.frame import column_of
from lmeformula.design.labels import label
from lmeformula.design.names import check_names
from lmeformula.design.response import response_parts
from lmeformula.design.smooths import SmoothColumns, smooth_columns
from lmeformula.design.values import (
    Categories,
    Coding,
    Column,
    Logicals,
    Numbers,
    categories,
    drop_unused,
    in_files,
    listed,
    missing,
    recode,
    take,
)
from lmeformula.errors import FormulaDataError, placed
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import Call, Expression
from lmeformula.formula.reserved import RESERVED_FUNCTIONS
from lmeformula.formula.smooths import effect_groups, is_smooth, smooths_of


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """Everything a formula uses, on all rows of the data.

    Attributes:
      predictors: the variables of the fixed part and of the random-effects terms.
      response: the parts of the response: values, trials, weights.
      offsets: the offsets of the formula.
      groups: the columns of the grouping factors, by name.
      smooths: the variables of the smooths, whose columns come after the rows are settled.
    """

    predictors: Mapping[Expression, Column]
    response: Mapping[Expression, Column]
    offsets: Mapping[Expression, Column]
    groups: Mapping[str, Categories]
    smooths: Mapping[Call, SmoothColumns] = field(default_factory=dict)

    def columns(self) -> list[Column]:
        """List all of them."""
        parts = (self.predictors, self.response, self.offsets, self.groups)
        found = [column for part in parts for column in part.values()]
        for smooth in self.smooths.values():
            found += [*smooth.variables, *([] if smooth.by is None else [smooth.by])]
        return found


def evaluate_formula(
    formula: Formula,
    scope: Scope,
    *,
    with_response: bool,
    with_groups: bool,
    with_sizes: bool = False,
) -> Evaluated:
    """Evaluate the variables in R's order: on all rows, before any row is left out.

    Args:
      formula: with "." expanded and reserved terms removed.
      scope: the data and the functions.
      with_response: whether the response is needed.
      with_groups: whether the random-effects terms are needed.
      with_sizes: whether the numbers of trials and the weights are needed, without the response itself.
    Returns:
      The values on all rows.
    Raises:
      FormulaDataError: for a column, function or value that does not fit the formula.
    """
    parts: list[Expression | None] = []
    if with_response and formula.response is not None:
        found = response_parts(formula.response)
        parts = [found.values, found.trials, formula.response.weights]
    elif with_sizes and formula.response is not None:
        parts = [response_parts(formula.response).trials, formula.response.weights]
    random = formula.random if with_groups else ()
    sums = [formula.fixed.sum, *(term.columns for term in random)]
    response_variables = [part for part in parts if part is not None]
    variables = dict.fromkeys(v for terms in sums for v in terms.variables if not is_smooth(v))
    variables |= dict.fromkeys(weight for term in random for weight in term.group.weights)
    grouping = [
        (name, group.span)
        for group in (effect_groups(formula) if with_groups else ())
        for name in (*group_columns(group.names, group.reserved), group.by)
        if name
    ]
    # The factors of smooths are not needed where groups are not, and the others are.
    smooths = smooths_of(formula)
    inside = (
        variable
        for smooth in smooths
        for variable in (*smooth.variables, smooth.by)
        if variable is not None and variable is not smooth.group
    )
    check_names(
        chain(response_variables, variables, inside, formula.fixed.offsets), grouping, scope
    )
    sizes = parts[-2:]
    response = {
        variable: _evaluated(variable, scope, may_be_constant=variable in sizes)
        for variable in response_variables
    }
    predictors = {variable: _evaluated(variable, scope) for variable in variables}
    offsets = {offset: _evaluated(offset, scope) for offset in formula.fixed.offsets}
    for offset, column in offsets.items():
        if not isinstance(column, Numbers) or column.values.ndim != 1:
            raise FormulaDataError(
                f"the offset '{label(offset)}' must be numeric",
                "E_OFFSET_TYPE",
                span=offset.span,
                hint="An offset is added to the linear predictor with the coefficient 1.",
            )
    groups = {}
    for name, span in grouping:
        if name not in groups:
            with placed(span=span):
                groups[name] = categories(column_of(scope.frame, name))
    return Evaluated(predictors, response, offsets, groups, smooth_columns(formula, scope))


def _evaluated(variable: Expression, scope: Scope, *, may_be_constant: bool = False) -> Column:
    """A variable's values, which are kept where the columns of the data are."""
    column = evaluate_column(variable, scope, may_be_constant=may_be_constant)
    return in_files(column) if scope.frame.in_files else column


def group_columns(names: tuple[str, ...], reserved: Call | None) -> tuple[str, ...]:
    """List the columns of a grouping factor; for a reserved one such as gr(g, id = a), those of its call."""
    if reserved is None:
        return names
    plain = [a.value for a in reserved.arguments if not a.name]
    return tuple(dict.fromkeys(c.name for value in plain for c in data_columns(value)))


def is_reserved(expression: Expression, functions: Container[str]) -> bool:
    """Tell whether this is another package's syntax, unless the caller has a function of this name."""
    return (
        isinstance(expression, Call)
        and expression.function in RESERVED_FUNCTIONS
        and expression.function not in functions
    )


def complete_rows(columns: list[Column], num_rows: int) -> Ints | None:
    """Find the rows where nothing is missing; None when that is all of them."""
    keep = np.ones(num_rows, dtype=bool)
    for column in columns:
        keep &= ~missing(column)
    return None if keep.all() else np.flatnonzero(keep)


def on_rows(columns: Mapping[Expression, Column], rows: Ints | None) -> dict[Expression, Column]:
    """Restrict columns to the rows used, or None for all.

    Raises:
      FormulaDataError: if a number is infinite.
    """
    restricted = {expression: take(column, rows) for expression, column in columns.items()}
    for expression, column in restricted.items():
        check_finite(column, expression)
    return restricted


def predictors_on(
    columns: Mapping[Expression, Column],
    rows: Ints | None,
    known: Mapping[Expression, Categories],
    codings: Mapping[str, Coding],
) -> dict[Expression, Column]:
    """Restrict predictors to the rows used and settle their levels.

    Args:
      columns: their values on all rows.
      rows: the complete rows, or None for all.
      known: for new rows, the factors of the data of the fit (without rows).
      codings: the caller's contrasts, by the variables' names.
    Returns:
      Finite numbers, or factors of at least two levels of which none is unused.
    Raises:
      FormulaDataError: if a number is infinite, a factor has one level, or new rows have a level that the data
        of the fit did not have.
    """
    return {
        expression: _predictor(
            expression, take(column, rows), known.get(expression), codings.get(label(expression))
        )
        for expression, column in columns.items()
    }


def _predictor(
    expression: Expression, column: Column, known: Categories | None, coding: Coding | None
) -> Column:
    if isinstance(column, Numbers):
        check_finite(column, expression)
        return column
    factor = categories(column)
    if known is not None:
        codes, unknown = recode(factor, known.levels)
        if unknown:
            raise FormulaDataError(
                f"'{label(expression)}' has levels that the data of the fit did not have: "
                f"{listed(unknown)}",
                span=expression.span,
                hint=f"Known are {listed(known.levels)}. Only grouping factors may have new levels.",
            )
        return replace(known, codes=codes)
    factor = drop_unused(factor if coding is None else replace(factor, coding=coding))
    if len(factor.levels) < 2:
        shown = f", {factor.levels[0]!r}" if factor.levels else ""
        raise FormulaDataError(
            f"the factor '{label(expression)}' has only one level{shown} in the rows used",
            "E_CONTRASTS_ONE_LEVEL",
            span=expression.span,
            hint="Its effect cannot be told from the intercept: leave it out.",
        )
    from lmeformula.design.coding import check_coding

    with placed(span=expression.span):
        check_coding(label(expression), factor)
    return factor


def check_finite(column: Column, expression: Expression) -> None:
    """Refuse infinite values.

    Raises:
      FormulaDataError: that names the variable and counts the rows.
    """
    if not isinstance(column, Numbers | Logicals) or column.values.dtype.kind != "f":
        return
    infinite = np.isinf(column.values)
    count = int(np.sum(infinite if infinite.ndim == 1 else infinite.any(axis=1)))
    if count:
        raise FormulaDataError(
            f"'{label(expression)}' is infinite in {count} {'row' if count == 1 else 'rows'}",
            span=expression.span,
            hint="Leave these rows out or mark them missing; log(0) is a frequent cause.",
        )


def no_rows(evaluated: Sequence[Evaluated], text: str) -> FormulaDataError:
    """What is said where no row has all variables of a formula (`text`)."""
    named: list[tuple[str, Column]] = []
    for values in evaluated:
        parts = (values.response, values.predictors, values.offsets)
        named += [(label(e), column) for part in parts for e, column in part.items()]
        named += list(values.groups.items())
    named = list(dict(named).items())
    empty = [name for name, column in named if missing(column).all()]
    worst = ", ".join(
        f"{name} ({int(missing(column).sum())})" for name, column in named if missing(column).any()
    )
    return FormulaDataError(
        f"no row is complete: {', '.join(empty)} has no values at all"
        if empty
        else "no row is complete: every row misses some variable",
        hint=(f"Missing values: {worst}. " if worst else "")
        + "Leave the emptiest of these variables out of the formula, or fill their values in.",
    )
