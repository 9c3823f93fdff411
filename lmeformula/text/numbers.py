"""Numbers as text, with the decimals that a reader needs and no more."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lmeformula.text.table import Cell, Column

SIGNIFICANT_DIGITS = 4
MISSING = "-"


def format_column(column: Column) -> tuple[str, ...]:
    """Write the cells of one column, all with the same number of decimals where they are numbers.

    Args:
      column: unrounded cells and their kind.
    Returns:
      texts: one a cell: "" for None, "-" for NaN.
    Example:
      >>> format_column(Column("", (251.4051, 10.46728, None)))
      ('251.41', '10.47', '')
      >>> format_column(Column("", (0.0123456, float("nan")), "error"))
      ('0.012', '-')
    """
    numbers = [cell for cell in column.cells if isinstance(cell, float | int)]
    decimals = decimals_for(numbers) if column.kind == "number" else 0
    write = {
        "number": lambda value: _number(value, decimals),
        "statistic": lambda value: f"{value:.2f}",
        "error": _error,
        "count": lambda value: f"{round(value):,}",
    }.get(column.kind, str)
    return tuple(_cell(cell, write) for cell in column.cells)


def _cell(cell: Cell, write: Callable[[float], str]) -> str:
    """An empty cell, a text as it is, or a number as it is written."""
    if cell is None or isinstance(cell, str):
        return cell or ""
    return MISSING if math.isnan(cell) and write is not str else write(cell)


def decimals_for(values: Sequence[float]) -> int:
    """Choose one number of decimals for a column of numbers.

    Args:
      values: the column's numbers; zeros, NaN and infinities do not count.
    Returns:
      decimals: so many that the middle number (the lower one of two) shows four significant
        digits and the smallest two, but at most as many as give the largest one eight, and never
        more than six.
    Example:
      >>> decimals_for([3.2826, -0.0926])
      5
      >>> decimals_for([12345.678, 0.5])
      3
    """
    sizes = sorted(abs(float(v)) for v in values if math.isfinite(v) and v != 0)
    if not sizes:
        return 1
    smallest, middle, largest = (
        math.floor(math.log10(size)) for size in (sizes[0], sizes[(len(sizes) - 1) // 2], sizes[-1])
    )
    wanted = max(SIGNIFICANT_DIGITS - 1 - middle, SIGNIFICANT_DIGITS // 2 - 1 - smallest)
    affordable = 2 * SIGNIFICANT_DIGITS - 1 - largest
    return max(0, min(wanted, affordable, 6))


def short(value: float) -> str:
    """Write one number for a line of text.

    Args:
      value: any float.
    Returns:
      text: four significant digits without an exponent where that is readable.
    Example:
      >>> short(3.28258096), short(118860.88), short(0.0000012), short(float("nan"))
      ('3.283', '118861', '1.2e-06', '-')
    """
    if math.isnan(value):
        return MISSING
    if value != 0 and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.2g}"
    return _number(value, decimals_for([value]))


def p_text(value: float) -> str:
    """A p-value for reading, to four decimals.

    Example:
      >>> p_text(0.01234), p_text(1e-9)
      ('0.0123', '< 0.0001')
    """
    if math.isnan(value):
        return ""
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def _number(value: float, decimals: int) -> str:
    # A number that would show no significant digit, or too many to take in, gets an exponent.
    if value != 0 and not 0.5 * 10**-decimals <= abs(value) < 1e12:
        return f"{value:.2e}"
    return f"{value:.{decimals}f}"


def _error(value: float) -> str:
    if abs(value) < 1e-9:
        return "0" if value == 0 else "<1e-9"
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.1e}"
    return f"{value:.{max(0, 1 - math.floor(math.log10(abs(value))))}f}"
