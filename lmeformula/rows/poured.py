"""Columns of a source in files, for rows that memory does not hold: numbers as they are, text as codes."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lmeformula.errors import FormulaDataError
from lmeformula.rows.mapped import TOGETHER, filling_disk, nameless, of_file

MOST_EXACT = 2.0**53


class InFile(NamedTuple):
    """A column in a file.

    Attributes:
      values: (n,) numbers, nan where missing, or int32 codes of levels, -1 where missing.
      levels: the levels of categories or of text, in the order in which they came; None of numbers.
      is_ordered: whether the order of the levels means one.
      is_logical: whether the numbers are truth values.
    """

    values: NDArray[Any]
    levels: tuple[Any, ...] | None
    is_ordered: bool
    is_logical: bool


class Poured:
    """A column that takes block after block, in a file that is open until it is left.

    Args:
      name: of the column, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name, self._size = name, 0
        self._file, self._dtype = nameless(), np.dtype(np.int8)
        self._levels: dict[Any, int] = {}
        self._kinds: set[str] = set()
        self._is_ordered = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, column: Any) -> None:
        """Add a block, a chunked array of Arrow's.

        Raises:
          FormulaDataError: if its type is not one that is read so, or not that of the blocks before, or the
            disk is full.
        """
        for part in column.chunks:
            values = self._read(part)
            # What has no values is of any type.
            if len(self._kinds) > 1:
                raise FormulaDataError(
                    f"column {self._name!r} changes its type from one part of the rows to the next: "
                    f"{', '.join(sorted(self._kinds))}",
                    hint="Give it one type in all files or partitions.",
                )
            # An empty file has no type yet.
            dtype = np.result_type(self._dtype, values.dtype) if self._size else values.dtype
            if dtype != self._dtype:
                self._change(dtype)
            if values.dtype.kind in "iu" and dtype.kind == "f":
                self._check_exact(values)
            with filling_disk():
                self._file.write(values.astype(dtype, copy=False).data)
            self._size += len(values)

    def finish(self) -> InFile:
        """The column, when all blocks are there."""
        is_factor = self._kinds == {"categories"}
        if is_factor:
            self._change(np.dtype(np.int32))
        with filling_disk():
            self._file.flush()
        values = of_file(self._file, (self._size,), self._dtype)
        levels = tuple(self._levels) if is_factor else None
        return InFile(values, levels, self._is_ordered, self._kinds == {"truth values"})

    def _read(self, part: Any) -> NDArray[Any]:
        """The values of a block."""
        import pyarrow as pa

        kind = part.type
        if part.null_count == len(part):
            return np.full(len(part), np.nan)
        if pa.types.is_dictionary(kind):
            self._kinds.add("categories")
            self._is_ordered |= bool(kind.ordered)
            levels = part.dictionary.to_pylist()
            known = [self._levels.setdefault(level, len(self._levels)) for level in levels]
            codes = part.indices.fill_null(len(levels)).to_numpy(zero_copy_only=False)
            return np.asarray(np.array([*known, -1], dtype=np.int32)[codes])
        if pa.types.is_boolean(kind):
            self._kinds.add("truth values")
            return _floats(part.cast(pa.int8()))
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            self._kinds.add("numbers")
            if part.null_count and pa.types.is_integer(kind):
                self._check_exact(part.drop_null().to_numpy())
            is_whole = pa.types.is_integer(kind) and not part.null_count
            return np.asarray(part.to_numpy()) if is_whole else _floats(part)
        raise FormulaDataError(
            f"column {self._name!r} has the type {kind}, which is not read of rows that memory does not hold",
            hint="Cast it to numbers or text where the rows are.",
        )

    def _change(self, dtype: np.dtype[Any]) -> None:
        """Write the file again, as numbers of another type."""
        earlier, kind = self._file, self._dtype
        self._file, self._dtype = nameless(), dtype
        earlier.seek(0)
        with earlier, filling_disk():
            while len(values := np.frombuffer(earlier.read(TOGETHER * kind.itemsize), kind)):
                if kind.kind in "iu" and dtype.kind == "f":
                    self._check_exact(values)
                if (
                    kind.kind == "f" and dtype.kind in "iu"
                ):  # codes, where there were no values at first
                    values = np.where(np.isnan(values), -1.0, values)
                self._file.write(values.astype(dtype).data)

    def _check_exact(self, values: NDArray[Any]) -> None:
        """Refuse whole numbers that would be merged as floating ones."""
        if values.size and np.abs(values.astype(np.float64)).max() >= MOST_EXACT:
            raise FormulaDataError(
                f"column {self._name!r} has whole numbers that are too large to be exact beside others",
                hint="Write ids as text.",
            )


def _floats(part: Any) -> NDArray[Any]:
    """Numbers of Arrow as floating ones, nan where missing."""
    import pyarrow as pa

    return np.asarray(part.cast(pa.float64()).to_numpy(zero_copy_only=False))
