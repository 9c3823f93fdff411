"""Identical rows counted by whoever has them: a database or a lazy frame, in its own engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lmeformula.rows.source import Counted


def counting(
    chosen: Callable[[list[str]], Any], batches: Callable[[Any], Iterator[Any]]
) -> Counted:
    """What counts the rows of a lazy table.

    Args:
      chosen: names of columns -> the lazy table of these, of a library that narwhals knows.
      batches: a lazy table -> pyarrow tables or record batches, in its order.
    Returns:
      What a source is asked, see `Source.counted`. Rows come in the order of their values, so that they are the
      same whatever the engine did first.
    """

    def counted(names: list[str], most: int | None) -> Iterator[Any]:
        import narwhals.stable.v2 as nw

        # By place: a column may be called anything, as the count is.
        places = [*map(str, range(len(names)))]
        frame: Any = nw.from_native(chosen(names)).rename(dict(zip(names, places, strict=True)))
        frame = frame if most is None else frame.head(most)
        found = frame.group_by(places).agg(nw.len().alias("n")).sort(places, nulls_last=True)
        yield from batches(found.to_native())

    return counted
