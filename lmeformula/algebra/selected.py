"""The elements of the inverse of a sparse symmetric matrix where its factor has some, and no others.

With M = L D L', Z = M^-1 satisfies L'Z = D^-1 L^-1, which is read from the last column on: the elements of a
column in the factor's pattern follow from those of later columns in it. Columns of which none is above another
in the elimination tree go together; the last columns, which are dense as a rule, are one dense matrix.

References: Takahashi, Fagan, Chen (1973), Formation of a sparse bus impedance matrix, PICA 8, 63-69; Erisman,
Tinney (1975), Comm. ACM 18, 177-179.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack
from scipy.sparse.linalg import splu

from lmeformula.arrays import Floats, Ints, Places

# Work of an element of a dense inverse, and of a gathered pair, relative to each other: where one takes over.
DENSE, GATHERED = 1.0, 40.0
# Pairs of which the places are kept, and that are gathered at a time.
MOST_KEPT, AT_A_TIME = 40_000_000, 2_000_000


class Batch(NamedTuple):
    """Columns with as many elements below the diagonal each, none above another.

    Attributes:
      columns: (m,) these.
      rows: (m, s) their elements.
      below: (m, s) where these are among all elements.
    """

    columns: Ints
    rows: Ints
    below: Places


@dataclass(frozen=True, eq=False)
class Symbolic:
    """The pattern of a factor, whatever the numbers.

    Attributes:
      order: (q,) place in the matrix of each row of the factor.
      starts: (q + 1,) where the elements of each column below the diagonal start.
      rows: (e,) their rows, sorted.
      cut: the first of the columns that are one dense matrix.
    """

    order: Ints
    starts: Places
    rows: Ints
    cut: int

    @property
    def size(self) -> int:
        """q."""
        return len(self.order)

    @cached_property
    def back(self) -> Ints:
        """(q,) row of the factor of each place in the matrix."""
        return np.argsort(self.order)

    @cached_property
    def columns(self) -> Ints:
        """(e,) the column of each element."""
        return np.repeat(np.arange(self.size), np.diff(self.starts))

    @cached_property
    def keys(self) -> Ints:
        """(e,) the elements by column and row, in order."""
        return self.columns * np.int64(self.size) + self.rows

    @cached_property
    def num_sparse(self) -> int:
        """How many elements are of columns before the cut."""
        return int(self.starts[self.cut])

    def places(self, one: Ints, other: Ints) -> Places:
        """Where elements of the inverse are kept: below the diagonal, on it, and in the dense block.

        Args:
          one, other: rows of the factor, of the same shape.
        Returns:
          Their places; -1 for what is not kept.
        """
        low, high = np.maximum(one, other), np.minimum(one, other)
        found = np.full(low.shape, -1, np.int64)
        in_block = high >= self.cut
        width = self.size - self.cut
        base = self.num_sparse + self.cut
        found[in_block] = base + (low[in_block] - self.cut) * width + (high[in_block] - self.cut)
        diagonal = ~in_block & (low == high)
        found[diagonal] = self.num_sparse + high[diagonal]
        rest = ~(in_block | diagonal)
        wanted = high[rest].astype(np.int64) * self.size + low[rest]
        if wanted.size and len(self.keys):
            place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            found[rest] = np.where(self.keys[place] == wanted, place, -1)
        return found

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        """The columns before the cut, those first whose elements are below none of the others."""
        counts = np.diff(self.starts)
        first = np.where(
            counts > 0, self.rows[np.minimum(self.starts[:-1], len(self.rows) - 1)], -1
        )
        depth = np.zeros(self.size, np.int64)
        for column in range(self.cut - 1, -1, -1):
            parent = first[column]
            depth[column] = depth[parent] + 1 if 0 <= parent < self.cut else 0
        kind = depth[: self.cut] * np.int64(self.size + 1) + counts[: self.cut]
        found = []
        by_kind = np.argsort(kind, kind="stable")
        edges = np.flatnonzero(np.diff(kind[by_kind], prepend=-1))
        for start, stop in itertools.pairwise([*edges, len(by_kind)]):
            columns = by_kind[start:stop]
            below = self.starts[columns][:, None] + np.arange(counts[columns[0]])
            found.append(Batch(columns, self.rows[below], below))
        return tuple(found)

    @cached_property
    def kept_pairs(self) -> tuple[Places, ...] | None:
        """(m, s, s) of each batch, where the elements between its rows are; None where they are too many."""
        if sum(batch.rows.size * batch.rows.shape[1] for batch in self.batches) > MOST_KEPT:
            return None
        return tuple(self.pairs(batch.rows) for batch in self.batches)

    def pairs(self, rows: Ints) -> Places:
        """(m, s, s) where the elements between the rows (m, s) of columns are."""
        shape = (*rows.shape, rows.shape[1])
        one = np.broadcast_to(rows[:, :, None], shape)
        return self.places(one, np.broadcast_to(rows[:, None, :], shape))


def find_symbolic(matrix: sp.csc_array) -> Symbolic:
    """Find an order of little fill-in for a symmetric pattern, and the pattern of the factor in it.

    Args:
      matrix: (q, q) of that pattern, its diagonal included.
    """
    q = matrix.shape[0]
    shaped = sp.csc_array(
        (np.full(len(matrix.indices), -1.0), matrix.indices, matrix.indptr), matrix.shape
    )
    sums = np.bincount(matrix.indices, minlength=q)
    shaped = sp.csc_array(shaped + sp.diags_array(2.0 + sums))
    found = splu(
        shaped, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    order = np.argsort(found.perm_c)
    permuted = sp.csc_array(matrix[order][:, order])
    permuted.sort_indices()
    lower = sp.csc_array(sp.tril(permuted, k=-1))
    lower.sort_indices()
    structures: list[Ints] = []
    waiting: list[list[Ints]] = [[] for _ in range(q)]
    for column in range(q):
        own = lower.indices[lower.indptr[column] : lower.indptr[column + 1]].astype(np.int64)
        if waiting[column]:
            own = np.unique(np.concatenate([own, *waiting[column]]))
            waiting[column] = []
        structures.append(own)
        if own.size > 1:
            waiting[own[0]].append(own[1:])
    counts = np.array([len(each) for each in structures], np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    rows = np.concatenate([*structures, np.zeros(0, np.int64)])
    return Symbolic(order, starts, rows, _cut(counts))


def _cut(counts: Ints) -> int:
    """From which column on one dense inverse takes less time than gathering."""
    q = len(counts)
    gathered = GATHERED * np.concatenate([[0.0], np.cumsum(counts.astype(float) ** 2)])
    dense = DENSE * (q - np.arange(q + 1.0)) ** 3
    return int(np.argmin(gathered + dense))


class Selected(NamedTuple):
    """Elements of an inverse.

    Attributes:
      symbolic: where they are.
      values: (e + c + d d,) below the diagonal before the cut, on it, and the dense block.
    """

    symbolic: Symbolic
    values: Floats

    def at(self, places: Places) -> Floats:
        """Elements at places of `Symbolic.places`."""
        return np.asarray(self.values[places])


def selected_inverse(symbolic: Symbolic, lower: Floats, diagonal: Floats) -> Selected:
    """Work out the elements of M^-1 in the pattern of M = L D L'.

    Args:
      symbolic: the pattern.
      lower: (e,) the elements of L below its diagonal of ones.
      diagonal: (q,) D.
    """
    cut, q, count = symbolic.cut, symbolic.size, symbolic.num_sparse
    values = np.empty(count + cut + (q - cut) ** 2)
    values[count + cut :] = _dense_block(symbolic, lower, diagonal).ravel()
    kept = symbolic.kept_pairs
    for number, batch in enumerate(symbolic.batches):
        pivots = 1.0 / diagonal[batch.columns]
        if not batch.rows.shape[1]:
            values[count + batch.columns] = pivots
            continue
        for some in _parts(batch):
            pairs = symbolic.pairs(batch.rows[some]) if kept is None else kept[number][some]
            factor = lower[batch.below[some]]
            found = -np.einsum("mab,mb->ma", values[pairs], factor)
            values[batch.below[some]] = found
            values[count + batch.columns[some]] = pivots[some] - np.einsum(
                "ma,ma->m", found, factor
            )
    return Selected(symbolic, values)


def _parts(batch: Batch) -> Iterator[slice]:
    size = max(1, AT_A_TIME // batch.rows.shape[1] ** 2)
    for start in range(0, len(batch.columns), size):
        yield slice(start, start + size)


def _dense_block(symbolic: Symbolic, lower: Floats, diagonal: Floats) -> Floats:
    """(d, d) the block of the inverse of the columns from the cut on: that of what is left to be factored."""
    cut, width = symbolic.cut, symbolic.size - symbolic.cut
    L = np.zeros((width, width))
    rest = slice(symbolic.num_sparse, None)
    L[symbolic.rows[rest] - cut, symbolic.columns[rest] - cut] = lower[rest]
    L[np.diag_indices(width)] = 1.0
    L *= np.sqrt(diagonal[cut:])
    if not width:
        return L
    below, status = lapack.dpotri(np.asfortranarray(L), lower=1)
    if status != 0:
        raise np.linalg.LinAlgError("M is singular")
    below = np.tril(below)
    found = below + below.T
    found[np.diag_indices(width)] = np.diag(below)
    return np.asarray(found)
