"""Which effects hang together: blocks between which the likelihood is a product."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Ints
from lmeformula.model.compile import Model


class Blocks(NamedTuple):
    """The connected components of the graph of effects that rows join.

    Attributes:
      of_rows: (n,) the block of each row of the data.
      of_effects: (q,) the block of each effect, in the order of the layout.
      size: number of blocks.
    """

    of_rows: Ints
    of_effects: Ints
    size: int

    @property
    def widest(self) -> int:
        """Most effects in a block."""
        return int(np.bincount(self.of_effects, minlength=1).max(initial=0))


def blocks_of(model: Model, plan: Layout) -> Blocks:
    """The blocks of a model: the levels of one factor, those of the outermost of nested ones.

    Crossed effects are one block, unless their levels fall into groups that no row joins.
    """
    n = model.design.n
    starts = np.cumsum([0, *(levels for levels, _ in plan.sizes)])
    nodes = []
    for term, start in zip(model.stack.terms, starts, strict=False):
        # Of several predictors each row of the data is read more than once.
        nodes.append(np.asarray(term.index[:n], np.int64) + start)
    first = nodes[0]
    graph = sp.coo_array(
        (np.ones(n * len(nodes)), (np.tile(first, len(nodes)), np.concatenate(nodes))),
        shape=(starts[-1], starts[-1]),
    )
    count, of_levels = sp.csgraph.connected_components(graph, directed=False)
    of_levels = of_levels.astype(np.int64)
    of_effects = np.empty(plan.num_effects, np.int64)
    for j, (levels, k) in enumerate(plan.sizes):
        of_effects[plan.place(j)] = np.repeat(of_levels[starts[j] : starts[j] + levels], k)
    return Blocks(of_levels[first], of_effects, int(count))
