"""Second stage: the response as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.design import ResponseBlock
from lmeformula.design.labels import label
from lmeformula.design.values import (
    Categories,
    Column,
    Logicals,
    Numbers,
    as_floats,
    describe,
    drop_unused,
    listed,
    recode,
)
from lmeformula.design.warn import warn
from lmeformula.errors import FormulaDataError
from lmeformula.formula.ir import Call, Expression, Response, Span


class ResponseParts(NamedTuple):
    """What is evaluated for a response: its values, and the numbers of trials if there are any."""

    values: Expression
    trials: Expression | None


def response_parts(response: Response) -> ResponseParts:
    """Separate successes from trials; p(y, n) and prop(y, n) are bambi's y | trials(n)."""
    expression = response.expression
    if isinstance(expression, Call) and expression.function in ("p", "prop", "proportion"):
        arguments = tuple(argument.value for argument in expression.arguments)
        if len(arguments) == 2 and response.trials is None:
            return ResponseParts(arguments[0], arguments[1])
    return ResponseParts(expression, response.trials)


def response_block(
    response: Response,
    columns: Mapping[Expression, Column],
    levels: tuple[str, ...] | None,
) -> ResponseBlock:
    """Make arrays of a response.

    Args:
      response: as in the formula.
      columns: the values of its parts on the rows used.
      levels: the categories of the data of the fit, for new rows; None there.
    Returns:
      The block.
    Raises:
      FormulaDataError: if new rows have a category that the data of the fit did not have, or successes and
        trials contradict each other.
    """
    parts = response_parts(response)
    column = columns[parts.values]
    name = label(response.expression)
    trials = None
    if parts.trials is not None:
        trials = _trials(column, columns[parts.trials], name, response.span)
    if isinstance(column, Categories):
        return _categorical(name, column, levels, response.span)
    kind = "logical" if isinstance(column, Logicals) else "numeric"
    values = np.ascontiguousarray(column.values, dtype=np.float64)
    return ResponseBlock(name, "matrix" if values.ndim == 2 else kind, values, (), trials)


def _categorical(
    name: str, column: Categories, levels: tuple[str, ...] | None, span: Span | None
) -> ResponseBlock:
    kind = "ordered" if column.ordered else "categorical"
    if levels is None:
        factor = drop_unused(column)
        if empty := tuple(level for level in column.levels if level not in factor.levels):
            # R's polr and multinom keep or name them; a chance of nothing cannot be told from a small one.
            many = len(empty) > 1
            warn(
                "",
                f"no row has the response {name!r} in the categor{'ies' if many else 'y'} {listed(empty)}: "
                f"{'they are' if many else 'it is'} left out, and the model has no chance of "
                f"{'them' if many else 'it'}. Put it together with a neighbour, or take it out of the column's "
                "categories",
            )
        return ResponseBlock(name, kind, factor.codes.astype(np.float64), factor.levels)
    codes, unknown = recode(column, levels)
    if unknown:
        raise FormulaDataError(
            f"the response '{name}' has categories that the data of the fit did not have: "
            f"{listed(unknown)}",
            span=span,
            hint=f"Known are {listed(levels)}.",
        )
    return ResponseBlock(name, kind, codes.astype(np.float64), levels)


def _trials(successes: Column, column: Column, name: str, span: Span | None) -> Floats:
    if not isinstance(successes, Numbers | Logicals) or successes.values.ndim != 1:
        raise FormulaDataError(
            f"'{name}' must be the number of successes, not {describe(successes)}",
            "E_RESPONSE",
            span=span,
        )
    trials = as_floats(column, "trials()")
    if trials.ndim == 1:
        check_trials(trials, span)
    num_wrong = int(np.sum((successes.values > trials) | (successes.values < 0)))
    if trials.ndim != 1 or num_wrong:
        raise FormulaDataError(
            f"'{name}' is outside 0 to its number of trials in {num_wrong} rows",
            "E_RESPONSE",
            span=span,
            hint="Write successes | trials(number of trials).",
        )
    return trials


def check_trials(trials: Floats, span: Span | None) -> None:
    """Refuse numbers of trials (n,) that are not whole, of the response at `span`.

    Raises:
      FormulaDataError: that shows the first.
    """
    wrong = (trials != np.round(trials)) | (trials < 0)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise FormulaDataError(
            f"the numbers of trials are not whole in {int(wrong.sum()):,} rows; the first of those used has "
            f"{trials[first]:g}",
            "E_RESPONSE",
            span=span,
            hint="Trials are counts: 0, 1, 2, ....",
        )
