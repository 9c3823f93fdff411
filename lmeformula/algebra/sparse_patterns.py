"""Sparse matrices of one pattern with many sets of elements, without what a constructor checks each time."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import scipy.sparse as sp

from lmeformula.arrays import Codes, Floats, Places

Sparse = TypeVar("Sparse", sp.csr_array, sp.csc_array)


def pattern(columns: Codes, pointers: Codes, shape: tuple[int, int]) -> sp.csr_array:
    """A CSR matrix of a pattern that has no elements yet.

    Args:
      columns: (e,) of the elements, row by row.
      pointers: (m + 1,) where those of each row start.
      shape: (m, n).
    """
    found = sp.csr_array((np.zeros(len(columns), np.int8), columns, pointers), shape)
    found.data = np.zeros(0)
    return found


def with_elements(matrix: Sparse, elements: Floats) -> Sparse:
    """A matrix of the same pattern, on the same memory, with other elements (e,).

    Example:
      >>> places = pattern(np.array([1, 0], np.int32), np.array([0, 1, 2], np.int32), (2, 2))
      >>> with_elements(places, np.array([3.0, 4.0])).toarray().tolist()
      [[0.0, 3.0], [4.0, 0.0]]
    """
    # What `copy.copy` does, without asking how: small fits make hundreds of these.
    found: Sparse = object.__new__(type(matrix))
    found.__dict__.update(matrix.__dict__)
    found.data = elements
    return found


def turned(of: sp.csr_array) -> sp.csc_array:
    """The transpose of a pattern, on the same memory."""
    # Of a matrix without elements scipy would make another.
    found = with_elements(of, np.zeros(len(of.indices))).T
    found.data = of.data
    return found


def ordered_by(codes: Codes, count: int) -> tuple[Codes, Places]:
    """The order of rows by their codes, those of one code in their own order, without comparing any two.

    Sparse matrices turn from rows to columns by counting: a third of the time of a sort of 10^7 codes, and a
    third of its memory.

    Args:
      codes: (n,) from 0 to count - 1.
      count: of codes.
    Returns:
      order: (n,) rows; starts: (count + 1,) where those of each code start in it.
    Example:
      >>> order, starts = ordered_by(np.array([2, 0, 2, 0], np.int32), 3)
      >>> order.tolist(), starts.tolist()
      ([1, 3, 0, 2], [0, 2, 2, 4])
    """
    n = len(codes)
    kind = np.int32 if n < np.iinfo(np.int32).max else np.int64
    each = sp.csr_array((np.zeros(n, np.int8), codes, np.arange(n + 1, dtype=kind)), (n, count))
    turned = each.tocsc()
    return turned.indices, turned.indptr
