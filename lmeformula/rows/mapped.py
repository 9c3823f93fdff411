"""Arrays with a row for each of very many: in memory, or in files that the system reads a page at a time.

The files have no names: the system takes them back when nobody looks at them, whatever ends the process.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lmeformula.errors import FormulaDataError

# Rows that are worked on together, where all of them would need arrays of their own.
TOGETHER = 1_000_000

_pages: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def nameless() -> IO[bytes]:
    """A file for rows."""
    return tempfile.TemporaryFile(prefix="lmeformula-")


@contextmanager
def filling_disk() -> Iterator[None]:
    """Say in our words that a disk is full."""
    try:
        yield
    except OSError as error:
        raise FormulaDataError(
            f"rows that memory does not hold cannot be put into {tempfile.gettempdir()}: {error.strerror}",
            hint="Name a folder on a larger disk in the environment variable TMPDIR.",
        ) from error


def in_file(shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """An array of zeros in a file; what is in memory of others is put away.

    Raises:
      FormulaDataError: if the disk does not hold it.
    """
    size = max(int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize, 1)
    with filling_disk(), nameless() as file:
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):
            # Of a file with holes the disk may be full when a page is written, which ends the process.
            os.posix_fallocate(file.fileno(), 0, size)
        put_away()
        return of_file(file, shape, dtype)


def of_file(file: IO[bytes], shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """The array that a file has; the file may be closed."""
    pages = mmap.mmap(file.fileno(), 0)
    _pages.add(pages)
    return np.ndarray(shape, dtype, buffer=pages)


def is_in_file(array: object) -> bool:
    """Whether an array, or what it is a part of, is in a file."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap)


def beside(
    array: NDArray[Any], shape: tuple[int, ...], dtype: DTypeLike = np.float64
) -> NDArray[Any]:
    """An array that is not filled yet, where another one is: in memory or in a file.

    Example:
      >>> made = beside(in_file((3,)), (3, 2))
      >>> is_in_file(made), is_in_file(beside(np.zeros(3), (3, 2)))
      (True, False)
    """
    return in_file(shape, dtype) if is_in_file(array) else np.empty(shape, dtype)


def row_blocks(num_rows: int) -> Iterator[slice]:
    """Rows in blocks, in order; all in one where they are few.

    Example:
      >>> [rows.stop for rows in row_blocks(2_500_000)]
      [1000000, 2000000, 2500000]
    """
    for start in range(0, num_rows, TOGETHER):
        yield slice(start, min(start + TOGETHER, num_rows))


def put_away() -> None:
    """Take the pages of all files out of memory; they are read again when they are looked at."""
    if hasattr(mmap, "MADV_DONTNEED"):
        for pages in _pages:
            pages.madvise(mmap.MADV_DONTNEED)
