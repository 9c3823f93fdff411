"""Where the terms meet in the rows of a design, found once for all row weights.

With it Z'WZ for other weights is one sum over the rows for each pair of terms, and the leverages of the rows
read only the elements of M^-1 that some row meets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from lmeformula.algebra.crossproducts import CrossProducts, Layout
from lmeformula.algebra.factor import Factor, factorize
from lmeformula.algebra.inverse import Met
from lmeformula.algebra.lambdas import scalar_factors
from lmeformula.algebra.memory import check_dense
from lmeformula.algebra.pairs import MAX_PAIRS, PairPattern, find_pattern
from lmeformula.algebra.rest import RestPattern, find_rest, first_places
from lmeformula.algebra.sparse_patterns import pattern, turned, with_elements
from lmeformula.algebra.sparseproducts import meet, own_blocks
from lmeformula.arrays import Codes, Floats, Places

# Where so much of the between block is there, matrix products over all of it are faster than sums over pairs.
FULL = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Incidence:
    """Where rows meet the between block, and pairs of terms of the rest.

    All k rows of a level of the lead term have their elements in the same columns of the between block: its
    `elements`, which are counted through the levels.

    Attributes:
      plan: layout of the effects.
      starts: (l + 1,) where the elements of each level start.
      columns: (e,) their columns in the rest, sorted within a level.
      element: (n,) of each term of the rest, the element of each row's first coefficient of that term.
      level: (n,) level of the lead term.
      of_element: (e,) the same of each element.
      rest: where the rest has its elements.
      pattern: the pairs of elements; None where they would take too much memory.
      places: (k, e) where the elements of each row of a level stand in the between block.
      between: the pattern of that block, and `back` its transpose.
      cells: (e,) flat places of the elements among all levels and columns, where most of these are taken:
        pairs are not listed then; None where few are.
    """

    plan: Layout
    starts: Places
    columns: Codes
    element: tuple[Places, ...]
    level: Codes
    of_element: Places
    rest: RestPattern
    pattern: PairPattern | None
    places: Places
    between: sp.csr_array
    back: sp.csc_array
    cells: Places | None

    def factorize(self, weights: Floats, lambdas: tuple[Floats, ...]) -> Factor:
        """Factor M = Lambda' Z'WZ Lambda + I for row weights (n,)."""
        return factorize(self.plan, self.products(weights), lambdas, self)

    def products(self, weights: Floats) -> CrossProducts:
        """Z'WZ for row weights (n,) of any sign."""
        plan = self.plan
        blocks = own_blocks(plan, plan.lead, weights)
        if not plan.rest:
            return CrossProducts(blocks, self.between, np.zeros((0, 0)))
        data = np.zeros((blocks.shape[1], len(self.columns)))
        for a, column in enumerate(plan.values(plan.lead).T):
            weighted = column * weights
            for j, element in zip(plan.rest, self.element, strict=True):
                values = plan.values(j)
                for b in range(values.shape[1]):
                    data[a] += np.bincount(element + b, weighted * values[:, b], data.shape[1])
        rest, thin = self.rest.of(plan, weights)
        pairs = None if self.pattern is None else self.pattern.of(list(data), rest)
        full = None if self.cells is None else self._full(data)
        between = self._between(data)
        return CrossProducts(blocks, between, rest, pairs, full, thin, self.back)

    def met(self, factor: Factor) -> Iterator[Met]:
        """The elements of M^-1 that the rows meet."""
        plan, lambdas = self.plan, factor.lambdas
        levels, k = plan.sizes[plan.lead]
        blocks = np.einsum("lca,lcb->lab", factor.lead_inverse, factor.lead_inverse)
        if not plan.rest:
            yield Met(plan.lead, plan.lead, blocks[self.level])
            return
        # F = D^-1 Lambda_1' (Z'WZ)_12 Lambda_2; the block between is -F S^-1.
        by_element, data = self.of_element, self.elements(factor.products.between.data)
        outer = self.outward(self.at_levels(factor.lead_rows, data), lambdas)
        inner = self._times_inverse(factor, outer)
        for a in range(k):
            for b in range(k):
                blocks[:, a, b] += np.bincount(by_element, outer[a] * inner[b], levels)
        yield Met(plan.lead, plan.lead, blocks[self.level])
        for j, element in zip(plan.rest, self.element, strict=True):
            columns = element[:, None] + np.arange(plan.sizes[j][1])
            yield Met(plan.lead, j, -inner[:, columns].transpose(1, 0, 2))
        below = factor.rest_inverse_below.reshape(-1)
        for pair in self.rest.across:
            # A block of one term with itself has elements above the diagonal as well.
            places = np.maximum(pair.above, pair.below) if pair.first == pair.second else pair.below
            yield Met(pair.first, pair.second, below[places][pair.meeting.slot])

    def _between(self, data: Floats) -> sp.csr_array:
        """The between block (lead_size, r) with elements `data` (k, e) in the k rows of the levels."""
        if len(data) == 1:
            return with_elements(self.between, data[0])
        values = np.empty(data.size)
        values[self.places] = data
        return with_elements(self.between, values)

    def _full(self, data: Floats) -> Floats:
        """(l, k, r) the between block with its zeros, from elements (k, e)."""
        levels, k = self.plan.sizes[self.plan.lead]
        width = self.between.shape[1]
        found = np.zeros((k, levels * width))
        found[:, self.cells] = data
        return np.ascontiguousarray(found.reshape(k, levels, width).transpose(1, 0, 2))

    def elements(self, values: Floats) -> Floats:
        """(..., k, e) the elements of between blocks with values (..., k e), the inverse of `_between`."""
        return np.asarray(values[..., self.places])

    def outward(self, data: Floats, factors: tuple[Floats, ...]) -> Floats:
        """(..., k, e) the elements of B Lambda_2, for B by its elements, and factors (..., k, k)."""
        plan, scales = self.plan, scalar_factors(self.plan, factors)
        if scales is not None:
            return np.asarray(data * scales[..., None, :][..., self.columns])
        found: list[Floats] = []
        for j in plan.rest:
            size, place = plan.sizes[j][1], plan.in_rest(j)
            own = np.flatnonzero((self.columns >= place.start) & (self.columns < place.stop))
            part = data[..., own].reshape(*data.shape[:-1], -1, size)
            factor = factors[j] if factors[j].ndim == 2 else factors[j][:, None]
            part = part @ factor
            found.append(part.reshape(*part.shape[:-2], -1))
        whole = np.empty((*found[0].shape[:-1], data.shape[-1]))
        for j, part in zip(plan.rest, found, strict=True):
            place = plan.in_rest(j)
            whole[..., (self.columns >= place.start) & (self.columns < place.stop)] = part
        return whole

    def at_levels(self, blocks: Floats, data: Floats) -> Floats:
        """(..., k, e) blocks (..., l, k, k) of the lead term's levels, times the elements of their rows."""
        rows = blocks[..., self.of_element, :, :].swapaxes(-3, -2)
        found = rows[..., 0] * data[..., :1, :]
        for c in range(1, data.shape[-2]):
            found = found + rows[..., c] * data[..., c : c + 1, :]
        return np.asarray(found)

    def _times_inverse(self, factor: Factor, data: Floats) -> Floats:
        """(k, e) the elements of F S^-1, for F by its elements (k, e)."""
        if self.cells is not None:
            spread = self._full(data).transpose(1, 0, 2) @ factor.rest_inverse
            return np.asarray(spread.reshape(len(data), -1)[:, self.cells])
        if self.pattern is None:
            spread = self._between(data) @ factor.rest_inverse
            k = len(data)
            return np.array([spread[self.of_element * k + a, self.columns] for a in range(k)])
        return self.pattern.times_within(factor.rest_inverse_below, data)


def find_incidence(plan: Layout) -> Incidence:
    """Find where the terms meet, by counting, for each pair of them.

    Args:
      plan: layout of the effects, with the rows.
    Returns:
      The incidence.
    Raises:
      ModelError: if the block of the rest, which is dense, would not fit into memory.
    """
    check_dense(plan.num_effects - plan.lead_size)
    levels, k = plan.sizes[plan.lead]
    width = plan.num_effects - plan.lead_size
    between = [meet(plan, plan.lead, j) for j in plan.rest]
    # Elements by level, then column: those of the first coefficients, and then of all.
    keys = [
        found.first.astype(np.int64) * width + first_places(plan, j, found.second)
        for found, j in zip(between, plan.rest, strict=True)
    ]
    each = [
        (key[:, None] + np.arange(plan.sizes[j][1])).ravel()
        for key, j in zip(keys, plan.rest, strict=True)
    ]
    whole = np.sort(np.concatenate([np.zeros(0, np.int64), *each]))
    pointers = np.searchsorted(whole, np.arange(levels + 1) * width)
    columns = (whole % max(width, 1)).astype(np.int32)
    element = tuple(
        np.searchsorted(whole, key)[found.slot] for key, found in zip(keys, between, strict=True)
    )
    is_full = len(whole) >= FULL * levels * width and k * levels * width <= MAX_PAIRS
    cells = whole if width and is_full else None
    has_pairs = width and cells is None
    pairs = find_pattern(np.diff(pointers), columns, width, k) if has_pairs else None
    places = _element_places(pointers, k)
    block_columns = np.empty(places.size, np.int32)
    block_columns[places] = columns
    row_starts = np.concatenate([[0], np.cumsum(np.repeat(np.diff(pointers), k))])
    between_block = pattern(block_columns, row_starts.astype(np.int32), (levels * k, width))
    return Incidence(
        plan,
        pointers,
        columns,
        element,
        plan.level(plan.lead),
        np.repeat(np.arange(levels), np.diff(pointers)),
        find_rest(plan),
        pairs,
        places,
        between_block,
        turned(between_block),
        cells,
    )


def _element_places(starts: Places, k: int) -> Places:
    """(k, e) where the elements of each row of a level stand in the between block, levels at `starts`."""
    count = np.diff(starts)
    within = np.arange(starts[-1]) - np.repeat(starts[:-1], count)
    first = np.repeat(k * starts[:-1], count) + within
    return np.asarray(first + np.arange(k)[:, None] * np.repeat(count, count))
