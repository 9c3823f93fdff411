"""Columns of a source as compact arrays: numbers as they are, text as codes; read in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lmeformula.errors import FormulaDataError
from lmeformula.rows.dictionaries import with_named_levels
from lmeformula.rows.machine import GIB, machine_memory
from lmeformula.rows.source import Source, reading

# Dictionaries of the blocks of a column are put together when there are so many: each has its own copy of
# the names.
MOST_DICTIONARIES = 16
TINY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """Some columns of a source, in memory.

    Attributes:
      num_rows: of each.
      columns: pyarrow's chunked arrays by name; text and categories are dictionaries with int32 codes.
      texts: columns that were text, not categories.
    """

    num_rows: int
    columns: dict[str, Any]
    texts: frozenset[str]

    @property
    def num_bytes(self) -> int:
        """What they take."""
        return sum(map(_num_bytes, self.columns.values()))


def gather(source: Source, names: Iterable[str]) -> Gathered:
    """Read columns of a source, a block of rows at a time.

    Args:
      source: the source.
      names: columns of it. Where there are none, the first is read for the number of rows.
    Returns:
      The columns.
    Raises:
      FormulaDataError: if the source cannot be read, a column changes its type from block to block, or this
        machine's memory does not hold the columns.
    """
    import pyarrow as pa

    wanted = list(dict.fromkeys(names)) or list(source.columns[:1])
    parts: dict[str, list[Any]] = {name: [] for name in wanted}
    texts: set[str] = set()
    num_rows = 0
    for block in _blocks(source, wanted):
        num_rows += block.num_rows
        for place, name in enumerate(wanted):
            column = block.column(place)
            if _is_text(column.type):
                texts.add(name)
            parts[name].append(_compact(column))
            if len(parts[name]) % MOST_DICTIONARIES == 0:
                parts[name] = [_together(name, parts[name])]
        # Where the number of rows is known this is said after the first block.
        share = 1.0 if source.num_rows is None else num_rows / max(source.num_rows, 1)
        held = sum(_num_bytes(part) for each in parts.values() for part in each)
        check_room(source, wanted, held / max(share, TINY))
    if not any(parts.values()):
        return Gathered(0, {name: pa.chunked_array([], pa.null()) for name in wanted}, frozenset())
    columns = {name: _together(name, parts[name]) for name in wanted}
    return Gathered(num_rows, columns, frozenset(texts))


def _num_bytes(column: Any) -> int:
    """What a column takes: a dictionary that several of its chunks share is there once."""
    return int(column.get_total_buffer_size())


def check_room(source: Source, names: list[str], num_bytes: float) -> None:
    """Refuse columns that this machine's memory does not hold.

    Args:
      source: the source, for the message.
      names: of the columns.
      num_bytes: what they take, or what was read of them so far.
    Raises:
      FormulaDataError: if they take more than the memory.
    """
    memory = machine_memory()
    if num_bytes > memory:
        rows = "" if source.num_rows is None else f" of {source.num_rows:,} rows"
        raise FormulaDataError(
            f"{len(names)} columns of {source.name}{rows} take {num_bytes / GIB:,.1f} GiB or more, and this "
            f"machine has {memory / GIB:,.1f} GiB",
            hint=f"They are {', '.join(names)}. Fit a part of the rows, fewer columns, or on a larger machine.",
        )


def _blocks(source: Source, wanted: list[str]) -> Iterator[Any]:
    """The source's blocks; whatever its library raises is said in our words."""
    with reading(source.name, f"What was asked for: the columns {', '.join(wanted)}."):
        yield from source.blocks(wanted)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    views = [pa.types.is_string_view] if hasattr(pa.types, "is_string_view") else []
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, *views))


def _compact(column: Any) -> Any:
    """A column of a block: text and categories as int32 codes of names."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    if _is_text(column.type):
        column = pc.dictionary_encode(column.cast(pa.large_string()))
    if pa.types.is_dictionary(column.type):
        values = column.type.value_type
        values = pa.large_string() if _is_text(values) else values
        kind = pa.dictionary(pa.int32(), values, column.type.ordered)
        column = with_named_levels(column)
        return column if column.type == kind else column.cast(kind)
    return column


def _together(name: str, parts: list[Any]) -> Any:
    """One column of its blocks; numbers of several types are of the widest."""
    import pyarrow as pa

    tables = [pa.table({"": part}) for part in parts]
    try:
        whole = pa.concat_tables(tables, promote_options="permissive").column(0)
    except pa.ArrowException:
        kinds = ", ".join(dict.fromkeys(str(part.type) for part in parts))
        raise FormulaDataError(
            f"column {name!r} changes its type from one part of the rows to the next: {kinds}",
            hint="Give it one type in all files or partitions.",
        ) from None
    if pa.types.is_dictionary(whole.type):
        whole = whole.unify_dictionaries()
    return whole.combine_chunks() if whole.num_chunks > MOST_DICTIONARIES else whole
