"""Identical rows of a source as one row each, and how many there are: a fit of these is the fit of all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from lmeformula.arrays import Ints
from lmeformula.errors import FormulaDataError
from lmeformula.rows.dictionaries import Orders
from lmeformula.rows.gather import compact
from lmeformula.rows.source import Source, reading
from lmeformula.watch import watched

# Rows are merged where at most so many of the first ones are distinct.
MOST_DISTINCT, FIRST = 0.5, 200_000
# Groups of several blocks are put together when there are so many times those of the last time, and these.
GROWTH, FEWEST = 2, 1_000_000


class Merged(NamedTuple):
    """Rows of which no two are alike.

    Attributes:
      source: the rows, in memory: in the order of their values where whoever has them counted them, else in
        that in which the first of each came.
      times: (n,) how many rows of the source each of them is.
    """

    source: Source
    times: Ints


def merged(source: Source, names: list[str], frequency: str | None = None) -> Merged | None:
    """Put rows that agree in some columns together.

    Args:
      source: the source, which is read once; or whose engine is asked for distinct rows.
      names: the columns, of numbers, text or categories. Others are known by name, and not there.
      frequency: a column that says how many rows each row is already.
    Returns:
      The rows; None where they are hardly alike, which the first ones decide.
    Raises:
      FormulaDataError: if the source cannot be read, or frequencies are not whole numbers.
    """
    import pyarrow as pa

    held: list[Any] = []
    num_rows = num_held = 0
    last = FEWEST
    orders = Orders()
    with (
        reading(source.name, f"What was asked for: the columns {', '.join(names)}."),
        watched(f"reading {source.name}", source.num_rows, "rows") as watch,
    ):
        if _are_unlike(source, names):
            return None
        wanted = [*names, *([] if frequency is None else [frequency])]
        for block, counts in _distinct(source, wanted):
            before, num_rows = num_rows, num_rows + int(counts.sum())
            watch.step(num_rows - before)
            columns = [compact(block.column(place)) for place in range(len(names))]
            for name, column in zip(names, columns, strict=True):
                orders.check(name, column)
            times = counts * _times(block, len(names), frequency)
            beside = [pa.array(np.arange(before, before + block.num_rows)), pa.array(times)]
            # By place: a column may be called anything.
            keys = [*map(str, range(len(columns)))]
            grouped = _grouped(pa.table([*columns, *beside], [*keys, "first", "n"]))
            is_first = before < FIRST <= num_rows
            num_held += grouped.num_rows
            held.append(grouped)
            if is_first or num_held > GROWTH * last:
                held = [_grouped(pa.concat_tables(held, promote_options="permissive"))]
                num_held = held[0].num_rows
                last = max(num_held, FEWEST)
            if is_first and num_held > MOST_DISTINCT * num_rows:
                return None
        if not num_rows:
            return None
        whole = _grouped(pa.concat_tables(held, promote_options="permissive")).sort_by("first")
    if whole.num_rows > MOST_DISTINCT * num_rows:
        return None

    def blocks(chosen: list[str]) -> Iterator[Any]:
        if others := [name for name in chosen if name not in names]:
            raise FormulaDataError(
                f"rows that agree but in {', '.join(others)} have been merged",
                hint="Fit the formula anew, to the rows where they are.",
            )
        yield pa.table([whole.column(names.index(name)) for name in chosen], chosen)

    found = Source(
        f"{num_rows:,} rows, of which identical ones are merged, of {source.name}",
        source.columns,
        blocks,
        source.by_name & set(names),
        whole.num_rows,
    )
    return Merged(found, whole.column("n").to_numpy())


def _are_unlike(source: Source, names: list[str]) -> bool:
    """Whether the first rows are hardly alike, where that can be asked without reading them."""
    if source.counted is None:
        return False
    counts = [np.asarray(block.column(len(names))) for block in source.counted(names, FIRST)]
    return sum(map(len, counts)) > MOST_DISTINCT * sum(int(each.sum()) for each in counts)


def _distinct(source: Source, wanted: list[str]) -> Iterator[tuple[Any, Ints]]:
    """Blocks of a source, and how many of its rows each of theirs is."""
    if source.counted is None:
        for block in source.blocks(wanted):
            yield block, np.ones(block.num_rows, np.int64)
        return
    for block in source.counted(wanted, None):
        yield block, np.asarray(block.column(len(wanted)), np.int64)


def _times(block: Any, place: int, frequency: str | None) -> Ints:
    """(n,) how many rows each row of a block is."""
    if frequency is None:
        return np.ones(block.num_rows, np.int64)
    given = np.asarray(block.column(place).to_numpy(zero_copy_only=False), float)
    # A missing one is none of these, either.
    whole: Ints = np.nan_to_num(given).astype(np.int64)
    if (whole != given).any() or (whole < 0).any():
        raise FormulaDataError(f"the frequencies {frequency!r} are not all whole numbers from 0 on")
    return whole


def _grouped(table: Any) -> Any:
    """Distinct rows but for the last columns, of which they have the least "first" and the sum of "n"."""
    keys = table.column_names[:-2]
    grouped = table.unify_dictionaries().group_by(keys).aggregate([("first", "min"), ("n", "sum")])
    return grouped.select([*keys, "first_min", "n_sum"]).rename_columns(table.column_names)
