"""What quadrature integrates: the effects of a model in blocks, and the rows that read each block.

A block has one or two effects of its own, or shares the first of two with others: given an effect of the outer
of two nested factors, those of the inner one are integrated each by itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Codes, Floats, Ints
from lmeformula.likelihood.quadrature.blocks import blocks_of
from lmeformula.likelihood.quadrature.nodes import NUMS_NODES, WIDEST
from lmeformula.model.compile import Model


class Integrand(NamedTuple):
    """A model whose blocks have at most `WIDEST` effects.

    Attributes:
      model: the model.
      plan: layout of its effects.
      of_rows: (n,) the block of each row of the data.
      effects: (l, k) which effects each block reads; -1 where it has fewer than k.
      groups: (l,) which blocks share their first effect, ascending; each its own where none do.
      local: (q,) place of each effect in its blocks.
      columns: (v n, k) of each term, the places in the blocks of the effects that each stacked row reads.
      order: (n,) rows of the data, block by block.
      ends: (l + 1,) where each block's rows start in `order`.
      response: the response arrays.
      readings: which rows read the blocks, by the number of their nodes, where it was asked before.
      frequency: (n,) how many observations each row stands for; None for one.
    """

    model: Model
    plan: Layout
    of_rows: Ints
    effects: Ints
    groups: Ints
    local: Ints
    columns: tuple[Ints, ...]
    order: Ints
    ends: Ints
    response: tuple[Floats, ...]
    readings: dict[int, Any]
    frequency: Floats | None = None

    @property
    def size(self) -> int:
        """l, the number of blocks."""
        return len(self.effects)

    @property
    def width(self) -> int:
        """k, most effects in a block."""
        return int(self.effects.shape[1])

    @property
    def is_nested(self) -> bool:
        """Whether blocks share effects."""
        return bool(self.groups[-1] + 1 < self.size)

    def densities(self, number: int = 0) -> int:
        """How many densities of rows an evaluation takes, with the number of nodes at that place for all."""
        return int(len(self.model.stack.X) * NUMS_NODES[self.width][number] ** self.width)

    def work(self, numbers: Ints) -> float:
        """The same with each block's own number of nodes, at its place (l,) among the numbers."""
        nodes = np.array(NUMS_NODES[self.width], float)[numbers] ** self.width
        return float(nodes[self.of_rows].sum())

    def by_block(self, effects: Floats) -> Floats:
        """(l, k, ...) of each block, from (q, ...) in the order of the layout; zeros where none is."""
        has = (self.effects >= 0).reshape(*self.effects.shape, *(1,) * (effects.ndim - 1))
        return np.where(has, effects[self.effects], 0.0)

    def loads(self, factors: tuple[Floats, ...]) -> Floats:
        """(v n, k) columns of Z times factors (k, k), by the places of the effects in the blocks."""
        terms = self.model.stack.terms
        found = np.zeros((len(terms[0].values), self.width))
        for term, columns, factor in zip(terms, self.columns, factors, strict=True):
            np.put_along_axis(found, columns, term.values @ factor, axis=1)
        return found


def integrand(model: Model, plan: Layout) -> Integrand | None:
    """What is to be integrated; None where some block is too wide."""
    if plan.is_general:
        return None
    found = _separate(model, plan) or _nested(model, plan)
    if found is None:
        return None
    of_rows, effects, groups = found
    local = np.zeros(plan.num_effects, np.int64)
    for place in range(effects.shape[1]):
        has = effects[:, place] >= 0
        local[effects[has, place]] = place
    order = np.argsort(of_rows, kind="stable")
    return Integrand(
        model=model,
        plan=plan,
        of_rows=of_rows,
        effects=effects,
        groups=groups,
        local=local,
        columns=tuple(
            local[_effects_of_rows(plan, j, term.index)] for j, term in enumerate(model.stack.terms)
        ),
        order=order,
        ends=np.searchsorted(of_rows[order], np.arange(len(effects) + 1)),
        response=model.family.response(model.design),
        readings={},
        frequency=model.design.frequency,
    )


def _separate(model: Model, plan: Layout) -> tuple[Ints, Ints, Ints] | None:
    """Blocks that share nothing: of each row, their effects, and their groups."""
    blocks = blocks_of(model, plan)
    if blocks.widest > WIDEST:
        return None
    by_block = np.argsort(blocks.of_effects, kind="stable")
    of_effects = blocks.of_effects[by_block]
    firsts = np.searchsorted(of_effects, np.arange(blocks.size))
    effects = np.full((blocks.size, blocks.widest), -1)
    effects[of_effects, np.arange(len(by_block)) - firsts[of_effects]] = by_block
    return blocks.of_rows, effects, np.arange(blocks.size)


def _nested(model: Model, plan: Layout) -> tuple[Ints, Ints, Ints] | None:
    """The same of one effect a level of two factors, one nested in the other."""
    terms, n = model.stack.terms, model.design.n
    if len(terms) != 2 or any(len(term.columns) != 1 for term in terms):
        return None
    for outer, inner in ((0, 1), (1, 0)):
        above, below = (np.asarray(terms[j].index[:n], np.int64) for j in (outer, inner))
        pairs = np.unique(np.stack([above, below], axis=1), axis=0)
        if len(pairs) == plan.sizes[inner][0]:
            # Levels of the inner one in the order of the outer one's.
            block = np.empty(len(pairs), np.int64)
            block[pairs[:, 1]] = np.arange(len(pairs))
            effects = pairs + np.array([plan.starts[outer], plan.starts[inner]])
            return block[below], effects, np.unique(pairs[:, 0], return_inverse=True)[1]
    return None


def _effects_of_rows(plan: Layout, j: int, index: Codes) -> Ints:
    """(v n, k) which effects of a term each row reads."""
    k = plan.sizes[j][1]
    return np.asarray(plan.starts[j] + k * index.astype(np.int64)[:, None] + np.arange(k))
