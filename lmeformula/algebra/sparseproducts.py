"""Cross products Z'WZ in sparse blocks, for designs whose rest is too large for a dense one.

Where rows of two terms meet is found once; other row weights then cost one pass over the rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from lmeformula.algebra.crossproducts import Layout, are_ones, stacked, times_blocks
from lmeformula.algebra.sparse_patterns import ordered_by
from lmeformula.arrays import Codes, Floats, Ints
from lmeformula.rows.mapped import TOGETHER, row_blocks

# Products of blocks up to this size go element by element, so many at a time as stay at hand.
SMALL_BLOCK, AT_HAND = 4, 8192


class Meeting(NamedTuple):
    """The m pairs of levels of two terms that meet in some row, sorted.

    Attributes:
      slot: (n,) which pair each row belongs to.
      first: (m,) level of the first term.
      second: (m,) level of the second term.
      pointers: (l + 1,) where the pairs of each level of the first term start.
    """

    slot: Codes
    first: Codes
    second: Codes
    pointers: Ints

    def sums(self, first: Floats, second: Floats, weights: Floats | None) -> Floats:
        """(m, k, k') of each pair, over its rows: products of columns (n, k) and (n, k'), times weights."""
        return product_sums(self.slot, len(self.first), first, second, weights)


class Pair(NamedTuple):
    """One block Z_i'WZ_j.

    Attributes:
      blocks: (m, k_i, k_j) what is not zero, a block for each pair of levels that meet.
      first: (m,) level of the first term of each.
      second: (m,) level of the second term of each.
      forward: (l_i k_i, l_j k_j) CSR of the blocks.
      backward: its transpose, on the same memory. (Measured with 10^7 blocks and 16 columns: 0.28 s a product,
        which adds to the shorter side out of order; a CSR copy, which reads the longer one, takes 0.43 s.)
    """

    blocks: Floats
    first: Codes
    second: Codes
    forward: sp.csr_array
    backward: sp.csc_array

    def between(self, left: Floats, right: Floats) -> Floats:
        """(m, k_i, k_j) left block right of each pair, of (l_i, k_i, k_i) and (l_j, k_j, k_j)."""
        found = np.empty_like(self.blocks)
        for part in row_blocks(len(found)):
            half = stacked(left[self.first[part]], self.blocks[part])
            found[part] = stacked(half, right[self.second[part]])
        return found


class Meetings(NamedTuple):
    """Where the terms of a design meet; see `SparseProducts` for the order.

    Attributes:
      plan: layout of the effects.
      between: lead term with each term of the rest.
      across: terms of the rest with each other.
    """

    plan: Layout
    between: tuple[Meeting, ...]
    across: tuple[tuple[int, int, Meeting], ...]


class SparseProducts(NamedTuple):
    """Z'WZ in blocks.

    Attributes:
      meetings: where the terms meet.
      lead: (l, k, k) diagonal blocks of the lead term.
      diagonal: (l, k, k) diagonal blocks of each term of the rest.
      between: block between the lead term and each term of the rest.
      across: the blocks within the rest that are not diagonal, with the places of their terms in the rest.
    """

    meetings: Meetings
    lead: Floats
    diagonal: tuple[Floats, ...]
    between: tuple[Pair, ...]
    across: tuple[tuple[int, int, Pair], ...]

    @property
    def plan(self) -> Layout:
        """Layout of the effects."""
        return self.meetings.plan

    def times(self, columns: Floats) -> Floats:
        """Z'WZ columns, for effects (q, m)."""
        plan = self.plan
        found = np.empty_like(columns)
        diagonal = (self.lead, *self.diagonal)
        places = [plan.place(j) for j in (plan.lead, *plan.rest)]
        for place, blocks in zip(places, diagonal, strict=True):
            found[place] = times_blocks(blocks, columns[place])
        top, rest = places[0], places[1:]
        for place, pair in zip(rest, self.between, strict=True):
            found[top] += pair.forward @ columns[place]
            found[place] += pair.backward @ columns[top]
        for i, j, pair in self.across:
            found[rest[i]] += pair.forward @ columns[rest[j]]
            found[rest[j]] += pair.backward @ columns[rest[i]]
        return found

    def sums(self, plan: Layout) -> tuple[Floats, ...]:
        """(k, k) sums of the diagonal blocks over each term's levels, in formula order."""
        return sums_of(plan, self.lead, self.diagonal)

    def forward(self, parts: list[Floats]) -> Floats:
        """(lead_size, m): the block between times columns (r_j, m) of each term of the rest."""
        found = [pair.forward @ part for pair, part in zip(self.between, parts, strict=True)]
        if not found:
            return np.zeros((self.plan.lead_size, 1))
        for part in found[1:]:
            found[0] += part
        return np.asarray(found[0])

    def backward(self, columns: Floats) -> list[Floats]:
        """(r_j, m) of each term of the rest: the block between, transposed, times columns (lead_size, m)."""
        return [pair.backward @ columns for pair in self.between]

    def reduced(self, middle: Floats, parts: list[Floats]) -> list[Floats]:
        """(r_j, m) of each term of the rest: C_22 x - C_21 K C_12 x, without C_22's diagonal blocks.

        Args:
          middle: (l, k, k) K, symmetric.
          parts: (r_j, m) x of each term of the rest.
        """
        found = [-part for part in self.backward(times_blocks(middle, self.forward(parts)))]
        for i, j, pair in self.across:
            found[i] += pair.forward @ parts[j]
            found[j] += pair.backward @ parts[i]
        return found

    def forms(self, turn: Floats, left: list[Floats], right: list[Floats]) -> Floats:
        """(m, k, k) sums over the lead term's levels of T C_12 x (T C_12 z)', a column m of both at a time.

        Args:
          turn: (l, k, k) T.
          left, right: (r_j, m) x and z of each term of the rest.
        """
        levels, k, _ = turn.shape
        turned = (
            times_blocks(turn, self.forward(parts)).reshape(levels, k, -1)
            for parts in (left, right)
        )
        return np.asarray(np.einsum("las,lbs->sab", *turned))

    def inner(self, middle: Floats) -> list[Floats]:
        """(l, k, k) diagonal blocks of C_21 K C_12 of each term of the rest, for symmetric K (l, k, k)."""
        found = []
        for pair, diagonal in zip(self.between, self.diagonal, strict=True):
            total = np.zeros_like(diagonal)
            for part in row_blocks(len(pair.first)):
                turned = pair.blocks[part].transpose(0, 2, 1)
                inner = _sandwich(turned, middle[pair.first[part]])
                total += _sum_by(pair.second[part], inner, len(diagonal))
            found.append(total)
        return found

    def squares(self, left: Floats, right: list[Floats]) -> Floats:
        """(l, k, k) sums of F F' over the pairs of each level of the lead term, F = left block right.

        Args:
          left: (l, k, k) of the lead term.
          right: (l, k, k) of each term of the rest.
        """
        found = np.zeros_like(self.lead)
        for pair, outward in zip(self.between, right, strict=True):
            squared = outward @ outward.transpose(0, 2, 1)
            for part in row_blocks(len(pair.first)):
                inner = _sandwich(pair.blocks[part], squared[pair.second[part]])
                found += _sum_by(pair.first[part], inner, len(left))
        return np.asarray(left @ found @ left.transpose(0, 2, 1))

    def shares(self, is_small: list[bool]) -> list[list[Floats]]:
        """(l, s) of each term of the rest that is not small, how much its levels meet those of each small one.

        Args:
          is_small: of each term of the rest.
        """
        found: list[list[Floats]] = [[] for _ in is_small]
        for i, j, pair in self.across:
            if is_small[i] == is_small[j]:
                continue
            large, small = (j, i) if is_small[i] else (i, j)
            own, other = (pair.second, pair.first) if is_small[i] else (pair.first, pair.second)
            share = np.zeros((len(self.diagonal[large]), len(self.diagonal[small])))
            share[own, other] = np.abs(pair.blocks).sum(axis=(1, 2))
            found[large].append(share)
        return found


def sums_of(plan: Layout, lead: Floats, diagonal: tuple[Floats, ...]) -> tuple[Floats, ...]:
    """(k, k) sums of diagonal blocks (l, k, k) over each term's levels, in formula order.

    Args:
      plan: layout of the effects.
      lead: those of the lead term.
      diagonal: of each term of the rest.
    """
    blocks = {plan.lead: lead}
    blocks |= dict(zip(plan.rest, diagonal, strict=True))
    return tuple(blocks[j].sum(axis=0) for j in range(len(blocks)))


def find_meetings(plan: Layout) -> Meetings:
    """Find the pairs of levels that meet in some row, by counting, for each pair of terms."""
    rest = plan.rest
    return Meetings(
        plan,
        tuple(meet(plan, plan.lead, j) for j in rest),
        tuple((i, j, meet(plan, rest[i], rest[j])) for j in range(len(rest)) for i in range(j)),
    )


def sparse_products(meetings: Meetings, weights: Floats | None) -> SparseProducts:
    """Z'WZ for row weights W = diag(weights); None for ones.

    Args:
      meetings: where the terms meet.
      weights: (n,).
    Returns:
      The blocks.
    """
    plan, rest = meetings.plan, meetings.plan.rest
    between = zip(rest, meetings.between, strict=True)
    return SparseProducts(
        meetings,
        own_blocks(plan, plan.lead, weights),
        tuple(own_blocks(plan, j, weights) for j in rest),
        tuple(_pair(meeting, plan, plan.lead, j, weights) for j, meeting in between),
        tuple((i, j, _pair(m, plan, rest[i], rest[j], weights)) for i, j, m in meetings.across),
    )


def meet(plan: Layout, first: int, second: int) -> Meeting:
    """Find the pairs of levels of two terms that meet in some row.

    Args:
      plan: layout of the effects, with the rows.
      first, second: the terms, in formula order.
    Returns:
      The pairs, sorted, and which of them each row belongs to.
    """
    num_first, width = plan.sizes[first][0], plan.sizes[second][0]
    # By the second term's levels, then by the first's, which leaves those of one level in order.
    order, _ = ordered_by(plan.level(second), width)
    again, starts = ordered_by(plan.level(first)[order], num_first)
    order = order[again]
    del again
    level = plan.level(second)[order]
    is_new = np.empty(len(order), bool)
    np.not_equal(level[1:], level[:-1], out=is_new[1:])
    is_new[starts[:-1][np.diff(starts) > 0]] = True
    count = np.cumsum(is_new, dtype=np.int32)
    level = level[is_new]
    del is_new
    slot = np.empty(len(order), np.int32)
    for rows in row_blocks(len(order)):
        slot[order[rows]] = count[rows] - 1
    pointers = np.concatenate([np.zeros(1, np.int32), count])[starts].astype(np.int64)
    levels = np.repeat(np.arange(num_first, dtype=np.int32), np.diff(pointers))
    return Meeting(slot, levels, level, pointers)


def _pair(meeting: Meeting, plan: Layout, first: int, second: int, weights: Floats | None) -> Pair:
    blocks = meeting.sums(plan.values(first), plan.values(second), weights)
    (levels, k), (others, other) = plan.sizes[first], plan.sizes[second]
    shape = (levels * k, others * other)
    if k == other == 1:
        # Short indices halve what the products read.
        pointers = meeting.pointers.astype(np.int32)
        forward = sp.csr_array((blocks.ravel(), meeting.second, pointers), shape)
    else:
        grouped = sp.bsr_array((blocks, meeting.second, meeting.pointers), shape)
        forward = sp.csr_array(grouped.tocsr())
    return Pair(blocks, meeting.first, meeting.second, forward, forward.T)


def own_blocks(plan: Layout, term: int, weights: Floats | None) -> Floats:
    """(l, k, k) diagonal blocks of a term of Z'WZ, for row weights (n,); None for ones."""
    values = plan.values(term)
    return product_sums(plan.level(term), plan.sizes[term][0], values, values, weights)


def product_sums(
    codes: Codes, count: int, first: Floats, second: Floats, weights: Floats | None
) -> Floats:
    """(count, k, k') sums over the rows of each code of products of columns (n, k) and (n, k').

    Args:
      codes: (n,) from 0 to count - 1.
      count: of codes.
      first, second: the columns.
      weights: (n,) of the rows; None for ones.
    """
    found = np.zeros((count, first.shape[1], second.shape[1]))
    if len(codes) <= TOGETHER and weights is not None and are_ones(first) and are_ones(second):
        found[:, 0, 0] = np.bincount(codes, weights, count)
        return found
    for rows in row_blocks(len(codes)):
        for a, column in enumerate(first[rows].T):
            left = column if weights is None else column * weights[rows]
            for b, right in enumerate(second[rows].T):
                if len(codes) <= TOGETHER:
                    found[:, a, b] = np.bincount(codes, left * right, count)
                else:
                    np.add.at(found[:, a, b], codes[rows], left * right)
    return found


def _sandwich(outer: Floats, inner: Floats) -> Floats:
    """outer inner outer' for each of m, of symmetric inner blocks.

    Of small blocks element by element: a product of two such matrices takes a call, and there are millions.
    """
    if outer.shape[1:] == (1, 1):
        return np.asarray(outer**2 * inner)
    if max(outer.shape[1:]) > SMALL_BLOCK:
        return np.asarray(outer @ inner @ outer.transpose(0, 2, 1))
    k = outer.shape[1]
    found = np.empty((len(outer), k, k))
    for start in range(0, len(outer), AT_HAND):
        some = slice(start, start + AT_HAND)
        rows, middle = (
            np.ascontiguousarray(blocks[some].transpose(1, 2, 0)) for blocks in (outer, inner)
        )
        for i in range(k):
            half = (rows[i][:, None] * middle).sum(axis=0)
            for j in range(i + 1):
                found[some, i, j] = found[some, j, i] = (half * rows[j]).sum(axis=0)
    return found


def _sum_by(level: Codes, blocks: Floats, num_levels: int) -> Floats:
    k = blocks.shape[1]
    found = np.empty((num_levels, k, k))
    for a in range(k):
        for b in range(k):
            found[:, a, b] = np.bincount(level, blocks[:, a, b], num_levels)
    return found
