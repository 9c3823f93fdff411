"""Rows that are somewhere else: what a source of them is asked, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

# Rows that are looked at together: one block of a few columns takes some tens of megabytes.
BLOCK_ROWS = 1_000_000

# Names of columns -> an iterator over pyarrow tables or record batches with these, in the order of the rows.
Blocks: TypeAlias = Callable[[list[str]], Iterator[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A table that is not in memory, and is read once, a block of rows at a time.

    Attributes:
      name: what it is, in a reader's words: "a polars LazyFrame", "ratings.parquet".
      columns: names of its columns, in order.
      blocks: reads some of them.
      by_name: columns whose categories have no order of their own: they are taken in that of their names.
      num_rows: how many rows there are, where that is known before they are read.
    """

    name: str
    columns: tuple[str, ...]
    blocks: Blocks
    by_name: frozenset[str] = frozenset()
    num_rows: int | None = None


def first_line(error: Exception) -> str:
    """What another library's error says first."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
