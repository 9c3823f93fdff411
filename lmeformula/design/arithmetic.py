"""Second stage: R's operators on columns, missing values included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmeformula.arrays import Floats
from lmeformula.design.values import (
    Categories,
    Coding,
    Column,
    Logicals,
    Numbers,
    Scalar,
    Value,
    as_floats,
    describe,
    format_number,
    listed,
    num_rows,
)
from lmeformula.errors import FormulaDataError

Binary: TypeAlias = Callable[[Any, Any], NDArray[Any]]

ARITHMETIC: dict[str, Binary] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.true_divide,
    "^": np.power,
    "%%": np.mod,
    "%/%": np.floor_divide,
}
COMPARISONS: dict[str, Binary] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def operate(operator: str, operands: tuple[Value, ...]) -> Value:
    """Apply one of R's operators.

    Args:
      operator: as in `ir.Operation`, without "(".
      operands: one or two values; constants are repeated for every row.
    Returns:
      A column, or a constant when all operands are constants.
    Raises:
      FormulaDataError: if the operator has no meaning for such values.
    """
    if operator in ARITHMETIC:
        return _arithmetic(operator, operands)
    if operator in COMPARISONS:
        return _compare(operator, *operands)
    if operator in ("&", "|"):
        return _connect(operator, *operands)
    if operator == "!":
        truth = _truth(operands[0], "!")
        return _logical(1.0 - truth)
    if operator == "%in%":
        return _contained(*operands)
    if operator == ":":
        return _range(*operands)
    raise FormulaDataError(f"the operator {operator} has no meaning here")


def _arithmetic(operator: str, operands: tuple[Value, ...]) -> Value:
    arrays = [as_floats(operand, f"'{operator}'") for operand in operands]
    if len(arrays) == 1:
        return as_value(-arrays[0] if operator == "-" else arrays[0], operands)
    left, right = aligned(arrays[0], arrays[1], f"'{operator}'")
    # R: 1^NA and NA^0 are 1, as in numpy; a root of a negative number is NaN.
    with np.errstate(all="ignore"):
        result = ARITHMETIC[operator](left, right)
    return as_value(result, operands)


def aligned(left: NDArray[Any], right: NDArray[Any], purpose: str) -> tuple[Any, Any]:
    """Let a matrix and a column combine row by row, as R's recycling does.

    Raises:
      FormulaDataError: if two matrices, or two columns, have different shapes.
    """
    if left.ndim == 2 and right.ndim == 1:
        right = right[:, None]
    elif left.ndim == 1 and right.ndim == 2:
        left = left[:, None]
    is_apart = left.ndim == right.ndim and any(
        a != b and 1 not in (a, b) for a, b in zip(left.shape[1:], right.shape[1:], strict=True)
    )
    if is_apart or (left.ndim and right.ndim and left.shape[0] != right.shape[0]):
        raise FormulaDataError(
            f"{purpose} cannot combine values of the shapes {left.shape} and {right.shape}"
        )
    return left, right


def as_value(result: NDArray[Any], operands: tuple[Value, ...]) -> Value:
    """Numbers (n,) or (n, m) as a column, whose names are those of a matrix among the operands; () as one."""
    if result.ndim == 0:
        return float(result)
    names = next((o.columns for o in operands if isinstance(o, Numbers) and o.columns), ())
    return Numbers(np.asarray(result, dtype=np.float64), names if result.ndim == 2 else ())


def _logical(truth: NDArray[Any]) -> Value:
    if truth.ndim == 0:
        return None if np.isnan(truth) else bool(truth)
    return Logicals(np.asarray(truth, dtype=np.float64))


def _truth(value: Value, operator: str) -> Floats:
    numbers = as_floats(value, f"'{operator}'")
    return np.where(np.isnan(numbers), np.nan, (numbers != 0).astype(np.float64))


def _connect(operator: str, left: Value, right: Value) -> Value:
    # Three-valued logic: FALSE & NA is FALSE, TRUE | NA is TRUE, the rest with NA is NA.
    a, b = aligned(_truth(left, operator), _truth(right, operator), f"'{operator}'")
    decided = 0.0 if operator == "&" else 1.0
    result = np.where((a == decided) | (b == decided), decided, 1.0 - decided)
    unknown = (np.isnan(a) | np.isnan(b)) & (a != decided) & (b != decided)
    return _logical(np.where(unknown, np.nan, result))


def _compare(operator: str, left: Value, right: Value) -> Value:
    if isinstance(left, Categories | str) or isinstance(right, Categories | str):
        return _compare_levels(operator, left, right)
    purpose = f"'{operator}'"
    a, b = aligned(as_floats(left, purpose), as_floats(right, purpose), purpose)
    result = COMPARISONS[operator](a, b).astype(np.float64)
    return _logical(np.where(np.isnan(a) | np.isnan(b), np.nan, result))


def _compare_levels(operator: str, left: Value, right: Value) -> Value:
    a_levels, a = _levels_of(left, operator)
    b_levels, b = _levels_of(right, operator)
    if operator in ("==", "!="):
        order = {level: i for i, level in enumerate(dict.fromkeys(a_levels + b_levels))}
    else:
        order = _common_order(left, right, operator)
    a_rank, b_rank = (
        np.array([order[level] for level in levels] + [-1]) for levels in (a_levels, b_levels)
    )
    result = COMPARISONS[operator](a_rank[a], b_rank[b]).astype(np.float64)
    return _logical(np.where((np.asarray(a) < 0) | (np.asarray(b) < 0), np.nan, result))


def _levels_of(value: Value, operator: str) -> tuple[tuple[str, ...], Any]:
    if isinstance(value, Categories):
        return value.levels, value.codes
    if isinstance(value, str):
        return (value,), 0
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (format_number(value),), 0
    raise FormulaDataError(f"'{operator}' cannot compare {describe(value)} with text or a factor")


def _common_order(left: Value, right: Value, operator: str) -> dict[str, int]:
    factors = [value for value in (left, right) if isinstance(value, Categories)]
    if all(factor.is_text for factor in factors):
        names = sorted({name for value in (left, right) for name in _levels_of(value, operator)[0]})
        return {name: i for i, name in enumerate(names)}
    orders = {factor.levels for factor in factors if not factor.is_text}
    if len(orders) > 1 or not all(factor.ordered for factor in factors if not factor.is_text):
        raise FormulaDataError(
            f"'{operator}' needs ordered factors with the same levels",
            hint="Compare with == or %in%, or make the column an ordered factor.",
        )
    order = {name: i for i, name in enumerate(orders.pop())}
    for value in (left, right):
        absent = [name for name in _levels_of(value, operator)[0] if name not in order]
        if absent:
            raise FormulaDataError(
                f"{absent[0]!r} is not a level of the ordered factor",
                hint=f"Its levels are {listed(tuple(order))}.",
            )
    return order


def _contained(left: Value, right: Value) -> Value:
    choices = right if isinstance(right, tuple) else (right,)
    if any(isinstance(choice, Numbers | Logicals | Categories | Coding) for choice in choices):
        raise FormulaDataError(
            "the right side of %in% must be constants", hint='Write them out: a %in% c("u", "v").'
        )
    if isinstance(left, Categories):
        names = {choice if isinstance(choice, str) else _spell(choice) for choice in choices}
        hit = np.array([level in names for level in left.levels] + [False])
        return Logicals(hit[left.codes].astype(np.float64))
    numbers = as_floats(left, "%in%")
    wanted = [float(choice) for choice in choices if isinstance(choice, bool | int | float)]
    return _logical(np.isin(numbers, wanted).astype(np.float64))


def _spell(choice: Value) -> str:
    return format_number(choice) if isinstance(choice, int | float) else str(choice)


def _range(start: Value, stop: Value) -> tuple[Scalar, ...]:
    if not all(isinstance(v, int | float) and abs(v) < 1e6 for v in (start, stop)):
        raise FormulaDataError(
            "':' inside a call needs two constants",
            hint="Write an interaction outside the call: a:b.",
        )
    first, last = float(start), float(stop)  # type: ignore[arg-type]
    step = 1.0 if last >= first else -1.0
    return tuple(np.arange(first, last + step * 0.5, step).tolist())


def apply_numeric(name: str, function: Callable[[Any], Any], value: Value) -> tuple[Value, int]:
    """Apply a function of numbers entry by entry.

    Returns:
      The result, and in how many rows it is not a number although the argument is one.
    """
    numbers = as_floats(value, f"{name}()")
    with np.errstate(all="ignore"):
        result = np.asarray(function(numbers), dtype=np.float64)
    return as_value(result, (value,)), int(np.sum(np.isnan(result) & ~np.isnan(numbers)))


def rows_of(values: list[Value]) -> int:
    """Find how many rows the columns among these values have; 0 if there is none."""
    columns = (value for value in values if isinstance(value, Numbers | Logicals | Categories))
    return next(map(num_rows, columns), 0)


def spread(value: Value, num: int, purpose: str) -> Column:
    """Repeat a constant for every row; leave a column as it is."""
    if isinstance(value, Numbers | Logicals | Categories):
        return value
    if value is None:
        return Numbers(np.full(num, np.nan))
    if isinstance(value, bool):
        return Logicals(np.full(num, float(value)))
    if isinstance(value, int | float):
        return Numbers(np.full(num, float(value)))
    if isinstance(value, str):
        return Categories(np.zeros(num, dtype=np.int64), (value,), is_text=True)
    raise FormulaDataError(f"{purpose} cannot use {describe(value)}")
