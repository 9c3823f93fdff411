"""Rows that are somewhere else: what a source of them is asked, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from lmeformula.errors import FormulaDataError, LmeFormulaError

# Rows that are looked at together: one block of a few columns takes some tens of megabytes.
BLOCK_ROWS = 1_000_000

# Names of columns -> an iterator over pyarrow tables or record batches with these, in the order of the rows.
Blocks: TypeAlias = Callable[[list[str]], Iterator[Any]]
# Names of columns, and a number of the first rows or None for all -> the same of distinct rows, with a last
# column that says how often each is there.
Counted: TypeAlias = Callable[[list[str], int | None], Iterator[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A table that is not in memory, and is read once, a block of rows at a time.

    Attributes:
      name: what it is, in a reader's words: "a polars LazyFrame", "ratings.parquet".
      columns: names of its columns, in order.
      blocks: reads some of them.
      by_name: columns whose categories have no order of their own: they are taken in that of their names.
      num_rows: how many rows there are, where that is known before they are read.
      labels: columns that are labels of the rows and nothing else, as pandas writes its index.
      counted: counts identical rows where they are; None where nobody does.
    """

    name: str
    columns: tuple[str, ...]
    blocks: Blocks
    by_name: frozenset[str] = frozenset()
    num_rows: int | None = None
    labels: tuple[str, ...] = ()
    counted: Counted | None = None


@contextmanager
def reading(what: str, hint: str = "") -> Iterator[None]:
    """Say in our words whatever another library raises while it reads.

    Args:
      what: is read, for the message.
      hint: what goes with it.
    Raises:
      FormulaDataError: with the first line of what was raised; errors of ours are left as they are.
    Example:
      >>> with reading("this file"):
      ...     raise OSError("no such device")
      Traceback (most recent call last):
      ...
      lmeformula.errors.FormulaDataError: this file cannot be read: no such device
    """
    try:
        yield
    except (LmeFormulaError, MemoryError):
        raise
    except Exception as error:
        raise FormulaDataError(f"{what} cannot be read: {first_line(error)}", hint=hint) from error


def first_line(error: Exception) -> str:
    """What another library's error says first."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
