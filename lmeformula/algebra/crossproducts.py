"""Cross products Z'WZ of the random-effects terms, in blocks; the rows of the data are visited only here.

The effects are ordered level by level within a term: coefficient a of level l of a term with k columns has
place l * k + a. The term with the most effects (the lead) is kept apart, because its diagonal block is block
diagonal; the others (the rest) follow in formula order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from lmeformula.algebra.pairs import Pairs
from lmeformula.algebra.sparse_patterns import with_elements
from lmeformula.arrays import Codes, Floats
from lmeformula.design.design import TermBlock
from lmeformula.design.relation import Relation
from lmeformula.design.shards import lead_of

# With so few rows sparse products spend their time on being called.
FEW_ROWS = 4000
ALL_ROWS = slice(None)


class Layout(NamedTuple):
    """Where the effects of each term are, and the terms' model matrices.

    Attributes:
      sizes: (l, k) of each term, in formula order.
      lead: position of the lead term in formula order.
      rest: positions of the other terms.
      matrices: (n, l k) CSR model matrix Z of each term, in formula order.
      starts: where each term starts in a vector of all effects: lead first, then the rest; by formula order.
      transposed: (l k, n) Z' of each term, on the same numbers: small fits wait for scipy to make one.
      num_effects: q, the number of random effects.
      lead_size: number of effects of the lead term.
      places: where the effects of each term are in a vector of all effects.
      places_in_rest: the same in a vector of the rest's effects; of the lead term nowhere.
      relations: of each term, B with which the effects of its levels are B times independent ones, or None;
        () where all levels are independent. The model matrices are those of the levels' own effects.
      is_general: whether levels of a term meet: they are not independent, or a row has several of them. Then
        nothing is block diagonal, and `general.py` has the algebra.
    """

    sizes: tuple[tuple[int, int], ...]
    lead: int
    rest: tuple[int, ...]
    matrices: tuple[sp.csr_array, ...]
    starts: tuple[int, ...]
    transposed: tuple[sp.csc_array, ...]
    num_effects: int
    lead_size: int
    places: tuple[slice, ...]
    places_in_rest: tuple[slice, ...]
    relations: tuple[Relation | None, ...] = ()
    is_general: bool = False

    @classmethod
    def of_sizes(cls, sizes: tuple[tuple[int, int], ...], lead: int) -> Layout:
        """The layout of terms of (l, k), without rows."""
        counts = [levels * k for levels, k in sizes]
        rest = tuple(j for j in range(len(sizes)) if j != lead)
        starts = [0] * len(sizes)
        size = start = counts[lead]
        for j in rest:
            starts[j] = start
            start += counts[j]
        places = tuple(slice(at, at + count) for at, count in zip(starts, counts, strict=True))
        in_rest = tuple(slice(place.start - size, place.stop - size) for place in places)
        total = sum(counts)
        return cls(sizes, lead, rest, (), tuple(starts), (), total, size, places, in_rest)

    def place(self, term: int) -> slice:
        """Where the effects of a term are in a vector of all effects."""
        return self.places[term]

    def in_rest(self, term: int) -> slice:
        """Where the effects of a term of the rest are in a vector of the rest's."""
        return self.places_in_rest[term]

    def values(self, term: int) -> Floats:
        """(n, k) the columns of a term."""
        return np.asarray(self.matrices[term].data.reshape(-1, self.sizes[term][1]))

    def level(self, term: int) -> Codes:
        """(n,) the level of each row."""
        k, places = self.sizes[term][1], self.matrices[term].indices
        return np.asarray(places if k == 1 else places[::k] // k)

    def spread(self, effects: Floats, rows: slice = ALL_ROWS) -> Floats:
        """Z effects (n,) or (n, m) of some rows, for effects (q,) or (q, m)."""
        found = self._spread(0, effects, rows)
        for j in range(1, len(self.sizes)):
            found += self._spread(j, effects, rows)
        return found

    def gather(self, rows: Floats) -> Floats:
        """Z' rows (q,) or (q, m), for rows (n,) or (n, m)."""
        found = np.empty((self.num_effects, *rows.shape[1:]))
        for j, matrix in enumerate(self.transposed):
            if self._is_short(j, rows):
                levels = self.matrices[j].indices
                own: Floats = np.asarray(
                    np.bincount(levels, matrix.data * rows, self.sizes[j][0]), float
                )
            else:
                own = np.asarray(matrix @ rows)
            relation = self.relation(j)
            found[self.place(j)] = own if relation is None else relation.inward(own)
        return found

    def relation(self, term: int) -> Relation | None:
        """How the levels of a term are related; None where they are independent."""
        return self.relations[term] if self.relations else None

    def natural(self, parts: tuple[Floats, ...]) -> tuple[Floats, ...]:
        """Effects (l, k, ...) of each term's levels, from those of independent ones."""
        if not self.relations:
            return parts
        return tuple(
            part if relation is None else relation.outward(part)
            for part, relation in zip(parts, self.relations, strict=True)
        )

    def _spread(self, term: int, effects: Floats, rows: slice) -> Floats:
        """What rows read of a term's effects."""
        matrix, own, relation = self.matrices[term], effects[self.place(term)], self.relation(term)
        if relation is not None:
            own = relation.outward(own)
        if self._is_short(term, effects):
            return np.asarray(matrix.data[rows] * own[matrix.indices[rows]])
        return np.asarray((matrix if rows == ALL_ROWS else matrix[rows]) @ own)

    def _is_short(self, term: int, values: Floats) -> bool:
        """Whether NumPy's own sums, which give the same, are faster than the calls of sparse products."""
        rows, k = len(self.matrices[term].indices), self.sizes[term][1]
        return values.ndim == 1 and k == 1 and rows <= FEW_ROWS and not self.is_general

    def of_columns(self, term: int, values: Floats) -> sp.csr_array:
        """The model matrix of a term, of other columns (n, k)."""
        return with_elements(self.matrices[term], values.ravel())

    def with_matrices(self, matrices: tuple[sp.csr_array, ...]) -> Layout:
        """The same effects with other model matrices (n, l k)."""
        return self._replace(matrices=matrices, transposed=tuple(matrix.T for matrix in matrices))

    def split(self, effects: Floats) -> tuple[Floats, ...]:
        """A vector (q) or matrix (q, m) of effects, as (l, k) or (l, k, m) arrays in formula order."""
        return tuple(
            effects[self.place(j)].reshape(*size, *effects.shape[1:])
            for j, size in enumerate(self.sizes)
        )

    def join(self, parts: tuple[Floats, ...]) -> Floats:
        """The inverse of `split`."""
        first = parts[0]
        joined = np.empty((self.num_effects, *first.shape[2:]))
        for j, part in enumerate(parts):
            joined[self.place(j)] = part.reshape(math.prod(self.sizes[j]), *first.shape[2:])
        return joined


def layout(terms: tuple[TermBlock, ...], lead: int | None = None) -> Layout:
    """Lay out the effects of `terms`; at least one term.

    Args:
      terms: with their rows.
      lead: place of the lead term; that with the most effects by default.
    """
    sizes = tuple((len(term.levels), len(term.columns)) for term in terms)
    relations = tuple(term.relation for term in terms)
    is_general = any(term.meets for term in terms)
    # Rows have as many columns in one term as in another: what says so is there once.
    pointers = {k: np.arange(0, len(terms[0].index) * k + 1, k, dtype=np.int32) for _, k in sizes}
    matrices = tuple(
        model_matrix(term, pointers[len(term.columns)] if term.shares is None else None)
        for term in terms
    )
    plan = Layout.of_sizes(sizes, lead_of(terms) if lead is None else lead)
    if is_general:
        plan = plan._replace(relations=relations, is_general=True)
    return plan.with_matrices(matrices)


def model_matrix(term: TermBlock, pointers: Codes | None = None) -> sp.csr_array:
    """The (n, l k) sparse model matrix of a term: each row has its level's k columns, or those of its members.

    Args:
      term: the term.
      pointers: (n + 1,) where the columns of each row start, if they are there already.
    """
    n, k = term.values.shape
    columns: Codes = term.index.astype(np.int32, copy=False)
    if k > 1:
        columns = np.add.outer(columns * np.int32(k), np.arange(k, dtype=np.int32))
    values = np.ascontiguousarray(term.values)
    if term.shares is not None:
        values = term.shares[:, :, None] * values[:, None, :]
    if pointers is None:
        width = columns.size // n if n else 0
        pointers = np.arange(n + 1, dtype=np.int32) * np.int32(width)
    matrix = sp.csr_array(
        (values.ravel(), columns.ravel(), pointers),
        shape=(n, len(term.levels) * k),
    )
    # Members may be in any order, and the same twice.
    matrix.has_sorted_indices = term.shares is None
    return matrix


def are_ones(values: Floats) -> bool:
    """Whether columns (n, k) are a single one of ones, as of an intercept."""
    return values.shape[1] == 1 and bool((values[:1] == 1.0).all() and (values == 1.0).all())


def outer_changes(slopes: Floats, factor: Floats) -> Floats:
    """(t, k, k) derivatives of Lambda Lambda' from those of Lambda."""
    half = slopes @ factor.T
    return np.asarray(half + half.transpose(0, 2, 1))


def covariance_directions(plan: Layout, w: Floats, changes: tuple[Floats, ...]) -> Floats:
    """How V^-1 r moves with the covariances: (q, t) a_i with V_i V^-1 r = Z a_i.

    Args:
      plan: layout of the effects.
      w: (q,) Z'V^-1 r.
      changes: (t_j, k, k) derivatives of each Lambda Lambda'.
    """
    found = np.zeros((sum(map(len, changes)), plan.num_effects))
    start = 0
    for j, (change, part) in enumerate(zip(changes, plan.split(w), strict=True)):
        stop = start + len(change)
        found[start:stop, plan.place(j)] = (part @ change).reshape(len(change), part.size)
        start = stop
    return found.T


@dataclass(frozen=True, slots=True, eq=False)
class CrossProducts:
    """Z'WZ in blocks.

    C_l (k, r) below are the rows of the between block that belong to level l of the lead term.

    Attributes:
      lead: (l, k, k) diagonal blocks of the lead term.
      between: (lead_size, r) CSR block between the lead term and the rest; r may be 0.
      rest: (r, r) dense block of the rest.
      pairs: which elements of `between` meet in a level, where that was worked out from the design (see
        incidence.py); sums over them are then several times faster, and give the same. What is zero by chance
        is missing in `between` without them, and is an element like others with them.
      full: (l, k, r) the between block, where so much of it is there that sums over all of it are faster still.
      thin: the rest without its zeros, where it has nearly nothing else.
      back: the transpose of the pattern of `between`, where that was made once.
    """

    lead: Floats
    between: sp.csr_array
    rest: Floats
    pairs: Pairs | None = None
    full: Floats | None = None
    thin: sp.csr_array | None = None
    back: sp.csc_array | None = None

    def turned(self, rows: sp.csr_array) -> sp.csc_array:
        """The transpose of `between`, or of other elements in its pattern."""
        is_alike = self.back is not None and rows.indices is self.between.indices
        return with_elements(self.back, rows.data) if is_alike else rows.T

    @property
    def diagonal(self) -> Floats:
        """(q,) lead first."""
        return np.concatenate([np.einsum("laa->la", self.lead).ravel(), np.diag(self.rest)])

    def squared(self) -> CrossProducts:
        """With the square of each element in its place."""
        return CrossProducts(self.lead**2, self.between.power(2), self.rest**2)

    def times(self, columns: Floats) -> Floats:
        """Z'WZ columns, for columns (q, m), lead first."""
        size = self.between.shape[0]
        top, bottom = columns[:size], columns[size:]
        first, rest = times_blocks(self.lead, top), self.rest if self.thin is None else self.thin
        back = self.turned(self.between)
        return np.concatenate([first + self.between @ bottom, back @ top + rest @ bottom])

    def sums(self, plan: Layout) -> tuple[Floats, ...]:
        """(k, k) sums of the diagonal blocks over each term's levels, in formula order."""
        found = []
        for j, (levels, k) in enumerate(plan.sizes):
            if j == plan.lead:
                found.append(self.lead.sum(axis=0))
            else:
                here = plan.in_rest(j).start + np.arange(levels * k).reshape(levels, k)
                found.append(self.rest[here[:, :, None], here[:, None, :]].sum(axis=0))
        return tuple(found)

    def gram(self, middles: Floats) -> Floats:
        """(r, r): sum over the levels of C_l' K_l C_l, for symmetric K (l, k, k)."""
        if self.full is not None:
            rows = self.full.reshape(-1, self.full.shape[2])
            return np.asarray(rows.T @ stacked(middles, self.full).reshape(rows.shape))
        if self.pairs is None:
            # sparse x sparse, then dense: far fewer products than a dense triangular solve
            return np.asarray(
                (self.between.T.tocsr() @ block_rows(middles, self.between)).toarray()
            )
        return self.pairs.fill(self.pairs.gram(middles), both=True)

    def forms(self, matrix: Floats) -> Floats:
        """(l, k, k): C_l S C_l' of each level, for symmetric S (r, r)."""
        if self.pairs is not None:
            return self.pairs.forms(self.pairs.read(matrix))
        if self.full is not None:
            return np.asarray(np.einsum("lar,lbr->lab", self.full @ matrix, self.full))
        k = self.lead.shape[1]
        found = np.empty_like(self.lead)
        rows = [self.between[a::k] for a in range(k)]
        for a in range(k):
            spread = rows[a] @ matrix
            for b in range(a + 1):
                form = np.asarray(rows[b].multiply(spread).sum(axis=1)).ravel()
                found[:, a, b] = found[:, b, a] = form
        return found

    def sum_forms(self, left: Floats, matrix: Floats) -> Floats:
        """(k, k): sum over the levels of N_l C_l S C_l' N_l', for N (l, k, k) and symmetric S (r, r)."""
        k = self.lead.shape[1]
        total = np.empty((k, k))
        for a in range(k):
            for b in range(a + 1):
                # A few sparse sums are faster than the forms themselves.
                middles = left[:, a, :, None] * left[:, b, None, :]
                middles = 0.5 * (middles + middles.transpose(0, 2, 1))
                total[a, b] = total[b, a] = np.vdot(self.gram(middles), matrix)
        return total


def stacked(left: Floats, right: Floats) -> Floats:
    """Products of stacked matrices; those of one number are no loop over matrices."""
    return np.asarray(left * right if left.shape[-2:] == (1, 1) else left @ right)


def times_blocks(blocks: Floats, columns: Floats, *, transpose: bool = False) -> Floats:
    """Block-diagonal (l, k, k) blocks, or their transposes, times columns (l k, m)."""
    levels, k, _ = blocks.shape
    if k == 1:
        return np.asarray(blocks[:, 0] * columns)
    turned = blocks.transpose(0, 2, 1) if transpose else blocks
    return np.asarray((turned @ columns.reshape(levels, k, -1)).reshape(columns.shape))


def block_rows(blocks: Floats, matrix: sp.csr_array) -> sp.csr_array:
    """Block-diagonal (l, k, k) `blocks` times a sparse (l k, r) matrix."""
    if blocks.shape[1] > 1:
        return sp.csr_array(block_diagonal(blocks) @ matrix)
    per_entry = np.repeat(blocks[:, 0, 0], np.diff(matrix.indptr))
    return with_elements(matrix, matrix.data * per_entry)


def block_diagonal(blocks: Floats) -> sp.csr_array:
    """(l, k, k) blocks as one sparse (l k, l k) matrix."""
    levels, k, _ = blocks.shape
    columns = np.arange(levels * k).reshape(levels, 1, k).repeat(k, axis=1)
    pointers = np.arange(0, levels * k * k + 1, k)
    return sp.csr_array((blocks.ravel(), columns.ravel(), pointers), (levels * k, levels * k))
