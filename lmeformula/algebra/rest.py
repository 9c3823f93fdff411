"""Where the rest of Z'WZ has its elements, found once for all row weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.sparse_patterns import with_elements
from lmeformula.algebra.sparseproducts import Meeting, meet
from lmeformula.arrays import Codes, Floats, Places

# Where no more than one in so many of the elements of the rest is there, products with those are faster.
THIN = 30


class Across(NamedTuple):
    """Two terms of the rest, or one with itself.

    Attributes:
      first, second: the terms, in formula order.
      meeting: which pairs of their levels meet.
      above: (m, k, k') flat places of each pair's block in the rest, by the first term's coefficients.
      below: the same of its transpose: on or below the diagonal.
    """

    first: int
    second: int
    meeting: Meeting
    above: Places
    below: Places


class RestPattern(NamedTuple):
    """The rest's elements.

    Attributes:
      order: r.
      across: by pairs of terms.
      thin: the pattern of the rest without its zeros, where it has nearly nothing else, and the flat places of
        its elements; None where it has more.
    """

    order: int
    across: tuple[Across, ...]
    thin: tuple[sp.csr_array, Places] | None

    def of(self, plan: Layout, weights: Floats) -> tuple[Floats, sp.csr_array | None]:
        """(r, r) the rest of Z'WZ for row weights (n,), and the same without its zeros, or None."""
        found = np.zeros((self.order, self.order))
        flat = found.reshape(-1)
        for pair in self.across:
            left, right = plan.values(pair.first), plan.values(pair.second)
            blocks = pair.meeting.sums(left, right, weights)
            if pair.first == pair.second and blocks.shape[1] > 1:
                rows, columns = np.triu_indices(blocks.shape[1], 1)
                blocks[:, rows, columns] = blocks[:, columns, rows]
            flat[pair.above] = blocks
            flat[pair.below] = blocks
        if self.thin is None:
            return found, None
        pattern, places = self.thin
        return found, with_elements(pattern, flat[places])


def find_rest(plan: Layout) -> RestPattern:
    """Find where the terms of the rest meet.

    Args:
      plan: layout of the effects, with the rows.
    """
    order = plan.num_effects - plan.lead_size
    across = tuple(
        _across(plan, i, j, order)
        for number, j in enumerate(plan.rest)
        for i in plan.rest[: number + 1]
    )
    count = sum(pair.above.size * (1 if pair.first == pair.second else 2) for pair in across)
    is_thin = 0 < THIN * count <= order**2
    return RestPattern(order, across, _thin(across, order) if is_thin else None)


def first_places(plan: Layout, term: int, level: Codes) -> Places:
    """Places in the rest of the first coefficient of some levels of a term."""
    start: int = plan.in_rest(term).start
    return start + level.astype(np.int64) * plan.sizes[term][1]


def _across(plan: Layout, i: int, j: int, order: int) -> Across:
    meeting = meet(plan, i, j)
    rows = first_places(plan, i, meeting.first)[:, None] + np.arange(plan.sizes[i][1])
    columns = first_places(plan, j, meeting.second)[:, None] + np.arange(plan.sizes[j][1])
    above = rows[:, :, None] * order + columns[:, None, :]
    below = rows[:, :, None] + columns[:, None, :] * order
    return Across(i, j, meeting, above, below)


def _thin(across: tuple[Across, ...], order: int) -> tuple[sp.csr_array, Places]:
    """See `RestPattern`."""
    places = [
        part.ravel()
        for pair in across
        for part in ((pair.above,) if pair.first == pair.second else (pair.above, pair.below))
    ]
    flat = np.concatenate(places)
    # Numbered from one: no element is zero.
    numbers = np.arange(1, len(flat) + 1)
    pattern = sp.csr_array((numbers, np.divmod(flat, order)), (order, order))
    return pattern, flat[pattern.data - 1]
