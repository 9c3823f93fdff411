"""Z'WZ in parts, each with whoever has the rows: vectors of effects go there, and sums come back.

Each level of the lead term has all its rows in one part. So have the pairs of levels that it meets, and what is
not linear in their blocks is a sum over the parts as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from lmeformula.algebra.crossproducts import Layout, layout, times_blocks
from lmeformula.algebra.pages import keep_pages
from lmeformula.algebra.rowwise import Apart, Pair, add_pair, leverages_apart
from lmeformula.algebra.sparseproducts import (
    SparseProducts,
    find_meetings,
    sparse_products,
    sums_of,
)
from lmeformula.arrays import Floats
from lmeformula.design.absent import elsewhere
from lmeformula.design.design import TermBlock
from lmeformula.rows.parts import Part, Parts, Shards


class SharedProducts:
    """Z'WZ in parts, which hold their own by the name "products"; see `Products`.

    Args:
      shards: the rows; their parts hold a layout by the name "plan".
      plan: layout of all effects.
      told: of each part, its diagonal blocks: of the lead term, and of each term of the rest.
      ready: called before parts are asked: puts back what they hold, where that was of other weights since.
    """

    def __init__(
        self,
        shards: Shards,
        plan: Layout,
        told: Sequence[tuple[Floats, tuple[Floats, ...]]],
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        self.plan, self._shards, self._ready = plan, shards, ready
        self._places = lead_places(shards, plan)
        self._levels = shards.places
        self.lead = np.concatenate([lead for lead, _ in told])
        self.diagonal = tuple(added(each) for each in zip(*(own for _, own in told), strict=True))

    @property
    def _parts(self) -> Parts:
        """The parts, which hold these products."""
        self._ready()
        return self._shards.parts

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
        # What the parts hold of the last elimination.
        held = self._shards.held
        if held.get("middle") is not middle:
            self._parts.keep("middle", _held, each=[[middle[place] for place in self._levels]])
            held["middle"] = middle
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

    def leverages(self, apart: Apart, fixed: Sequence[Pair], more: Sequence[Pair]) -> Floats:
        """The leverages of rows, which parts hold by that name: with A = I, and by pairs of effects.

        Args:
          apart: M with A = I.
          fixed: pairs that other leverages of the same M have as well, the same record each time.
          more: further ones.
        Returns:
          What stands for them here.
        """
        parts, held, lead = self._parts, self._shards.held, self.plan.lead
        if held.get("fixed") is not fixed:
            base = [np.empty(0) if j == lead else each for j, each in enumerate(apart.base)]
            own = [
                [each[place] for place in self._levels] for each in (apart.base[lead], apart.inner)
            ]
            rest, tops = self._parted(fixed)
            parts.keep("fixed", _fixed, apart.lambdas, base, rest, each=[*own, tops])
            held["fixed"] = fixed
        rest, tops = self._parted(more)
        parts.keep("leverages", _leverages, rest, each=[tops])
        found: Floats = elsewhere(0)
        held["leverages"] = found
        return found

    def _parted(
        self, pairs: Sequence[Pair]
    ) -> tuple[list[Pair], list[list[tuple[Floats, Floats]]]]:
        """The rest's share of pairs, and the lead term's of each part."""
        size = self.plan.lead_size
        rest = [Pair(share, right[size:], left[size:]) for share, right, left in pairs]
        tops = [[(each.right[place], each.left[place]) for each in pairs] for place in self._places]
        return rest, tops

    def _cut(self, columns: Floats) -> list[Floats]:
        """The lead term's share of each part."""
        return [columns[place] for place in self._places]


def shared_products(shards: Shards, plan: Layout) -> SharedProducts:
    """Z'WZ of a design's prior weights and frequencies.

    Args:
      shards: the rows; their parts hold a layout by the name "plan".
      plan: layout of all effects.
    """
    return SharedProducts(shards, plan, shards.parts.keep("products", _products))


def lead_places(shards: Shards, plan: Layout) -> list[slice]:
    """Where the lead term's effects of each part are in a vector of all effects."""
    k = plan.sizes[plan.lead][1]
    return [slice(k * place.start, k * place.stop) for place in shards.places]


def lay_out(shards: Shards, terms: Callable[[Part], tuple[TermBlock, ...]] | None = None) -> Layout:
    """Lay out the effects of rows in parts, which then hold the layouts of their own by the name "plan".

    Args:
      shards: the rows.
      terms: the terms of a part; those of its design by default.
    Returns:
      The layout of all, without rows.
    """
    parts: Parts = shards.parts
    own = parts.keep("plan", _plan, shards.lead, terms)
    sizes = list(own[0])
    levels = sum(each[shards.lead][0] for each in own)
    sizes[shards.lead] = (levels, sizes[shards.lead][1])
    return Layout.of_sizes(tuple(sizes), shards.lead)


def _plan(
    part: Part, lead: int, terms: Callable[[Part], tuple[TermBlock, ...]] | None
) -> tuple[Layout, tuple[tuple[int, int], ...]]:
    # Wherever that is: passes over its rows make arrays of the same sizes again and again.
    keep_pages()
    plan = layout(part.rows.terms if terms is None else terms(part), lead)
    return plan, plan.sizes


def _products(part: Part) -> tuple[SparseProducts, tuple[Floats, tuple[Floats, ...]]]:
    return weighted_products(part, part.rows.total_weights)


def weighted_products(
    part: Part, weights: Floats | None
) -> tuple[SparseProducts, tuple[Floats, tuple[Floats, ...]]]:
    """Z'WZ of a part's rows, to be held as "products", and its diagonal blocks.

    Args:
      part: holds a layout by the name "plan".
      weights: (n,) of its rows; None for ones.
    """
    if "meetings" not in part.held or part.held["meetings"].plan is not part.held["plan"]:
        part.held["meetings"] = find_meetings(part.held["plan"])
    found = sparse_products(part.held["meetings"], weights)
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


def _fixed(
    part: Part,
    lambdas: tuple[Floats, ...],
    base: list[Floats],
    pairs: list[Pair],
    lead_base: Floats,
    inner: Floats,
    tops: list[tuple[Floats, Floats]],
) -> tuple[Floats, None]:
    """Leverages with A = I, and by pairs of effects, of which the lead term's are apart."""
    own: SparseProducts = part.held["products"]
    own_base = tuple(lead_base if j == own.plan.lead else block for j, block in enumerate(base))
    found = leverages_apart(own, Apart(lambdas, own_base, inner))
    return _with_pairs(own, found, pairs, tops), None


def _leverages(
    part: Part, pairs: list[Pair], tops: list[tuple[Floats, Floats]]
) -> tuple[Floats, None]:
    own: SparseProducts = part.held["products"]
    return _with_pairs(own, part.held["fixed"].copy(), pairs, tops), None


def _with_pairs(
    own: SparseProducts, found: Floats, pairs: list[Pair], tops: list[tuple[Floats, Floats]]
) -> Floats:
    for (share, right, left), (top_right, top_left) in zip(pairs, tops, strict=True):
        whole = Pair(share, np.concatenate([top_right, right]), np.concatenate([top_left, left]))
        add_pair(found, own, whole)
    return found


def added(parts: Iterable[Floats]) -> Floats:
    """The sum of what parts answered, in the order of the parts."""
    first, *others = parts
    for other in others:
        first = first + other
    return first


def _added_each(answers: Sequence[Sequence[Floats]]) -> list[Floats]:
    """The sums of several arrays, of which each part has all."""
    return [added(own) for own in zip(*answers, strict=True)]
