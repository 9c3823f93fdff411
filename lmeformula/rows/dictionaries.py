"""Arrow's dictionaries, as its own functions take them."""

from __future__ import annotations

from typing import Any


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
