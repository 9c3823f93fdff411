"""Second stage: what a number in a formula may ask for, said before anything is made of it."""

from __future__ import annotations

import math

from lmeformula.design.values import Value, describe
from lmeformula.errors import FormulaDataError

# Columns of one basis, and powers of one column: a spline's basis solves as many equations.
MOST_COLUMNS = 1000
# Intervals of cut(), and combinations of interaction(): each has a name.
MOST_LEVELS = 100_000
# Numbers of one matrix that a function makes: 2 GiB of them.
MOST_NUMBERS = 2**28


def whole_number(
    value: Value, name: str, *, least: int | None = None, most: int | None = None
) -> int:
    """Read an argument that is a whole number.

    Args:
      value: what the formula has there.
      name: of the argument.
      least: smallest that is allowed; any without.
      most: largest that is allowed; any without.
    Raises:
      FormulaDataError: for anything else, and numbers that are not finite.
    Example:
      >>> whole_number(3.0, "df", least=1)
      3
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value != int(value):  # type: ignore[arg-type]
        raise FormulaDataError(
            f"{name} must be a whole number, not {describe(value)}", "E_UNSUPPORTED_ARG"
        )
    number = int(value)  # type: ignore[arg-type]
    if least is not None and number < least:
        raise FormulaDataError(
            f"{name} must be at least {least}, not {number:.12g}", "E_UNSUPPORTED_ARG"
        )
    if most is not None and number > most:
        raise FormulaDataError(
            f"{name} is {number:.12g}, and {most:,} is the most that there can be",
            "E_UNSUPPORTED_ARG",
            hint="Give a smaller number.",
        )
    return number


def check_room(what: str, num_rows: int, num_columns: int, most: int = MOST_NUMBERS) -> None:
    """Refuse a matrix that would not fit into memory.

    Args:
      what: makes it, such as "dummy()".
      num_rows: of the data.
      num_columns: that it would have.
      most: numbers that it may have.
    Raises:
      FormulaDataError: that says how large it would be.
    """
    if num_rows * num_columns > most:
        raise FormulaDataError(
            f"{what} would make {num_columns:,} columns of {num_rows:,} rows",
            hint=f"Ask for at most {most // max(num_rows, 1):,} columns; a factor of many levels is a grouping "
            "factor: (1 | g).",
        )
