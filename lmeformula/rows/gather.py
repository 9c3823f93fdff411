"""Columns of a source as compact arrays, in memory or in files: numbers as they are, text as codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from lmeformula.errors import FormulaDataError
from lmeformula.rows.dictionaries import Orders, with_named_levels
from lmeformula.rows.machine import GIB, machine_memory
from lmeformula.rows.poured import InFile, Poured
from lmeformula.rows.source import Source, reading
from lmeformula.watch import watched

# Dictionaries of the blocks of a column are put together when there are so many: each has its own copy of
# the names.
MOST_DICTIONARIES = 16


class RowBytes(NamedTuple):
    """What a fit takes for each row, beside the columns that are read.

    Attributes:
      in_memory: where all is in memory.
      with_files: what still is in memory where columns are in files.
    """

    in_memory: float = 0.0
    with_files: float = 0.0


NOTHING = RowBytes()


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """Some columns of a source, in memory or in files.

    Attributes:
      num_rows: of each.
      columns: by name, pyarrow's chunked arrays, text and categories as dictionaries with int32 codes; or
        columns in files, but for labels of rows.
      texts: columns that were text, not categories.
    """

    num_rows: int
    columns: dict[str, Any]
    texts: frozenset[str]

    @property
    def in_files(self) -> bool:
        """Whether they are in files."""
        return any(isinstance(column, InFile) for column in self.columns.values())

    @property
    def num_bytes(self) -> int:
        """What they take."""
        return sum(map(_num_bytes, self.columns.values()))


def gather(source: Source, names: Iterable[str], row_bytes: RowBytes = NOTHING) -> Gathered:
    """Read columns of a source, a block of rows at a time.

    Args:
      source: the source.
      names: columns of it. Where there are none, the first is read for the number of rows that is not known.
      row_bytes: what is to be done with the rows takes so much. Where memory does not hold it the columns are
        in files.
    Returns:
      The columns.
    Raises:
      FormulaDataError: if the source cannot be read, a column changes its type from block to block, or this
        machine's memory does not hold what is to be done.
    """
    wanted = list(dict.fromkeys(names))
    if not wanted and source.num_rows is not None:
        return Gathered(source.num_rows, {}, frozenset())
    wanted = wanted or list(source.columns[:1])
    with ExitStack() as files:
        return _gathered(source, wanted, row_bytes, files)


def _gathered(source: Source, wanted: list[str], row_bytes: RowBytes, files: ExitStack) -> Gathered:
    import pyarrow as pa

    parts: dict[str, list[Any]] = {name: [] for name in wanted}
    poured: dict[str, Poured] = {}
    texts: set[str] = set()
    orders = Orders()
    num_rows = 0
    watch = files.enter_context(watched(f"reading {source.name}", source.num_rows, "rows"))
    for block in _blocks(source, wanted):
        num_rows += block.num_rows
        watch.step(block.num_rows)
        for place, name in enumerate(wanted):
            column = block.column(place)
            if _is_text(column.type):
                texts.add(name)
            parts[name].append(compact(column))
            orders.check(name, parts[name][-1])
            if len(parts[name]) % MOST_DICTIONARIES == 0:
                parts[name] = [_together(name, parts[name])]
        # Where the number of rows is known all this is known after the first block.
        total = num_rows if source.num_rows is None else source.num_rows
        held = sum(_num_bytes(part) for each in parts.values() for part in each)
        if (
            poured
            or held * total / max(num_rows, 1) + total * row_bytes.in_memory > machine_memory()
        ):
            check_room(source, wanted, total, row_bytes)
            poured = poured or {
                name: files.enter_context(Poured(name))
                for name in wanted
                if name not in source.labels
            }
            for name, column in poured.items():
                for part in parts[name]:
                    column.add(part)
            parts = {name: [] for name in wanted}
    if poured:
        # What Arrow read with, it would keep.
        pa.default_memory_pool().release_unused()
        found = {name: column.finish() for name, column in poured.items()}
    elif num_rows:
        found = {name: _together(name, parts[name]) for name in wanted}
    else:
        found = {name: pa.chunked_array([], pa.null()) for name in wanted}
    return Gathered(num_rows, found, frozenset(texts))


def _num_bytes(column: Any) -> int:
    """What a column takes: a dictionary that several of its chunks share is there once."""
    if isinstance(column, InFile):
        return int(column.values.nbytes)
    return int(column.get_total_buffer_size())


def check_room(source: Source, names: list[str], num_rows: int, row_bytes: RowBytes) -> None:
    """Refuse rows of which a fit takes more than memory holds, though the columns are in files.

    Args:
      source: the source, for the message.
      names: of the columns.
      num_rows: how many rows there are, or were read so far.
      row_bytes: what each takes.
    Raises:
      FormulaDataError: if they take more than the memory.
    """
    needed, memory = num_rows * row_bytes.with_files, machine_memory()
    if needed > memory:
        more = "" if source.num_rows is not None else " or more"
        raise FormulaDataError(
            f"a fit of {num_rows:,}{more} rows of {source.name} takes about {needed / GIB:,.1f} GiB{more}, "
            f"with the columns in files, and this machine has {memory / GIB:,.1f} GiB",
            hint=f"The columns are {', '.join(names)}. Merge identical rows into one with a frequency, leave "
            "columns out, fit a part of the rows, or spread them over a Dask cluster (cluster=).",
        )


def _blocks(source: Source, wanted: list[str]) -> Iterator[Any]:
    """The source's blocks; whatever its library raises is said in our words."""
    with reading(source.name, f"What was asked for: the columns {', '.join(wanted)}."):
        yield from source.blocks(wanted)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    views = [pa.types.is_string_view] if hasattr(pa.types, "is_string_view") else []
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, *views))


def compact(column: Any) -> Any:
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
