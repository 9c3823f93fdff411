"""Sparse matrices of one pattern with many sets of elements, without what a constructor checks each time."""

from __future__ import annotations

import copy
from typing import TypeVar

import numpy as np
import scipy.sparse as sp

from lmeformula.arrays import Codes, Floats

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
    found = copy.copy(matrix)
    found.data = elements
    return found
