"""Which elements of the between block meet in a level of the lead term, found once for every Lambda."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lmeformula.algebra.sparse_patterns import pattern, turned, with_elements
from lmeformula.arrays import Codes, Floats, Mask, Places

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
      turned: their transposes, on the same memory.
      is_diagonal: (m,) which of `places` lie on the diagonal.
      rest: (m,) the rest's own elements at `places`: they meet in rows, hence in levels, and are nowhere else.
    """

    order: int
    rows: Places
    columns: Places
    places: Places
    shares: tuple[tuple[sp.csr_array, ...], ...]
    turned: tuple[tuple[sp.csc_array, ...], ...]
    is_diagonal: Mask
    rest: Floats

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
        for a, row in enumerate(self.turned):
            for b, share in enumerate(row):
                total += share @ middles[:, a, b]
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


class PairPattern(NamedTuple):
    """Where the elements of a between block meet, whatever their values.

    An element's pairs are those with itself and with the elements before it in its level, one after the other.

    Attributes:
      order: r.
      second: (t,) the second element of each pair, counted through the levels.
      indices: (t,) which of `places` each pair adds to.
      by_level: (l + 1,) where the pairs of each level start.
      by_element: (e + 1,) where the pairs of each element start.
      places: (m,) flat places on or below the diagonal that any level reaches.
      rows, columns, is_diagonal: (m,) their rows and columns, and which are on the diagonal.
      below: (r, r) the pattern of `places`, and `above` its transpose.
      sizes: (e,) number of pairs of each element.
      by_place: (l, m) the pattern of what elements of a level add to these, and `turned` its transpose.
      met: (e, e) the pattern of the pairs, and `met_back` its transpose.
    """

    order: int
    second: Codes
    indices: Codes
    by_level: Codes
    by_element: Codes
    places: Places
    rows: Places
    columns: Places
    is_diagonal: Mask
    below: sp.csr_array
    above: sp.csc_array
    sizes: Codes
    by_place: sp.csr_array
    turned: sp.csc_array
    met: sp.csr_array
    met_back: sp.csc_array

    def of(self, data: list[Floats], rest: Floats) -> Pairs:
        """The pairs for elements (e,) in each of the k rows of a level, beside a rest (r, r)."""
        count, products = self.sizes, []
        for a in range(len(data)):
            row = []
            for b in range(a + 1):
                product = np.repeat(data[a], count) * data[b][self.second]
                if a != b:
                    product += np.repeat(data[b], count) * data[a][self.second]
                row.append(product)
            products.append(row)
        return Pairs(
            self.order,
            self.rows,
            self.columns,
            self.places,
            tuple(tuple(with_elements(self.by_place, each) for each in row) for row in products),
            tuple(tuple(with_elements(self.turned, each) for each in row) for row in products),
            self.is_diagonal,
            rest.reshape(-1)[self.places],
        )

    def times_within(self, below: Floats, data: Floats) -> Floats:
        """(k, e) what the elements `data` of each level give times those that pairs of them meet.

        Args:
          below: (r, r) symmetric matrix, given below its diagonal.
          data: (k, e).
        """
        values = below.reshape(-1)[self.places][self.indices]
        met, back = with_elements(self.met, values), with_elements(self.met_back, values)
        diagonal = values[self.by_element[1:] - 1]
        return np.asarray((met @ data.T + back @ data.T).T - diagonal * data)

    def crossed(self, left: Floats, right: Floats) -> Floats:
        """(m, p) at `places`, sums over the levels of A_l'B_l + B_l'A_l, of elements (k, e) and (m, k, e)."""
        pairs = np.repeat(left, self.sizes, axis=-1) * right[..., self.second]
        pairs += left[:, self.second] * np.repeat(right, self.sizes, axis=-1)
        sums = pairs.sum(axis=1)
        return np.array([np.bincount(self.indices, row, len(self.places)) for row in sums])


def find_pattern(
    count: NDArray[np.integer[Any]], columns: Codes, order: int, k: int
) -> PairPattern | None:
    """List the pairs of elements of each level.

    Args:
      count: (l,) number of elements of each level.
      columns: (e,) their columns, sorted within each level.
      order: r.
      k: number of coefficients of the lead term.
    Returns:
      The pairs; None where they would take more memory than they are worth.
    """
    total = int((count.astype(np.int64) * (count + 1) // 2).sum())
    if not 0 < total * k * (k + 1) // 2 <= MAX_PAIRS or order > 46_000:
        return None
    # Element e of its level pairs with itself and those before it: e + 1 pairs.
    starts = np.concatenate([[0], np.cumsum(count)])
    local = np.arange(len(columns)) - np.repeat(starts[:-1], count)
    ends = np.cumsum(local + 1)
    second = np.arange(total, dtype=np.int32)
    second -= np.repeat((ends - 1 - np.arange(len(columns))).astype(np.int32), local + 1)
    place = np.repeat(columns * np.int32(order), local + 1)
    place += columns[second]
    reached = np.zeros(order * order, bool)
    reached[place] = True
    places = np.flatnonzero(reached)
    number = np.empty(order * order, np.int32)
    number[places] = np.arange(len(places), dtype=np.int32)
    pointers = np.concatenate([[0], ends]).astype(np.int32)
    indices, by_level, size = number[place], pointers[starts], len(columns)
    by_place = pattern(indices, by_level, (len(count), len(places)))
    met = pattern(second, pointers, (size, size))
    rows, left = np.divmod(places, order)
    starts = np.searchsorted(rows, np.arange(order + 1)).astype(np.int32)
    below = pattern(left.astype(np.int32), starts, (order, order))
    return PairPattern(
        order=order,
        second=second,
        indices=indices,
        by_level=by_level,
        by_element=pointers,
        places=places,
        rows=rows,
        columns=left,
        is_diagonal=rows == left,
        below=below,
        above=turned(below),
        sizes=np.diff(pointers),
        by_place=by_place,
        turned=turned(by_place),
        met=met,
        met_back=turned(met),
    )
