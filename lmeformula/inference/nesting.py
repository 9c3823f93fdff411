"""Which variables of the fixed part are nested in which, in the data or by the formula."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TypeAlias

import numpy as np

from lmeformula.arrays import Ints
from lmeformula.design.evaluate import data_columns
from lmeformula.design.observed import Observed
from lmeformula.formula.ir import TermSum

# The variables that each nested one is nested in.
Nesting: TypeAlias = Mapping[str, tuple[str, ...]]


def term_columns(terms: TermSum, known: Set[str]) -> list[frozenset[str]]:
    """The columns of the data of each term, of those that are known."""
    return [
        frozenset(c.name for v in term.variables for c in data_columns(v) if c.name in known)
        for term in terms.terms
    ]


def find_nesting(observed: Observed, terms: TermSum, varying: Sequence[str]) -> Nesting:
    """Find nested variables: a factor each of whose levels occurs with one level of another, in the data; and
    b in a where the formula has a:b and no b.

    Args:
      observed: the summary of the data.
      terms: of the fixed part.
      varying: the variables that have more than one value.
    References:
      Lenth, ref_grid() of the R package emmeans, whose rules these are.
    """
    found: dict[str, list[str]] = {}
    factors = [column.name for column in observed.factors]
    for name in varying:
        if name not in factors:
            continue
        others = [o for o in varying if o != name and o in factors and name not in found.get(o, ())]
        own = observed.cells[:, factors.index(name)]
        nests = [o for o in others if _is_function(own, observed.cells[:, factors.index(o)])]
        if nests:
            found[name] = nests
    for name, nests in _by_formula(terms, varying).items():
        found[name] = [*found.get(name, []), *(o for o in nests if o not in found.get(name, []))]
    # What nests the nesting variables does so for the nested ones.
    closed = {}
    for name, nests in found.items():
        whole = dict.fromkeys([o for nest in nests for o in found.get(nest, [])] + nests)
        closed[name] = tuple(o for o in varying if o in whole)
    return {name: nests for name, nests in closed.items() if nests and name not in nests}


def _is_function(of: Ints, values: Ints) -> bool:
    pairs = np.unique(np.column_stack([of, values]), axis=0)
    return len(pairs) == len(np.unique(of))


def _by_formula(terms: TermSum, varying: Sequence[str]) -> dict[str, list[str]]:
    """Variables without a term of their own, and those that all their columns are told apart by."""
    sets = term_columns(terms, set(varying))
    present = {*sets, *([frozenset()] if terms.intercept else [])}
    found = {}
    for name in varying:
        if frozenset([name]) in present:
            continue
        having = [s for s in sets if name in s]
        # R's coding: a variable has all its levels in a term whose rest is not in the formula.
        contrasted = [s for s in having if s - {name} in present] or having
        nests = [
            frozenset(o for o in s if o != name and s - {o} not in present) for s in contrasted
        ]
        least = {n for n in nests if n and not any(other < n for other in nests if other)}
        if least:
            found[name] = [o for o in varying if any(o in n for n in least)]
    return found
