"""Second stage: compute an expression of the formula by walking it; nothing is ever run as code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from lmeformula.arrays import Ints
from lmeformula.design.arithmetic import operate
from lmeformula.design.calls import call_users, match_arguments, suggest_function
from lmeformula.design.frame import Frame, column_of
from lmeformula.design.functions import CONSTANTS, FUNCTIONS
from lmeformula.design.labels import label
from lmeformula.design.sizes import check_room
from lmeformula.design.values import (
    Categories,
    Column,
    Logicals,
    Numbers,
    Value,
    categories,
    describe,
    missing,
    num_rows,
    recode,
    take,
)
from lmeformula.design.warn import warn
from lmeformula.errors import FormulaDataError, FunctionNotFoundError, placed
from lmeformula.formula import ir

# Rows that a function is asked about again where rows have frequencies.
MOST_REPEATED = 1_000_000
UserFunctions = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What the data of the fit taught, so that new rows mean the same.

    Attributes:
      calls: what stateful functions learned (centres, knots, polynomial recurrences, levels), by call.
      columns: the columns that were read, without rows: their kind and their levels.
    """

    calls: dict[ir.Call, Any] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """Where names are looked up.

    Attributes:
      frame: the data.
      functions: the caller's functions; they hide those of the table.
      memory: filled on the data of the fit, read on new rows.
      is_new: whether these are new rows.
      times: (rows of the data,) how many identical rows each stands for, for what learns from all of them;
        None for one.
    """

    frame: Frame
    functions: UserFunctions
    memory: Memory
    is_new: bool
    times: Ints | None = None


def evaluate_column(
    expression: ir.Expression, scope: Scope, *, may_be_constant: bool = False
) -> Column:
    """Compute a variable of the model: a value for every row of the data, missing ones included.

    Args:
      expression: a column, a call or an operation.
      scope: the data and the functions.
      may_be_constant: whether one number stands for all rows, as in trials(20).
    Returns:
      The values on all rows of the frame.
    Raises:
      ColumnNotFoundError: if a column is absent.
      FunctionNotFoundError: if a function is not in the table.
      FormulaDataError: if a value has the wrong kind, or there is one value instead of one for each row.
    """
    value = evaluate(expression, scope)
    with placed(span=expression.span):
        if may_be_constant and isinstance(value, int | float) and not isinstance(value, bool):
            return Numbers(np.full(scope.frame.num_rows, float(value)))
        if not isinstance(value, Numbers | Logicals | Categories):
            if isinstance(expression, ir.Column):  # `pi` as a term is a missing column
                column_of(scope.frame, expression.name)
            raise FormulaDataError(
                f"'{label(expression)}' is {describe(value)}, not a value for each row",
                hint="A variable of the model must come from a column of the data.",
            )
        if isinstance(expression, ir.Column) and isinstance(value, Categories) and value.is_time:
            raise FormulaDataError(
                f"column {expression.name!r} holds dates or times, which are no numbers yet",
                hint="Compute a numeric column with a unit of your choice, such as days since a start; "
                f"factor({expression.name}) makes every time a level.",
            )
        if num_rows(value) != scope.frame.num_rows:
            raise FormulaDataError(
                f"'{label(expression)}' has {num_rows(value)} values for {scope.frame.num_rows} rows"
            )
    return value


def evaluate(expression: ir.Expression, scope: Scope) -> Value:
    """Compute an expression: a column, or a constant where no column takes part."""
    with placed(span=expression.span):
        match expression:
            case ir.Column():
                return _column(expression.name, scope)
            case ir.Number() | ir.Text() | ir.Constant():
                return expression.value
            case ir.Call():
                return _call(expression, scope)
            case ir.Operation("(", (inner,)):
                return evaluate(inner, scope)
            case ir.Operation():
                operands = tuple(evaluate(operand, scope) for operand in expression.operands)
                result = operate(expression.operator, operands)
                _warn_of_nan(expression, result, operands)
                return result
        raise FormulaDataError("'.' has no meaning inside a call", "E_UNKNOWN_COLUMN")


def data_columns(expression: ir.Expression) -> tuple[ir.Column, ...]:
    """List the columns that an expression mentions, in order."""
    return tuple(node for node in ir.walk(expression) if isinstance(node, ir.Column))


def _warn_of_nan(operation: ir.Operation, result: Value, operands: tuple[Value, ...]) -> None:
    if operation.operator not in ("/", "^", "%%", "%/%") or not isinstance(result, Numbers):
        return
    is_nan = missing(result)
    for operand in operands:
        if isinstance(operand, Numbers | Logicals):
            is_nan &= ~missing(operand)
    if count := int(is_nan.sum()):
        warn("", f"{label(operation)} is not a number in {count} rows, which are left out")


def _column(name: str, scope: Scope) -> Value:
    if name not in scope.frame.positions and name in CONSTANTS:
        return CONSTANTS[name]
    found = column_of(scope.frame, name)
    if scope.is_new:
        return _conform(name, found, scope.memory.columns.get(name))
    if name not in scope.memory.columns:
        scope.memory.columns[name] = take(found, np.arange(0))
    return found


def _conform(name: str, found: Column, known: Column | None) -> Column:
    """Read a column of new rows as the kind it had in the data of the fit, with the same levels."""
    if known is None:
        return found
    if isinstance(known, Categories):
        factor = categories(found)
        _, unknown = recode(factor, known.levels)
        codes, _ = recode(factor, (*known.levels, *unknown))
        return replace(known, codes=codes, levels=(*known.levels, *unknown))
    if isinstance(known, Logicals) and isinstance(found, Numbers):
        values = np.asarray(found.values, dtype=np.float64)
        if np.isin(values[~np.isnan(values)], (0.0, 1.0)).all():
            return Logicals(values)
    if type(known) is not type(found):
        raise FormulaDataError(
            f"column {name!r} holds {describe(found)}; in the data of the fit it held "
            f"{describe(known)}",
            hint="Give the new rows the same types as the data of the fit.",
        )
    return found


def missing_function(call: ir.Call, scope: Scope) -> FunctionNotFoundError:
    """The error for a function that is neither in the table nor the caller's."""
    return FunctionNotFoundError(
        f"there is no function '{call.function}' in formulas",
        span=call.span,
        hint=suggest_function(call.function, scope.functions),
    )


def _call(call: ir.Call, scope: Scope) -> Value:
    given = [(argument.name, evaluate(argument.value, scope)) for argument in call.arguments]
    positional = [value for name, value in given if not name]
    named = {name.replace(".", "_"): value for name, value in given if name}
    if len(positional) + len(named) < len(given):
        raise FormulaDataError(f"{call.function}() is given an argument twice", "E_UNSUPPORTED_ARG")
    if call.function in scope.functions:
        return _by_row(
            partial(call_users, call.function, scope.functions[call.function]),
            call.function,
            positional,
            named,
            scope,
        )
    function = FUNCTIONS.get(call.function)
    if function is None:
        raise missing_function(call, scope)
    if call.function == "cbind":
        positional = [value for _, value in given]
        names = tuple(argument.name or label(argument.value) for argument in call.arguments)
        named = {"names": names}
    learned = (scope.memory.calls.get(call),) if function.is_stateful else ()
    positional, named = match_arguments(
        call.function, function.call, len(learned), positional, named
    )
    if scope.times is not None and learned == (None,):
        check_room(f"the rows that {call.function}() learns from", int(scope.times.sum()), 1)
        every = np.repeat(np.arange(scope.frame.num_rows), scope.times)
        each, by_name = _rows_of(positional, every), _rows_of(list(named.values()), every)
        learned = (function.call(None, *each, **dict(zip(named, by_name, strict=True)))[1],)
    if function.is_of_other_rows:

        def among(each: list[Value], by_name: dict[str, Value], _: int) -> Value:
            found: Value = function.call(*each, **by_name)
            return found

        return _by_row(among, call.function, positional, named, scope)
    result = function.call(*learned, *positional, **named)
    if not function.is_stateful:
        value: Value = result
        return value
    value, state = result
    if not scope.is_new:
        scope.memory.calls[call] = state
    return value


def _by_row(
    function: Callable[[list[Value], dict[str, Value], int], Value],
    name: str,
    positional: list[Value],
    named: dict[str, Value],
    scope: Scope,
) -> Value:
    """What a function says of the rows; with frequencies it must say the same of the repeated rows.

    Args:
      function: of the arguments by place and by name, and of how many rows their columns have.
      name: of the function.
    Raises:
      FormulaDataError: if it does not: a row's value hangs on others, such as the one before.
    """
    num_rows, times = scope.frame.num_rows, scope.times
    found = function(positional, named, num_rows)
    if times is None:
        return found
    # Of very many observations fewer do, in proportion.
    fewer = np.ceil(times * min(1.0, MOST_REPEATED / max(1, times.sum()))).astype(np.int64)
    every = np.repeat(np.arange(num_rows), fewer)
    by_name = dict(zip(named, _rows_of(list(named.values()), every), strict=True))
    again = function(_rows_of(positional, every), by_name, every.size)
    if not _is_same(_rows_of([found], every)[0], again):
        raise FormulaDataError(
            f"{name}() gives a row another value where the rows are repeated as their frequency says",
            hint="Compute what hangs on other rows beforehand, as a column of the data.",
        )
    return found


def _is_same(one: Value, other: Value) -> bool:
    """Whether two values are the same but for rounding; of factors, whatever else their levels are."""
    if isinstance(one, Categories) and isinstance(other, Categories):
        names, others = ([*each.levels, None] for each in (one, other))
        return [names[i] for i in one.codes] == [others[i] for i in other.codes]
    if isinstance(one, Numbers | Logicals) and isinstance(other, Numbers | Logicals):
        a, b = (np.asarray(each.values, np.float64) for each in (one, other))
        return a.shape == b.shape and np.allclose(a, b, 1e-9, 0.0, equal_nan=True)
    return one == other


def _rows_of(arguments: list[Value], rows: Ints) -> list[Value]:
    """Arguments of a call whose columns have these rows of the data."""
    return [
        take(value, rows) if isinstance(value, Numbers | Logicals | Categories) else value
        for value in arguments
    ]
