"""How the effects of a design meet in its rows: the way to Z'WZ and to M that a layout takes."""

from __future__ import annotations

from typing import TypeAlias

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.factor import Factor
from lmeformula.algebra.general import General, Whole, WholeFactor, find_general
from lmeformula.algebra.incidence import Incidence, find_incidence
from lmeformula.algebra.sparse_factor import (
    Arrangement,
    SparseFactor,
    SparseWhole,
    find_arrangement,
)

Meetings: TypeAlias = Incidence | General | Arrangement
# M where nothing of it is an estimate, and products where levels meet.
Factored: TypeAlias = Factor | WholeFactor | SparseFactor
FACTORED = (Factor, WholeFactor, SparseFactor)
Together: TypeAlias = Whole | SparseWhole
# More effects than this are told by a sparse precision, where there is one.
MOST_WHOLE = 1500


def find_meetings(plan: Layout) -> Meetings:
    """Find where the terms meet.

    Args:
      plan: layout of the effects, with the rows.
    Raises:
      ModelError: if what is dense would not fit into memory.
    """
    if not plan.is_general:
        return find_incidence(plan)
    known = [relation for relation in plan.relations if relation is not None]
    if plan.num_effects > MOST_WHOLE and all(relation.is_sparse for relation in known):
        return find_arrangement(plan)
    return find_general(plan)
