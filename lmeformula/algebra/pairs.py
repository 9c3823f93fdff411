"""Which elements of the between block meet in a level of the lead term, found once for every Lambda."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

# Most pairs of elements that are listed: 12 bytes for each, and for each pair of the lead's coefficients.
MAX_PAIRS = 20_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The lower triangle of C_l' K_l C_l as a linear function of K_l, for all levels l of the lead term.

    C_l (k, r) are the rows of the between block that belong to level l, K_l (k, k) is symmetric.

    Attributes:
      order: r.
      rows, columns: (m,) places, on or below the diagonal, that any level reaches.
      places: (m,) the same as flat places, row * r + column.
      shares: (l, m) CSR for each a >= b: what the element of K_l at [a, b] adds to each of `places`.
      is_diagonal: (m,) which of `places` lie on the diagonal.
    """

    order: int
    rows: Places
    columns: Places
    places: Places
    shares: tuple[tuple[sp.csr_array, ...], ...]
    is_diagonal: NDArray[np.bool_]

    def fill(self, values: Floats, *, both: bool) -> Floats:
        """(r, r) matrix of the values (m,) below the diagonal, on `both` sides of it or with zeros above."""
        found = np.zeros((self.order, self.order))
        flat = found.reshape(-1)
        flat[self.places] = values
        if both:
            flat[self.columns * self.order + self.rows] = values
        return found

    def read(self, matrix: Floats) -> Floats:
        """(m,) the elements of an (r, r) matrix below the diagonal."""
        return np.asarray(matrix.reshape(-1)[self.places])

    def gram(self, middles: Floats) -> Floats:
        """(m,) the sum over the levels of C_l' K_l C_l, for symmetric K (l, k, k)."""
        total = np.zeros(len(self.places))
        for a, row in enumerate(self.shares):
            for b, share in enumerate(row):
                total += share.T @ middles[:, a, b]
        return total

    def forms(self, values: Floats) -> Floats:
        """(l, k, k) C_l S C_l' of every level, for a symmetric S (r, r) given by `read`."""
        k, levels = len(self.shares), self.shares[0][0].shape[0]
        whole = np.where(self.is_diagonal, values, 2.0 * values)
        found = np.empty((levels, k, k))
        for a, row in enumerate(self.shares):
            for b, share in enumerate(row):
                form = share @ whole
                found[:, a, b] = found[:, b, a] = form if a == b else 0.5 * form
        return found


def find_pairs(between: sp.csr_array, k: int) -> Pairs | None:
    """List the pairs of a between block (l k, r) with sorted indices.

    Args:
      between: block between the lead term, of k coefficients, and the others.
      k: number of coefficients of the lead term.
    Returns:
      The pairs; None where they would take more memory than they are worth, or where the rows of a level have
      their elements in different columns.
    """
    size, order = between.shape
    levels = size // k
    lengths = np.diff(between.indptr)
    count = lengths[::k]
    total = int((count.astype(np.int64) * (count + 1) // 2).sum())
    if not 0 < total * k * (k + 1) // 2 <= MAX_PAIRS or order > 46_000:
        return None
    blocks = _rows_of(between, k)
    if blocks is None:
        return None
    columns, data = blocks
    # Element e of its level pairs with itself and those before it: e + 1 pairs.
    starts = np.concatenate([[0], np.cumsum(count)])
    local = np.arange(len(columns)) - np.repeat(starts[:-1], count)
    ends = np.cumsum(local + 1)
    second = np.arange(total, dtype=np.int32)
    second -= np.repeat(
        (ends - columns.dtype.type(1) - np.arange(len(columns))).astype(np.int32), local + 1
    )
    place = np.repeat(columns * np.int32(order), local + 1)
    place += columns[second]
    reached = np.zeros(order * order, bool)
    reached[place] = True
    places = np.flatnonzero(reached)
    number = np.empty(order * order, np.int32)
    number[places] = np.arange(len(places), dtype=np.int32)
    indices = number[place]
    pointers = np.concatenate([[0], ends])[starts].astype(np.int32)
    shape = (levels, len(places))
    shares = []
    for a in range(k):
        row = []
        for b in range(a + 1):
            product = np.repeat(data[a], local + 1) * data[b][second]
            if a != b:
                product += np.repeat(data[b], local + 1) * data[a][second]
            row.append(sp.csr_array((product, indices, pointers), shape))
        shares.append(tuple(row))
    rows, across = np.divmod(places, order)
    return Pairs(order, rows, across, places, tuple(shares), rows == across)


def _rows_of(between: sp.csr_array, k: int) -> tuple[NDArray[np.int32], list[Floats]] | None:
    """The columns of each level's elements, and the elements in each of its k rows."""
    if k == 1:
        return between.indices.astype(np.int32, copy=False), [between.data]
    parts = [between[a::k] for a in range(k)]
    first = parts[0]
    for part in parts[1:]:
        if not (
            np.array_equal(part.indptr, first.indptr)
            and np.array_equal(part.indices, first.indices)
        ):
            return None
    return first.indices.astype(np.int32, copy=False), [part.data for part in parts]
