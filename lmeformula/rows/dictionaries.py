"""Arrow's dictionaries, as its own functions take them."""

from __future__ import annotations

from typing import Any

from lmeformula.errors import FormulaDataError


class Orders:
    """The order of ordered categories, which is one in all parts of the rows.

    A part may lack the last ones. Of others nobody says where they belong: one with "low" and "high", and the
    next with "low" and "mid", are in no order together.
    """

    def __init__(self) -> None:
        self._known: dict[str, list[Any]] = {}

    def check(self, name: str, column: Any) -> None:
        """Refuse a part with others.

        Args:
          name: of the column.
          column: some of its rows, a chunked array of Arrow's; one that has no ordered categories passes.
        Raises:
          FormulaDataError: if its categories, or their order, are not those of the parts before.
        """
        if not getattr(column.type, "ordered", False):
            return
        for part in column.chunks:
            levels = part.dictionary.to_pylist()
            known = self._known.setdefault(name, levels)
            if any(one != other for one, other in zip(known, levels, strict=False)):
                raise FormulaDataError(
                    f"column {name!r} has ordered categories that differ from one part of the rows to the "
                    f"next: {_shown(known)}; and {_shown(levels)}",
                    hint="Give it the same categories in all files or partitions, in one order.",
                )
            self._known[name] = max(known, levels, key=len)


def _shown(levels: list[Any]) -> str:
    return " < ".join(map(str, levels[:8])) + (" < ..." if len(levels) > 8 else "")


def with_named_levels(column: Any) -> Any:
    """A chunked dictionary array whose missing values are codes: pyarrow unites none that have them as names.

    Example:
      >>> import pyarrow as pa
      >>> part = pa.DictionaryArray.from_arrays(pa.array([1, 0]), pa.array([None, "a"]))
      >>> with_named_levels(pa.chunked_array([part])).chunk(0).indices.to_pylist()
      [0, None]
    """
    if not any(part.dictionary.null_count for part in column.chunks):
        return column
    return column.cast(column.type.value_type).dictionary_encode()
