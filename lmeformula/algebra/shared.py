"""Z'WZ in parts, each with whoever has the rows: vectors of effects go there, and sums come back.

Each level of the lead term has all its rows in one part. So have the pairs of levels that it meets, and what is
not linear in their blocks is a sum over the parts as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lmeformula.algebra.crossproducts import Layout, layout, times_blocks
from lmeformula.algebra.pages import keep_pages
from lmeformula.algebra.sparseproducts import (
    SparseProducts,
    find_meetings,
    sparse_products,
    sums_of,
)
from lmeformula.arrays import Floats
from lmeformula.rows.parts import Part, Parts, Shards


class SharedProducts:
    """Z'WZ in parts; see `Products`.

    Args:
      shards: the rows; their parts hold a layout by the name "plan".
      plan: layout of all effects.
    """

    def __init__(self, shards: Shards, plan: Layout) -> None:
        self.plan, self._parts = plan, shards.parts
        k = plan.sizes[plan.lead][1]
        self._places = [slice(k * place.start, k * place.stop) for place in shards.places]
        self._levels = shards.places
        # What the parts hold of the last elimination.
        self._middle: Floats | None = None
        found = self._parts.keep("products", _products)
        self.lead = np.concatenate([lead for lead, _ in found])
        self.diagonal = tuple(added(each) for each in zip(*(own for _, own in found), strict=True))

    def times(self, columns: Floats) -> Floats:
        """See `Products`."""
        size, plan = self.plan.lead_size, self.plan
        rest = [columns[plan.place(j)] for j in plan.rest]
        answers = self._parts.ask(_times, rest, each=[self._cut(columns[:size])])
        found = np.empty_like(columns)
        for place, (top, _) in zip(self._places, answers, strict=True):
            found[place] = top
        for number, j in enumerate(plan.rest):
            found[plan.place(j)] = times_blocks(self.diagonal[number], rest[number])
            found[plan.place(j)] += added(own[number] for _, own in answers)
        return found

    def sums(self, plan: Layout) -> tuple[Floats, ...]:
        """See `Products`."""
        return sums_of(plan, self.lead, self.diagonal)

    def forward(self, parts: list[Floats]) -> Floats:
        """See `Products`."""
        return np.concatenate(self._parts.ask(_forward, parts))

    def backward(self, columns: Floats) -> list[Floats]:
        """See `Products`."""
        return _added_each(self._parts.ask(_backward, each=[self._cut(columns)]))

    def reduced(self, middle: Floats, parts: list[Floats]) -> list[Floats]:
        """See `Products`."""
        if middle is not self._middle:
            self._parts.keep("middle", _held, each=[[middle[place] for place in self._levels]])
            self._middle = middle
        return _added_each(self._parts.ask(_reduced, parts))

    def forms(self, turn: Floats, left: list[Floats], right: list[Floats]) -> Floats:
        """See `Products`."""
        own = [turn[place] for place in self._levels]
        return added(self._parts.ask(_forms, left, right, each=[own]))

    def inner(self, middle: Floats) -> list[Floats]:
        """See `Products`."""
        return _added_each(
            self._parts.ask(_inner, each=[[middle[place] for place in self._levels]])
        )

    def squares(self, left: Floats, right: list[Floats]) -> Floats:
        """See `Products`."""
        own = [left[place] for place in self._levels]
        return np.concatenate(self._parts.ask(_squares, right, each=[own]))

    def shares(self, is_small: list[bool]) -> list[list[Floats]]:
        """See `Products`."""
        found = self._parts.ask(_shares, is_small)
        return [_added_each(own) for own in zip(*found, strict=True)]

    def _cut(self, columns: Floats) -> list[Floats]:
        """The lead term's share of each part."""
        return [columns[place] for place in self._places]


def lay_out(shards: Shards) -> Layout:
    """Lay out the effects of rows in parts, which then hold the layouts of their own by the name "plan".

    Returns:
      The layout of all, without rows.
    """
    parts: Parts = shards.parts
    own = parts.keep("plan", _plan, shards.lead)
    sizes = list(own[0])
    levels = sum(each[shards.lead][0] for each in own)
    sizes[shards.lead] = (levels, sizes[shards.lead][1])
    return Layout.of_sizes(tuple(sizes), shards.lead)


def _plan(part: Part, lead: int) -> tuple[Layout, tuple[tuple[int, int], ...]]:
    # Wherever that is: passes over its rows make arrays of the same sizes again and again.
    keep_pages()
    plan = layout(part.rows.terms, lead)
    return plan, plan.sizes


def _products(part: Part) -> tuple[SparseProducts, tuple[Floats, tuple[Floats, ...]]]:
    found = sparse_products(find_meetings(part.held["plan"]), part.rows.total_weights)
    return found, (found.lead, found.diagonal)


def _held(part: Part, value: Any) -> tuple[Any, None]:
    return value, None


def _times(part: Part, rest: list[Floats], top: Floats) -> tuple[Floats, list[Floats]]:
    """Without the diagonal blocks of the rest, which are known."""
    own: SparseProducts = part.held["products"]
    found = times_blocks(own.lead, top)
    if rest:
        found = found + own.forward(rest)
    below = own.backward(top)
    for i, j, pair in own.across:
        below[i] += pair.forward @ rest[j]
        below[j] += pair.backward @ rest[i]
    return found, below


def _forward(part: Part, rest: list[Floats]) -> Floats:
    own: SparseProducts = part.held["products"]
    return own.forward(rest)


def _backward(part: Part, columns: Floats) -> list[Floats]:
    own: SparseProducts = part.held["products"]
    return own.backward(columns)


def _reduced(part: Part, rest: list[Floats]) -> list[Floats]:
    own: SparseProducts = part.held["products"]
    return own.reduced(part.held["middle"], rest)


def _forms(part: Part, left: list[Floats], right: list[Floats], turn: Floats) -> Floats:
    own: SparseProducts = part.held["products"]
    return own.forms(turn, left, right)


def _inner(part: Part, middle: Floats) -> list[Floats]:
    own: SparseProducts = part.held["products"]
    return own.inner(middle)


def _squares(part: Part, right: list[Floats], left: Floats) -> Floats:
    own: SparseProducts = part.held["products"]
    return own.squares(left, right)


def _shares(part: Part, is_small: list[bool]) -> list[list[Floats]]:
    own: SparseProducts = part.held["products"]
    return own.shares(is_small)


def added(parts: Iterable[Floats]) -> Floats:
    """The sum of what parts answered, in the order of the parts."""
    first, *others = parts
    for other in others:
        first = first + other
    return first


def _added_each(answers: Sequence[Sequence[Floats]]) -> list[Floats]:
    """The sums of several arrays, of which each part has all."""
    return [added(own) for own in zip(*answers, strict=True)]
