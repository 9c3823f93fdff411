"""A table as a plain record of unrounded numbers, which render.py writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Cell: TypeAlias = "str | float | int | None"
Kind: TypeAlias = Literal["text", "number", "statistic", "error", "count"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: what it is called, what it holds, and what kind of thing that is.

    Attributes:
      heading: shown above the column; may be "".
      cells: one a row; None is an empty cell, NaN a number that does not exist.
      kind: "text"; "number" (as many decimals as the column needs); "statistic" (two decimals);
        "error" (two significant digits); "count" (a whole number).
    """

    heading: str
    cells: tuple[Cell, ...]
    kind: Kind = "number"


def columns_of(
    rows: Iterable[object], headings: Mapping[str, tuple[str, Kind]]
) -> tuple[Column, ...]:
    """Columns of the attributes of records.

    Args:
      rows: records, one a row; of a data frame its `itertuples()`.
      headings: of each attribute that is shown, the heading and the kind.
    Example:
      >>> columns_of([3 + 4j], {"imag": ("imaginary", "number")})
      (Column(heading='imaginary', cells=(4.0,), kind='number'),)
    """
    records = tuple(rows)
    return tuple(
        Column(heading, tuple(getattr(record, name) for record in records), kind)
        for name, (heading, kind) in headings.items()
    )


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table, column by column, with notes below it.

    Attributes:
      title: shown above the table; may be "".
      columns: all of one length.
      notes: sentences shown below the table.
    """

    title: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len({len(column.cells) for column in self.columns}) > 1:
            raise ValueError(f"the columns of the table {self.title!r} differ in length")

    @property
    def num_rows(self) -> int:
        """Number of rows below the headings."""
        return len(self.columns[0].cells) if self.columns else 0
