"""The elements of Z'WZ that rows reach, as linear functions of the row weights."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Floats, Places


class Cells(NamedTuple):
    """The blocks of Z'WZ as linear functions of the row weights, found once for all weights.

    Attributes:
      plan: layout of the effects.
      of_rows: (c, n) what each row's weight adds to each element that any row reaches.
      places: (c,) where the elements are: first the lead term's (l, k, k) diagonal blocks, then its (l, k, r)
        block with the rest, and the rest's (r, r).
      ends: (4,) where each of these blocks starts among the elements.
    """

    plan: Layout
    of_rows: sp.csr_array
    places: Places
    ends: Places

    @property
    def sizes(self) -> tuple[int, int, int]:
        """l, k, r: levels and coefficients of the lead term, effects of the rest."""
        plan = self.plan
        return (*plan.sizes[plan.lead], plan.num_effects - plan.lead_size)

    def lead(self, values: Floats) -> Floats:
        """(m, l, k, k) blocks of the lead term, from their elements (m, c)."""
        levels, k, _ = self.sizes
        found = np.zeros((len(values), levels * k * k))
        found[:, self.places[: self.ends[1]]] = values
        return found.reshape(-1, levels, k, k)

    def rest(self, values: Floats, places: Places) -> Floats:
        """(m, p) the rest at flat places, from its elements (m, c)."""
        own = self.places[self.ends[2] :]
        found = np.minimum(np.searchsorted(own, places), len(own) - 1)
        return np.asarray(np.where(own[found] == places, values[:, found], 0.0))

    def blank(self) -> tuple[Floats, Floats, Floats]:
        """The three blocks without anything in them."""
        levels, k, r = self.sizes
        return np.zeros((levels, k, k)), np.zeros((levels, k, r)), np.zeros((r, r))

    def fill(self, blocks: tuple[Floats, Floats, Floats], values: Floats) -> None:
        """Put elements (c,) into the blocks."""
        for block, (start, stop) in zip(blocks, itertools.pairwise(self.ends), strict=True):
            block.reshape(-1)[self.places[start:stop]] = values[start:stop]


def cells_of(plan: Layout) -> Cells:
    """Find where each row adds to Z'WZ."""
    levels, k = plan.sizes[plan.lead]
    r = plan.num_effects - plan.lead_size
    own, local = plan.values(plan.lead), np.arange(k)
    rows = plan.level(plan.lead).astype(np.int64)[:, None] * k + local
    others, columns = np.zeros((len(own), 0)), np.zeros((len(own), 0), np.int64)
    for j in plan.rest:
        size = plan.sizes[j][1]
        first = plan.in_rest(j).start + plan.level(j).astype(np.int64)[:, None] * size
        columns = np.column_stack([columns, first + np.arange(size)])
        others = np.column_stack([others, plan.values(j)])
    sizes = (levels * k * k, levels * k * r, r * r)
    starts = np.cumsum([0, *sizes])
    parts = (
        (rows[:, :, None] * k + local, row_products(own, own)),
        (rows[:, :, None] * r + columns[:, None, :], row_products(own, others)),
        (columns[:, :, None] * r + columns[:, None, :], row_products(others, others)),
    )
    n = len(own)
    places = np.hstack(
        [part.reshape(n, -1) + start for start, (part, _) in zip(starts[:-1], parts, strict=True)]
    )
    reached = np.zeros(starts[-1], bool)
    reached[places] = True
    number = np.cumsum(reached) - 1
    values = np.hstack([part for _, part in parts])
    pointers = np.arange(n + 1) * places.shape[1]
    by_row = sp.csr_array((values.ravel(), number[places].ravel(), pointers), (n, reached.sum()))
    found = [np.flatnonzero(reached[start:stop]) for start, stop in itertools.pairwise(starts)]
    ends = np.cumsum([0, *map(len, found)])
    return Cells(plan, by_row.T, np.concatenate(found), ends)


def row_products(left: Floats, right: Floats) -> Floats:
    """(n, a b) products of the numbers in the same rows of (n, a) and (n, b)."""
    return np.asarray((left[:, :, None] * right[:, None, :]).reshape(len(left), -1))
