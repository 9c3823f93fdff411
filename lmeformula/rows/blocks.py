"""Rows of a source in blocks of one size, however the source reads them: a block is a source itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from lmeformula.rows.source import Source, reading


def in_blocks(source: Source, names: Sequence[str], size: int) -> Iterator[Source]:
    """Read columns of a source, so many rows at a time.

    Args:
      source: the source, which is read once.
      names: of its columns.
      size: rows of a block; the last one may have fewer, and there is none without rows.
    Returns:
      Sources in memory, of these columns alone, though they know the names of all.
    Raises:
      FormulaDataError: if the source cannot be read.
    """
    names = list(names)
    held: list[Any] = []
    count = 0
    for piece in _pieces(source, names):
        start = 0
        while start < piece.num_rows:
            part = piece.slice(start, size - count)
            held.append(part)
            count, start = count + part.num_rows, start + part.num_rows
            if count == size:
                yield _block(source, names, held, count)
                held, count = [], 0
    if count:
        yield _block(source, names, held, count)


def table_of(block: Source) -> Any:
    """A block of `in_blocks` as a pyarrow table; where its pieces differ in type, of the widest."""
    import pyarrow as pa

    with reading(block.name):
        pieces = list(block.blocks(list(block.columns)))
        return pa.concat_tables(pieces, promote_options="permissive")


def _pieces(source: Source, names: list[str]) -> Iterator[Any]:
    with reading(source.name, f"What was asked for: the columns {', '.join(names)}."):
        yield from source.blocks(names)


def _block(source: Source, names: list[str], held: list[Any], count: int) -> Source:
    import pyarrow as pa

    place = {name: number for number, name in enumerate(names)}

    def blocks(wanted: list[str]) -> Iterator[Any]:
        for part in held:
            yield pa.table([part.column(place[name]) for name in wanted], names=wanted)

    return replace(source, blocks=blocks, num_rows=count, labels=())
