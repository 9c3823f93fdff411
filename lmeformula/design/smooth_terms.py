"""Second stage: the terms of effects that stand for smooths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from lmeformula.arrays import Ints
from lmeformula.design.design import TermBlock
from lmeformula.design.grouping import Grouping
from lmeformula.design.labels import label
from lmeformula.design.random import unique_name
from lmeformula.design.smooths import Made
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import Call
from lmeformula.formula.smooths import effect_terms

# What the one level of effects that all rows have is called.
EVERY = "all"


def smooth_blocks(
    formula: Formula,
    made: Mapping[Call, Made],
    groups: Mapping[tuple[str, ...], tuple[Grouping, Ints]],
    num_rows: int,
    others: Sequence[TermBlock] = (),
) -> tuple[TermBlock, ...]:
    """The terms of effects of a formula's smooths, in their order.

    A curve is of the whole population: its coefficients are those of one level, and `re_form` keeps them. The
    factor of bs = "re" and "fs" is a grouping factor like any other.

    Args:
      formula: of one predictor.
      made: its smooths on the rows.
      groups: for the names of each grouping factor, its levels and each row's level.
      num_rows: n.
      others: the terms before them.
    """
    taken = {term.name for term in others} | {term.group for term in others}
    seen = Counter(term.group for term in others)
    found = []
    for (term,) in (linked for linked in effect_terms(formula) if linked[0].smooth is not None):
        assert term.smooth is not None
        smooth = made[term.smooth.call]
        matrix = smooth.pieces[term.smooth.number]
        names = term.group.names
        if names:
            grouping, index = groups[names]
            levels = grouping.levels
        else:
            levels, index = (EVERY,), np.zeros(num_rows, np.int64)
        group = term.group.label or label(term.smooth.call)
        block = TermBlock(
            name=unique_name(group, seen, taken),
            columns=matrix.names,
            values=matrix.values,
            group=group,
            factors=names,
            levels=levels,
            index=index.astype(np.int32, copy=False),
            covariance=term.covariance.kind,
            homogeneous=bool(term.covariance.homogeneous),
            role="group" if names else "population",
            parts=smooth.parts,
            smooth=label(term.smooth.call),
        )
        found.append(block)
    return tuple(found)
